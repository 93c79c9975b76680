// The table of integer micro-kernels that one instruction set offers. All tables compute the same
// bytes: sums are exact, and the float arithmetic of requantization is fixed step by step.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "shiftadd/activations.h"

namespace shiftadd {
namespace cpu {

// Sums of some pixels by some output channels over steps * depth terms: x * w for the shift,
// |x - w| for the adder. The sizes are the tile's (IntegerTile).
struct IntegerTileArguments {
  const uint8_t* x;  // [pixels] rows, x_stride bytes apart, of [steps][depth] bytes each; where
  size_t x_stride;   // the tile is interleaved [steps][pixels][kRepeat][depth], without x_stride
  const uint8_t* w;  // [panels], w_stride bytes apart, of [steps][channels][depth], packed; of
  size_t w_stride;   // the shift int8
  size_t steps;
  int32_t* sums;  // [pixels] rows, sums_stride apart, of [panels][channels]
  size_t sums_stride;
  bool add;  // to what is in `sums`
};

// Sums of some depthwise output pixels, over the taps.
struct IntegerDepthwiseArguments {
  const uint8_t* const* taps;  // [tap_count], the first pixel's, of `channels` bytes each;
  size_t pixel_step;           // the next pixel's lie so many bytes further
  const int16_t* w;            // [tap_count] rows, w_stride apart, of [channels] and the first
  size_t w_stride;             // kDepthwiseRepeat of them again, and again if they are fewer; or
                               // in another of the forms of DepthwiseWeights
  size_t tap_count;
  size_t channels;
  size_t pixels;
  int32_t* sums;  // [pixels][channels]
};

constexpr size_t kDepthwiseRepeat = 64;

// How a depthwise kernel finds its weights.
enum class DepthwiseWeights {
  kWords,  // as IntegerDepthwiseArguments has them
  kFours,  // in rows of four taps, a channel's as bytes in two words
  kBytes,  // as bytes, two in a word; then the sums of the shift are those of x - 128
};

// The epilogue of the integer operators (docs/operators.md, section 5.2).
struct Requantization {
  Activation activation;
  float y_reciprocal;  // 1 / y_scale
  float y_zero_point;
  bool finite;  // whether this, all multipliers and all biases are: then no value is NaN, but
                // Hardswish's may be
};

// y[r][i] = requantized (sums[r][i] + start[i]) * multiplier[i] + bias[i].
struct RequantizeArguments {
  const int32_t* sums;  // [rows], sums_stride apart, of [count]
  size_t sums_stride;
  const int32_t* start;
  const float* multiplier;
  const float* bias;
  size_t rows;
  size_t count;
  uint8_t* y;  // [rows], y_stride apart, of [count]
  size_t y_stride;
  Requantization requantization;
};

// y[i] = the code of (a[i] - a_zero_point) * a_multiplier + (b[i] - b_zero_point) * b_multiplier,
// in float32 and each step rounded, then as in the operators' epilogue.
struct AddArguments {
  const uint8_t* a;
  const uint8_t* b;
  int32_t a_zero_point, b_zero_point;
  float a_multiplier, b_multiplier;
  float y_zero_point;
  size_t count;
  uint8_t* y;
};

using IntegerTileKernel = void (*)(const IntegerTileArguments&);
using IntegerDepthwiseKernel = void (*)(const IntegerDepthwiseArguments&);
using RequantizeKernel = void (*)(const RequantizeArguments&);
using AddKernel = void (*)(const AddArguments&);
// Writes a pixel's row of pairs of bytes for a tile that is interleaved: pair i, kRepeat times, to
// panel + i * step, as the tile takes them, centred or not.
using InterleaveKernel = void (*)(const uint8_t* row, size_t pairs, uint8_t* panel, size_t step);

// Times that a pair of bytes stands in an interleaved panel, filling a register of 16 bytes.
constexpr size_t kRepeat = 8;
constexpr size_t kPairBytes = 2;

constexpr size_t kLargestTilePixels = 12;
constexpr size_t kLargestTilePanels = 2;

struct IntegerTile {
  size_t pixels;                // at most, of a call
  size_t panels;                // at most, of a call
  size_t channels;              // of a panel,
  size_t registers;             // dealt in turns to so many parts of a packed step
  size_t depth;                 // consecutive terms of a channel in a packed step
  bool centred;                 // whether it sums up x - 128, signed
  size_t step_multiple;         // steps of a call: a multiple of this,
  size_t most_steps;            // and no more than this
  InterleaveKernel interleave;  // null where x lies in rows; else depth is 2
  // [n - 1][p - 1] computes n panels of p pixels.
  IntegerTileKernel run[kLargestTilePanels][kLargestTilePixels];
};

struct IntegerKernels {
  const char* name;  // as in MicroKernels
  IntegerTile shift_tile;
  IntegerTile adder_tile;
  IntegerDepthwiseKernel shift_depthwise;
  IntegerDepthwiseKernel adder_depthwise;
  RequantizeKernel requantize;
  AddKernel add;
  DepthwiseWeights shift_depthwise_weights;
  DepthwiseWeights adder_depthwise_weights;
};

const IntegerKernels& portable_integer_kernels();
#if defined(__x86_64__)
const IntegerKernels& avx2_integer_kernels();
const IntegerKernels& avx512_integer_kernels();  // with VNNI
#elif defined(__aarch64__)
const IntegerKernels& neon_integer_kernels();
#endif

// The best table for the features that usable_features() tells (common/instruction_sets.h), and its
// errors. A processor that has AVX-512 without its byte and VNNI parts gets the AVX2 kernels.
const IntegerKernels& select_integer_kernels();

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_H_
