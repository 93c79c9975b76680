// How a problem is run: which kernel, with which tiles, in how many parts.
#ifndef SHIFTADD_KERNELS_CUDA_PLAN_H_
#define SHIFTADD_KERNELS_CUDA_PLAN_H_

#include "convolution.h"
#include "dense_tile.cuh"

namespace shiftadd {
namespace cuda {

enum class Family { kDense, kDepthwise, kFewPositions };

struct Plan {
  Family family;
  int thread_rows;  // of the dense kernels: 8, 4 or 2
  Splits splits;
  int64_t blocks;
};

// The problem's sizes for the kernels; it passed validate_limits.
Shape kernel_shape(const Problem& problem);

Plan make_plan(const Problem& problem, int multiprocessors);

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_PLAN_H_
