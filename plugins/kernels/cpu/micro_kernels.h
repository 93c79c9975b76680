// The table of micro-kernels that one instruction set offers, and the choice among the tables.
#ifndef SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_
#define SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "shiftadd/contract.h"

namespace shiftadd {
namespace cpu {

// Y = activation(scale * sum + bias), applied while a sum is still in a register.
struct Epilogue {
  const float* scale;  // [rows]
  const float* bias;   // [rows]
  Activation activation;
};

// A register tile of `rows` output channels by `columns` pixels, over `depth` terms of the sum.
struct TileArguments {
  const float* w;      // [depth][tile_rows], packed
  const float* x;      // [depth] rows, x_stride floats apart, each readable for the whole tile
  size_t depth;
  size_t x_stride;
  float* partial;      // [tile_rows][tile width]: sums of earlier blocks of depth
  bool load_partial;   // add `partial` to the sums
  bool store_partial;  // leave the sums in `partial`; y and epilogue are not used
  float* y;            // [rows], y_stride floats apart; exactly `columns` floats are written
  size_t y_stride;
  size_t rows;
  size_t columns;
  Epilogue epilogue;   // its arrays start at the tile's first row
};

// Output rows of one depthwise channel.
struct DepthwiseArguments {
  const float* x;            // of output row r, tap t and column j: x[r * x_stride + offsets[t] + j],
                             // readable for j < columns rounded up to lanes
  size_t x_stride;
  const ptrdiff_t* offsets;  // [taps]
  const float* w;            // [taps]
  size_t taps;
  float* y;                  // [rows, columns]
  size_t rows;
  size_t columns;
  Epilogue epilogue;         // of one channel
};

// Rows of pixels, copied side by side: to[r * to_step + i] = from[r * from_step + i * pixel_step].
struct CopyArguments {
  float* to;
  size_t to_step;
  const float* from;
  size_t from_step;
  size_t pixel_step;
  size_t length;  // exactly so many floats are read and written in each row
  size_t rows;
};

using TileKernel = void (*)(const TileArguments&);
using DepthwiseKernel = void (*)(const DepthwiseArguments&);
using CopyKernel = void (*)(const CopyArguments&);

constexpr size_t kLargestTileVectors = 4;

struct MicroKernels {
  const char* name;     // "portable", "neon", "avx2", "avx512"
  size_t lanes;         // floats a vector
  size_t tile_rows;     // output channels a tile
  size_t tile_vectors;  // vectors of pixels a full tile
  // [v] computes tiles v + 1 vectors wide, v < tile_vectors.
  TileKernel shift_tiles[kLargestTileVectors];
  TileKernel adder_tiles[kLargestTileVectors];
  DepthwiseKernel shift_depthwise;
  DepthwiseKernel adder_depthwise;
  CopyKernel copy_rows;
};

const MicroKernels& portable_micro_kernels();
#if defined(__x86_64__)
const MicroKernels& avx2_micro_kernels();
const MicroKernels& avx512_micro_kernels();
#elif defined(__aarch64__)
const MicroKernels& neon_micro_kernels();
#endif

// The widest table that this processor runs, or the one named by the environment variable
// SHIFTADD_CPU_ISA. Throws std::runtime_error where that one is unknown or cannot run here.
const MicroKernels& select_micro_kernels();

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_
