// What the kernels and TensorRT's headers use of CUDA's runtime, for a host without it. Not CUDA:
// the "device" is this process, a stream is nothing, and a kernel has run when its launch returns.
#ifndef SHIFTADD_TESTS_CPP_CUDA_RUNTIME_API_H_
#define SHIFTADD_TESTS_CPP_CUDA_RUNTIME_API_H_

#include <cstddef>

#include "builtins.h"

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorLaunchFailure = 719 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };

namespace cuda_host {

// What a test decides about the pretended device.
struct Device {
  int multiprocessors = 1;
  bool reversed = false;                 // whether the threads of a block run in descending order
  cudaError_t next_error = cudaSuccess;  // answered, once, by the next call that can fail
};

inline Device& device() {
  static Device device;
  return device;
}

inline cudaError_t take_error() {
  const cudaError_t error = device().next_error;
  device().next_error = cudaSuccess;
  return error;
}

}  // namespace cuda_host

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess             ? "no error"
         : error == cudaErrorInvalidValue ? "invalid argument"
                                          : "unspecified launch failure";
}

inline cudaError_t cudaGetDevice(int* number) {
  *number = 0;
  return cuda_host::take_error();
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = cuda_host::device().multiprocessors;
  return cuda_host::take_error();
}

#endif  // SHIFTADD_TESTS_CPP_CUDA_RUNTIME_API_H_
