// The dense (and grouped) convolution in float32 arithmetic; X and Y may be float16.
#ifndef SHIFTADD_KERNELS_CUDA_DENSE_CUH_
#define SHIFTADD_KERNELS_CUDA_DENSE_CUH_

#include "dense_tile.cuh"

namespace shiftadd {
namespace cuda {

constexpr int kDenseSlice = 8;

// The next slice in a thread's registers, on its way from memory to shared memory.
template <typename Operation>
class DenseSlice {
 public:
  template <typename Walk, typename Element>
  __device__ void load(const Shape& s, const Window& window, const Element* x, Walk& walk,
                       const unsigned* row, int first_term) {
    words_.load(s, row, first_term);
#pragma unroll
    for (int k = 0; k < kDenseSlice; ++k) {
      x_[k] = to_float(walk.load(s, window, x));
      walk.advance(s);
    }
  }

  // Row `thread` of W beyond the tile's own rows is not stored.
  __device__ void store(int thread, int tile_rows, float* x_lines, float* w_lines) const {
#pragma unroll
    for (int k = 0; k < kDenseSlice; ++k) x_lines[k * kDensePositions + thread] = x_[k];
    if (thread >= tile_rows) return;
#pragma unroll
    for (int k = 0; k < kDenseSlice; ++k) w_lines[k * tile_rows + thread] = words_.weight(k);
  }

 private:
  SliceWords<Operation, kDenseSlice> words_;
  float x_[kDenseSlice];
};

// Blocks: tiles of positions x tiles of rows x groups x splits. Walk: TapWalk, or ChannelWalk for a
// 1x1 kernel.
template <typename Operation, typename Element, typename Walk, int kRows>
__global__ void __launch_bounds__(kDenseThreads)
    dense(Shape s, Splits splits, const Element* __restrict__ x, const unsigned* __restrict__ w,
          Epilogue epilogue, float* __restrict__ partial, Element* __restrict__ y) {
  constexpr int kTileRows = dense_rows(kRows);
  using XRun = Vector<float, Runs<8>::kRun>;
  using WRun = Vector<float, Runs<kRows>::kRun>;
  __shared__ XRun x_lines[2][kDenseSlice][kDensePositions / Runs<8>::kRun];
  __shared__ WRun w_lines[2][kDenseSlice][kTileRows / Runs<kRows>::kRun];

  const int thread = threadIdx.x, across = thread % 8, down = thread / 8;
  const TileIndex tile(s, splits, kTileRows);
  const Window window(s, tile.group, tile.position + thread);
  const unsigned* row = weight_row(s, tile, thread, kTileRows, w);
  Walk walk(s, window, tile.first_term);
  DenseSlice<Operation> slice;
  float sums[kRows][8] = {};

  slice.load(s, window, x, walk, row, tile.first_term);
  slice.store(thread, kTileRows, x_lines[0][0][0].values, w_lines[0][0][0].values);
  __syncthreads();
  int buffer = 0;
  for (int term = tile.first_term; term < tile.end_term; term += kDenseSlice) {
    const bool more = term + kDenseSlice < tile.end_term;
    if (more) slice.load(s, window, x, walk, row, term + kDenseSlice);
#pragma unroll
    for (int k = 0; k < kDenseSlice; ++k) {
      float a[kRows], b[8];
      read_runs(w_lines[buffer][k], down, a);
      read_runs(x_lines[buffer][k], across, b);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = Operation::add(sums[i][j], b[j], a[i]);
      }
    }
    buffer ^= 1;
    if (more) {
      slice.store(thread, kTileRows, x_lines[buffer][0][0].values, w_lines[buffer][0][0].values);
    }
    __syncthreads();
  }
  write_sums<Operation>(s, tile, splits, sums, epilogue, partial, y);
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_DENSE_CUH_
