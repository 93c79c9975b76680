"""From a float model and images to its integer twin: activation ranges, and a graph on them."""
