"""Compares an exported file with the PyTorch network it is of, end to end and layer by layer."""
