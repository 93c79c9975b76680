"""Running two models on the same inputs and saying how far apart they are; no torch."""
