// The CUDA kernels as C functions, for Python's ctypes. A pointer may be of any memory that the
// kernels can reach: a GPU's or, where they were built for the host, the host's.
#ifndef SHIFTADD_DEVICE_SCRIPTS_GPU_BRIDGE_H_
#define SHIFTADD_DEVICE_SCRIPTS_GPU_BRIDGE_H_

#include <cstddef>
#include <cstdint>

extern "C" {

// One convolution. The order of the fields is known to library.py.
struct ShiftaddCall {
  int32_t adder;       // 0: ShiftConv, 1: AdderConv
  int32_t half;        // whether X and Y are float16
  int32_t activation;  // as shiftadd::Activation numbers them
  int32_t weight_bits;
  int64_t kernel_shape[2], strides[2], pads[4], dilations[2], group;
  int64_t x_shape[4], out_channels;
  const void *x, *w;
  const float *scale, *bias;
  void *y, *workspace, *stream;
  int64_t multiprocessors;
};

// Bytes of workspace that the call needs; -1, with the reason in `error`, for a call that is
// refused.
int64_t shiftadd_workspace_bytes(const ShiftaddCall* call, char* error, size_t error_bytes);

// Enqueues the call on its stream; 0, or -1 with the reason in `error`.
int shiftadd_convolve(const ShiftaddCall* call, char* error, size_t error_bytes);

// The same for a float32 AdderConv by the kernel that published implementations use.
int shiftadd_plain_adder(const ShiftaddCall* call, char* error, size_t error_bytes);

}  // extern "C"

#endif  // SHIFTADD_DEVICE_SCRIPTS_GPU_BRIDGE_H_
