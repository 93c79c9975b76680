// Integer micro-kernels in plain loops, which each instruction set's source file instantiates for
// itself, so that the compiler makes vectors of its width of them.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_IMPL_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_IMPL_H_

#include <cmath>
#include <cstdlib>

#include "integer_kernels.h"

namespace shiftadd {
namespace cpu {
// Unnamed: no instantiation is shared between files that are compiled for different processors.
namespace {

// Where nothing else bounds the steps of a call, its part of the panel is to stay in a level-1
// cache of 32 KiB, beside the weights.
constexpr size_t kPanelBytes = 16384;

struct IntegerShiftTerm {
  static int32_t of(uint8_t x, int32_t w) { return x * w; }
  static int32_t weight(uint8_t w) { return static_cast<int8_t>(w); }
};

struct IntegerAdderTerm {
  static int32_t of(uint8_t x, int32_t w) { return std::abs(x - w); }
  static int32_t weight(uint8_t w) { return w; }
};

template <typename Term, size_t Pixels, size_t Channels, size_t Depth>
void integer_tile(const IntegerTileArguments& tile) {
  for (size_t p = 0; p < Pixels; ++p) {
    int32_t sums[Channels] = {};
    const uint8_t* x = tile.x + p * tile.x_stride;
    const uint8_t* w = tile.w;
    for (size_t step = 0; step < tile.steps; ++step, x += Depth, w += Channels * Depth) {
      for (size_t m = 0; m < Channels; ++m) {
        for (size_t d = 0; d < Depth; ++d) {
          sums[m] += Term::of(x[d], Term::weight(w[m * Depth + d]));
        }
      }
    }
    int32_t* out = tile.sums + p * Channels;
    for (size_t m = 0; m < Channels; ++m) out[m] = tile.add ? out[m] + sums[m] : sums[m];
  }
}

template <typename Term>
void integer_depthwise(const IntegerDepthwiseArguments& call) {
  constexpr size_t kBlock = 32;
  for (size_t begin = 0; begin < call.channels; begin += kBlock) {
    int32_t sums[kBlock] = {};
    const size_t left = call.channels - begin;
    const size_t count = left < kBlock ? left : kBlock;
    for (size_t t = 0; t < call.tap_count; ++t) {
      const uint8_t* x = call.taps[t] + begin;
      const int16_t* w = call.w + t * call.channels + begin;
      if (count == kBlock) {
        for (size_t i = 0; i < kBlock; ++i) sums[i] += Term::of(x[i], w[i]);
      } else {
        for (size_t i = 0; i < count; ++i) sums[i] += Term::of(x[i], w[i]);
      }
    }
    for (size_t i = 0; i < count; ++i) call.sums[begin + i] = sums[i];
  }
}

// The order of a comparison decides what becomes of NaN, which only an overflow to infinity brings
// about: here it is always taken for `low`.
inline float clamped(float v, float low, float high) {
  const float raised = v > low ? v : low;
  return raised < high ? raised : high;
}

template <Activation kActivation>
inline float activated(float v) {
  if (kActivation == Activation::kRelu) return v > 0.0f ? v : 0.0f;
  if (kActivation == Activation::kRelu6) return clamped(v, 0.0f, 6.0f);
  if (kActivation == Activation::kHardswish) {
    return v * (clamped(v + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f));
  }
  return v;
}

template <Activation kActivation>
void requantize_with(const RequantizeArguments& call) {
  // Copies: a byte that is stored through y might be any of the call's own.
  const Requantization r = call.requantization;
  const int32_t* const sums = call.sums;
  const int32_t* const start = call.start;
  const float* const multiplier = call.multiplier;
  const float* const bias = call.bias;
  uint8_t* const y = call.y;
  const size_t count = call.count;
  for (size_t i = 0; i < count; ++i) {
    float v = static_cast<float>(sums[i] + start[i]) * multiplier[i];
    v = activated<kActivation>(v + bias[i]);
    v = std::nearbyint(v * r.y_reciprocal) + r.y_zero_point;
    y[i] = static_cast<uint8_t>(static_cast<int32_t>(clamped(v, 0.0f, 255.0f)));
  }
}

inline void requantize(const RequantizeArguments& call) {
  switch (call.requantization.activation) {
    case Activation::kNone: return requantize_with<Activation::kNone>(call);
    case Activation::kRelu: return requantize_with<Activation::kRelu>(call);
    case Activation::kRelu6: return requantize_with<Activation::kRelu6>(call);
    case Activation::kHardswish: return requantize_with<Activation::kHardswish>(call);
  }
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_KERNELS_IMPL_H_
