// The dense (and grouped) ShiftConv of 4-bit codes with X and Y in float16, by half2 products:
// twice float32's rate on the GPUs that have half arithmetic.
//
// When this is safe: a weight is taken as the integer 64 * w, at most 64, so that a product is
// exact unless it overflows, and no subnormal number loses digits. A slice of 16 terms is summed in
// float16 and then added to float32 sums. With |x| <= 63 the partial sums stay within 16 * 63 * 64
// = 64512, below float16's largest number, 65504; rounding never carries them past that bound,
// because every multiple of 63 * 64 up to it is a float16 number. If a slice holds a larger x, or
// one that is not finite, its block sums it in float32.
#ifndef SHIFTADD_KERNELS_CUDA_DENSE_HALF_CUH_
#define SHIFTADD_KERNELS_CUDA_DENSE_HALF_CUH_

#include "dense_tile.cuh"

namespace shiftadd {
namespace cuda {

constexpr int kHalfSlice = 16;
// float16's code of 63; codes without the sign are in order.
constexpr unsigned short kLargestSafeCode = 0x53e0;
constexpr float kWeightUnit = 1.0f / 64.0f;

// Four 4-bit codes, the lowest 16 bits of `codes`, as the high bytes of halves of 64 * w; their low
// bytes are 0. Selects from a table of the bytes for k = 0 to 7 and one of the signs.
__device__ inline unsigned half_high_bytes(unsigned codes) {
  return __byte_perm(0x4c505400u, 0x3c404448u, codes & 0x7777u) |
         __byte_perm(0x8000u, 0u, codes >> 3 & 0x1111u);
}

// The half whose high byte is byte i, twice: what half2 products take a weight as.
__device__ inline __half2 half_pair(unsigned high_bytes, int i) {
  const unsigned code = __byte_perm(high_bytes, 0u, 0x4404u | static_cast<unsigned>(i) << 4);
  return __half2half2(__ushort_as_half(static_cast<unsigned short>(code)));
}

class HalfSlice {
 public:
  template <typename Walk>
  __device__ void load(const Shape& s, const Window& window, const __half* x, Walk& walk,
                       const unsigned* row, int first_term) {
    words_.load(s, row, first_term);
#pragma unroll
    for (int k = 0; k < kHalfSlice; ++k) {
      x_[k] = walk.load(s, window, x);
      walk.advance(s);
    }
  }

  // Whether half arithmetic may take this thread's part of the slice.
  __device__ bool safe() const {
    bool safe = true;
#pragma unroll
    for (int k = 0; k < kHalfSlice; ++k) {
      safe = safe && (__half_as_ushort(x_[k]) & 0x7fff) <= kLargestSafeCode;
    }
    return safe;
  }

  __device__ void store(int thread, int tile_rows, __half* x_lines, __half2* w_lines) const {
#pragma unroll
    for (int k = 0; k < kHalfSlice; ++k) x_lines[k * kDensePositions + thread] = x_[k];
    if (thread >= tile_rows) return;
#pragma unroll
    for (int k = 0; k < kHalfSlice; k += 4) {
      const unsigned bytes = half_high_bytes(words_.word(k / 8) >> (k % 8 * 4));
#pragma unroll
      for (int i = 0; i < 4; ++i) w_lines[(k + i) * tile_rows + thread] = half_pair(bytes, i);
    }
  }

 private:
  SliceWords<Shift<4>, kHalfSlice> words_;
  __half x_[kHalfSlice];
};

// Adds a slice, summed in float16, to the float32 sums of kRows x 4 pairs of positions.
template <int kRows, typename WRun, typename XRun, int kWRuns, int kXRuns>
__device__ void add_slice_in_half(const WRun (&w_lines)[kHalfSlice][kWRuns],
                                  const XRun (&x_lines)[kHalfSlice][kXRuns], int across, int down,
                                  float (&sums)[kRows][8]) {
  __half2 slice_sums[kRows][4];
#pragma unroll
  for (int k = 0; k < kHalfSlice; ++k) {
    __half2 a[kRows], b[4];
    read_runs(w_lines[k], down, a);
    read_runs(x_lines[k], across, b);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        slice_sums[i][j] = k == 0 ? __hmul2(b[j], a[i]) : __hfma2(b[j], a[i], slice_sums[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sums[i][2 * j] = fmaf(__low2float(slice_sums[i][j]), kWeightUnit, sums[i][2 * j]);
      sums[i][2 * j + 1] = fmaf(__high2float(slice_sums[i][j]), kWeightUnit, sums[i][2 * j + 1]);
    }
  }
}

// The same in float32 arithmetic.
template <int kRows, typename WRun, typename XRun, int kWRuns, int kXRuns>
__device__ void add_slice_in_float(const WRun (&w_lines)[kHalfSlice][kWRuns],
                                   const XRun (&x_lines)[kHalfSlice][kXRuns], int across, int down,
                                   float (&sums)[kRows][8]) {
  for (int k = 0; k < kHalfSlice; ++k) {
    __half2 a[kRows], b[4];
    read_runs(w_lines[k], down, a);
    read_runs(x_lines[k], across, b);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float w = __low2float(a[i]) * kWeightUnit;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sums[i][2 * j] = fmaf(__low2float(b[j]), w, sums[i][2 * j]);
        sums[i][2 * j + 1] = fmaf(__high2float(b[j]), w, sums[i][2 * j + 1]);
      }
    }
  }
}

// Blocks: tiles of positions x tiles of rows x groups x splits. Walk: TapWalk, or ChannelWalk for a
// 1x1 kernel.
template <typename Walk, int kRows>
__global__ void __launch_bounds__(kDenseThreads)
    dense_half(Shape s, Splits splits, const __half* __restrict__ x, const unsigned* __restrict__ w,
               Epilogue epilogue, float* __restrict__ partial, __half* __restrict__ y) {
  constexpr int kTileRows = dense_rows(kRows);
  using XRun = Vector<__half2, 2>;
  using WRun = Vector<__half2, Runs<kRows>::kRun>;
  __shared__ XRun x_lines[2][kHalfSlice][kDensePositions / 4];
  __shared__ WRun w_lines[2][kHalfSlice][kTileRows / Runs<kRows>::kRun];

  const int thread = threadIdx.x, across = thread % 8, down = thread / 8;
  const TileIndex tile(s, splits, kTileRows);
  const Window window(s, tile.group, tile.position + thread);
  const unsigned* row = weight_row(s, tile, thread, kTileRows, w);
  Walk walk(s, window, tile.first_term);
  HalfSlice slice;
  float sums[kRows][8] = {};

  slice.load(s, window, x, walk, row, tile.first_term);
  slice.store(thread, kTileRows, &x_lines[0][0][0].values[0].x, w_lines[0][0][0].values);
  bool unsafe = __syncthreads_or(!slice.safe());
  int buffer = 0;
  for (int term = tile.first_term; term < tile.end_term; term += kHalfSlice) {
    const bool more = term + kHalfSlice < tile.end_term;
    if (more) slice.load(s, window, x, walk, row, term + kHalfSlice);
    if (unsafe) {
      add_slice_in_float(w_lines[buffer], x_lines[buffer], across, down, sums);
    } else {
      add_slice_in_half(w_lines[buffer], x_lines[buffer], across, down, sums);
    }
    buffer ^= 1;
    if (more) {
      slice.store(thread, kTileRows, &x_lines[buffer][0][0].values[0].x,
                  w_lines[buffer][0][0].values);
    }
    unsafe = __syncthreads_or(!slice.safe());
  }
  write_sums<Shift<4>>(s, tile, splits, sums, epilogue, partial, y);
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_DENSE_HALF_CUH_
