// The convolution of few output positions, such as a classifier's: its time is that of reading W,
// so a row of W is read once, by neighbouring threads, and each of them sums a part of the terms.
#ifndef SHIFTADD_KERNELS_CUDA_FEW_POSITIONS_CUH_
#define SHIFTADD_KERNELS_CUDA_FEW_POSITIONS_CUH_

#include "arithmetic.cuh"
#include "shape.cuh"

namespace shiftadd {
namespace cuda {

// With more positions than this the dense kernel is faster.
constexpr int kFewPositions = 4;
constexpr int kLanes = 32;    // threads that share a row of W
constexpr int kLaneRows = 4;  // rows of W a block

// A thread's part of the sum at every position.
template <typename Operation, typename Walk, typename Element>
__device__ void sum_lane(const Shape& s, int channel, int lane, const Element* x, const unsigned* w,
                         float (&parts)[kFewPositions][kLanes]) {
  const int group = channel / s.group_rows;
  const unsigned* words = w + static_cast<unsigned>(channel) * s.row_words;
  for (int position = 0; position < s.positions; ++position) {
    const Window window(s, group, position);
    float sum = 0.0f;
    for (int word = lane; word < s.row_words; word += kLanes) {
      Walk walk(s, window, word * Operation::kWordTerms);
#pragma unroll
      for (int i = 0; i < Operation::kWordTerms; ++i) {
        sum = Operation::add(sum, to_float(walk.load(s, window, x)),
                             Operation::weight(words[word], i));
        walk.advance(s);
      }
    }
    parts[position][lane] = sum;
  }
}

// Blocks: groups of kLaneRows output channels. Walk: TapWalk, or ChannelWalk for a 1x1 kernel.
template <typename Operation, typename Element, typename Walk>
__global__ void __launch_bounds__(kLanes* kLaneRows)
    few_positions(Shape s, const Element* __restrict__ x, const unsigned* __restrict__ w,
                  Epilogue epilogue, Element* __restrict__ y) {
  __shared__ float parts[kLaneRows][kFewPositions][kLanes];
  const int lane = threadIdx.x % kLanes, row = threadIdx.x / kLanes;
  const int channel = blockIdx.x * kLaneRows + row;
#pragma unroll
  for (int i = 0; i < kFewPositions; ++i) parts[row][i][lane] = 0.0f;
  if (channel < s.out_channels) sum_lane<Operation, Walk>(s, channel, lane, x, w, parts[row]);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane >= half) continue;
#pragma unroll
    for (int i = 0; i < kFewPositions; ++i) parts[row][i][lane] += parts[row][i][lane + half];
  }
  __syncthreads();
  if (channel >= s.out_channels || lane >= s.positions) return;
  store(y + output_index(s, channel, lane),
        apply(epilogue, channel, Operation::finish(parts[row][lane][0])));
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_FEW_POSITIONS_CUH_
