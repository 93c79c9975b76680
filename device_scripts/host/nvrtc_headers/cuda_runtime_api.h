// What the host code calls; NVRTC brings the types.
#pragma once
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, int attribute, int device);
