"""The CUDA kernels on a real GPU, without TensorRT: called on PyTorch's tensors, and measured."""
