"""Makes an integer model from a float model and images: measures the ranges of activations, and
builds the quantized graph on them."""
