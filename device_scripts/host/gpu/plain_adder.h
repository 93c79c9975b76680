// The yardstick of the adder benchmark: one thread an output, nothing shared, as in the CUDA
// kernels that adder networks were published with (AdderNet, arXiv 1912.13200, and its successors).
#ifndef SHIFTADD_DEVICE_SCRIPTS_GPU_PLAIN_ADDER_H_
#define SHIFTADD_DEVICE_SCRIPTS_GPU_PLAIN_ADDER_H_

#include "convolution.h"

namespace shiftadd {
namespace cuda {

// Enqueues a float32 AdderConv; cudaErrorInvalidValue for any other problem.
cudaError_t run_plain_adder(const Problem& problem, const Tensors& tensors, cudaStream_t stream);

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_DEVICE_SCRIPTS_GPU_PLAIN_ADDER_H_
