// ShiftConv and AdderConv on an NVIDIA GPU: what a runtime's binding calls. Plain pointers and a
// stream; nothing is allocated and nothing is thrown.
#ifndef SHIFTADD_KERNELS_CUDA_CONVOLUTION_H_
#define SHIFTADD_KERNELS_CUDA_CONVOLUTION_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "shiftadd/convolution.h"

namespace shiftadd {
namespace cuda {

// The type of X and Y. Sums are always accumulated in float32; W, scale and bias have the types of
// docs/operators.md, sections 2 and 3.
enum class DataType { kFloat, kHalf };

// One convolution with everything that decides how it runs.
struct Problem {
  OperatorKind kind;  // kShiftConv or kAdderConv
  Activation activation;
  DataType type;
  int64_t weight_bits;  // 4 or 8 of a shift
  ConvGeometry geometry;
};

// Device pointers to dense arrays: x [N, C, H, W] and y [N, M, OH, OW] of the problem's type; w as
// in the contract, int32 or float; scale and bias float [M].
struct Tensors {
  const void* x;
  const void* w;
  const float* scale;
  const float* bias;
  void* y;
};

// Checks that every index fits the kernels' 32 bits; throws ContractError.
void validate_limits(const std::string& node, const Problem& problem);

// Streaming multiprocessors of the current device, in *count.
cudaError_t multiprocessors(int* count) noexcept;

// Bytes of workspace, aligned to 256, that suffice for this problem and for every one that has as
// many channels and no larger a batch, height and width.
size_t workspace_bytes(const Problem& problem, int multiprocessors) noexcept;

// Enqueues the problem, which passed validate_limits, on the stream. The workspace is device memory
// of workspace_bytes(problem, multiprocessors) or more. Answers the first error.
cudaError_t run(const Problem& problem, const Tensors& tensors, int multiprocessors,
                void* workspace, cudaStream_t stream) noexcept;

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_CONVOLUTION_H_
