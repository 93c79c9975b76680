"""Compares an integer model with the float model that it was made from, layer by layer."""
