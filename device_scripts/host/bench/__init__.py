"""`make bench`: our kernels and ONNX Runtime's own, side by side in one run."""
