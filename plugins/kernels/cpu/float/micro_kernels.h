// The table of micro-kernels that one instruction set offers, and the choice among the tables.
#ifndef SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_
#define SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "common/unroll.h"
#include "shiftadd/activations.h"

namespace shiftadd {
namespace cpu {

// Y = activation(scale * sum + bias), applied while a sum is still in a register.
struct Epilogue {
  const float* scale;  // [rows]
  const float* bias;   // [rows]
  Activation activation;
};

constexpr size_t kLargestTileVectors = 4;

// A tile's pixels: vector v of term k lies at x + rows[k] + vectors[v], readable as a whole.
struct PanelView {
  const float* x;
  const ptrdiff_t* rows;  // [depth]
  ptrdiff_t vectors[kLargestTileVectors];
};

// A register tile of `rows` output channels by `columns` pixels, over `depth` terms of the sum.
struct TileArguments {
  const float* w;  // [depth][tile_rows], packed
  PanelView x;
  size_t depth;
  float* partial;      // [tile_rows][tile width]: sums of earlier blocks of depth
  bool load_partial;   // add `partial` to the sums
  bool store_partial;  // leave the sums in `partial`; y and epilogue are not used
  float* y;            // [rows], y_stride floats apart; exactly `columns` floats are written
  size_t y_stride;
  size_t rows;
  size_t columns;
  Epilogue epilogue;  // its arrays start at the tile's first row
  // The sums and limits of this block's terms (DistanceSums); maximum_tiles alone reads them.
  const float* x_sums;  // [2][tile width]
  const float* w_sums;  // [2][tile_rows]
};

// A sum of distances that takes one instruction less per term: sum |x-w| = 2 sum max(x,w) - sum x -
// sum w. The subtraction cancels leading digits, so the result is used only where it is at least
// kLeastShare of sum |x| + sum |w|: there its rounding error stays within a few times that of
// summing the distances themselves. Every other sum, infinities and NaN included, is computed again
// from the distances.
//
// The limit of some values v is sum v + kLeastShare * sum |v|, or infinity where no result can be
// used.
struct DistanceSums {
  static constexpr float kLeastShare = 0.25f;
  // Where the magnitudes add up to no more than this, twice and four times the sum are still
  // finite.
  static constexpr float kLargestMagnitude = 1e37f;

  // It is always inlined, so that no copy is shared with a file that was compiled for another
  // processor.
  static SHIFTADD_INLINE float limit(float sum, float magnitude) {
    return magnitude <= kLargestMagnitude ? sum + kLeastShare * magnitude : __builtin_inff();
  }
};

// Sums and limits of the pixels of a packed panel.
struct SumPixelsArguments {
  PanelView x;
  size_t depth;
  size_t vectors;  // of pixels
  float* sums;     // [2], sums_stride floats apart, of [vectors * lanes]
  size_t sums_stride;
};

// Outputs of a shift convolution with one position, whose terms are a plain dot product.
struct ShiftRowsArguments {
  const uint32_t* w;  // [rows][terms / 8], packed codes of 4 bits (packed_weights.h)
  const float* x;     // [terms]
  size_t terms;       // a multiple of kShiftRowTerms
  size_t rows;
  float* y;  // [rows]
  Epilogue epilogue;
};
constexpr size_t kShiftRowTerms = 16;

// Output rows of one depthwise channel.
struct DepthwiseArguments {
  const float* x;  // of output row r, tap t and column j: x[r * x_stride + offsets[t] + j],
                   // readable for j < columns rounded up to lanes
  size_t x_stride;
  const ptrdiff_t* offsets;  // [taps]
  const float* w;            // [taps]
  size_t taps;
  float* y;  // [rows, columns]
  size_t rows;
  size_t columns;
  Epilogue epilogue;  // of one channel
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

// The pixels of one row of outputs in a panel.
struct PanelSegment {
  size_t column;  // of the panel
  size_t source;  // offset of the pixel that the first tap reads
  size_t length;
};

// Rows of a panel, one a tap, from a padded patch of one channel. Written a whole vector at a time:
// up to a vector behind a segment is read, and behind a row written, which the next row mends.
struct CopyTapsArguments {
  float* to;
  size_t to_step;
  const float* patch;
  const size_t* taps;  // [tap_count], offsets in the patch
  size_t tap_count;
  const PanelSegment* segments;
  size_t segment_count;
  size_t columns;  // that the segments fill; those up to to_step become 0
};

using TileKernel = void (*)(const TileArguments&);
using DepthwiseKernel = void (*)(const DepthwiseArguments&);
using CopyKernel = void (*)(const CopyArguments&);
using ShiftRowsKernel = void (*)(const ShiftRowsArguments&);
using CopyTapsKernel = void (*)(const CopyTapsArguments&);
using SumPixelsKernel = void (*)(const SumPixelsArguments&);

struct MicroKernels {
  const char* name;     // "portable", "neon", "avx2", "avx512"
  size_t lanes;         // floats a vector
  size_t tile_rows;     // output channels a tile
  size_t tile_vectors;  // vectors of pixels a full tile
  // [v] computes tiles v + 1 vectors wide, v < tile_vectors.
  TileKernel shift_tiles[kLargestTileVectors];
  TileKernel adder_tiles[kLargestTileVectors];
  // The same sums as adder_tiles, by DistanceSums; null where the processor gains nothing by it.
  TileKernel maximum_tiles[kLargestTileVectors];
  SumPixelsKernel sum_pixels;
  ShiftRowsKernel shift_rows;  // null where panels of floats are faster
  DepthwiseKernel shift_depthwise;
  DepthwiseKernel adder_depthwise;
  CopyKernel copy_rows;
  CopyTapsKernel copy_taps;
};

const MicroKernels& portable_micro_kernels();
#if defined(__x86_64__)
const MicroKernels& avx2_micro_kernels();
const MicroKernels& avx512_micro_kernels();
#elif defined(__aarch64__)
const MicroKernels& neon_micro_kernels();
#endif

// The best table for the features that usable_features() tells (common/instruction_sets.h), and its
// errors.
const MicroKernels& select_micro_kernels();

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_MICRO_KERNELS_H_
