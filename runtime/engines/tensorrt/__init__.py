"""TensorRT, on the GPU; most of it imports tensorrt and pycuda."""
