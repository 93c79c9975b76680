// Integer micro-kernels in plain loops, which each instruction set's source file instantiates for
// itself, so that the compiler makes vectors of its width of them.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_SHARED_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_SHARED_H_

#include <cstdlib>

#include "common/activation.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace cpu {
// Unnamed: no instantiation is shared between files that are compiled for different processors.
namespace {

// Bytes of a panel that a call reads, if nothing else bounds its steps: they stay in a level-1
// cache of 32 KiB together with the weights.
constexpr size_t kPanelBytes = 16384;

struct IntegerShiftTerm {
  static int32_t of(uint8_t x, int32_t w) { return x * w; }
  static int32_t weight(uint8_t w) { return static_cast<int8_t>(w); }
  static int32_t of_bytes(uint8_t x, uint8_t w) { return (x - 128) * static_cast<int8_t>(w); }
};

struct IntegerAdderTerm {
  static int32_t of(uint8_t x, int32_t w) { return std::abs(x - w); }
  static int32_t weight(uint8_t w) { return w; }
  static int32_t of_bytes(uint8_t x, uint8_t w) { return std::abs(x - w); }
};

// Fills a tile's table with Kernel<Panels, Pixels>::run, from 1 to the largest of both.
template <template <size_t, size_t> class Kernel, size_t Panels, size_t Pixels>
struct TileTable {
  static void fill(IntegerTile& tile) {
    TileTable<Kernel, Panels, Pixels - 1>::fill(tile);
    tile.run[Panels - 1][Pixels - 1] = Kernel<Panels, Pixels>::run;
  }
};

template <template <size_t, size_t> class Kernel, size_t Panels>
struct TileTable<Kernel, Panels, 0> {
  static void fill(IntegerTile& tile) {
    constexpr size_t kPixels = Kernel<1, 1>::kPixels;
    TileTable<Kernel, Panels - 1, Panels == 1 ? 0 : kPixels>::fill(tile);
  }
};

template <template <size_t, size_t> class Kernel>
struct TileTable<Kernel, 0, 0> {
  static void fill(IntegerTile&) {}
};

// A tile of which Kernel<panels, pixels> says the sizes (kPanels, kPixels, kChannels,
// kRegisters, kDepth) and runs.
template <template <size_t, size_t> class Kernel>
IntegerTile make_tile() {
  using Sizes = Kernel<1, 1>;
  static_assert(Sizes::kPanels <= kLargestTilePanels && Sizes::kPixels <= kLargestTilePixels,
                "the table has no room for so large a tile");
  IntegerTile tile = {};
  tile.pixels = Sizes::kPixels;
  tile.panels = Sizes::kPanels;
  tile.channels = Sizes::kChannels;
  tile.registers = Sizes::kRegisters;
  tile.depth = Sizes::kDepth;
  tile.step_multiple = 1;
  tile.most_steps = kPanelBytes / (Sizes::kPixels * Sizes::kDepth);
  TileTable<Kernel, Sizes::kPanels, Sizes::kPixels>::fill(tile);
  return tile;
}

template <typename Term>
void integer_depthwise(const IntegerDepthwiseArguments& call) {
  constexpr size_t kBlock = 32;
  for (size_t p = 0; p < call.pixels; ++p) {
    for (size_t begin = 0; begin < call.channels; begin += kBlock) {
      int32_t sums[kBlock] = {};
      const size_t left = call.channels - begin;
      const size_t count = left < kBlock ? left : kBlock;
      for (size_t t = 0; t < call.tap_count; ++t) {
        const uint8_t* x = call.taps[t] + p * call.pixel_step + begin;
        const int16_t* w = call.w + t * call.w_stride + begin;
        if (count == kBlock) {
          for (size_t i = 0; i < kBlock; ++i) sums[i] += Term::of(x[i], w[i]);
        } else {
          for (size_t i = 0; i < count; ++i) sums[i] += Term::of(x[i], w[i]);
        }
      }
      int32_t* out = call.sums + p * call.channels + begin;
      for (size_t i = 0; i < count; ++i) out[i] = sums[i];
    }
  }
}

// The same over weights of a byte each (DepthwiseWeights::kBytes), for a few channels.
template <typename Term>
void depthwise_of_bytes(const IntegerDepthwiseArguments& call) {
  for (size_t p = 0; p < call.pixels; ++p) {
    for (size_t i = 0; i < call.channels; ++i) {
      int32_t sum = 0;
      for (size_t t = 0; t < call.tap_count; ++t) {
        const uint8_t* w = reinterpret_cast<const uint8_t*>(call.w + t * call.w_stride);
        sum += Term::of_bytes(call.taps[t][p * call.pixel_step + i], w[i]);
      }
      call.sums[p * call.channels + i] = sum;
    }
  }
}

// One float, for activate(). The order of a comparison decides what becomes of NaN, which only an
// overflow to infinity brings about: here NaN always becomes the bound.
struct OneFloat {
  using Register = float;
  static float broadcast(float x) { return x; }
  static float at_least(float v, float bound) { return v > bound ? v : bound; }
  static float at_most(float v, float bound) { return v < bound ? v : bound; }
};

// The code of a value that is rounded and has the zero point added.
inline uint8_t clamped_code(float v) {
  const float clamped = OneFloat::at_most(OneFloat::at_least(v, 0.0f), 255.0f);
  return static_cast<uint8_t>(static_cast<int32_t>(clamped));
}

template <Activation kActivation>
void requantize_with(const RequantizeArguments& call) {
  // Local copies tell the compiler that storing a byte through y changes none of them.
  const Requantization r = call.requantization;
  const int32_t* const start = call.start;
  const float* const multiplier = call.multiplier;
  const float* const bias = call.bias;
  const size_t rows = call.rows, count = call.count;
  const size_t sums_stride = call.sums_stride, y_stride = call.y_stride;
  const int32_t* sums = call.sums;
  uint8_t* y = call.y;
  for (size_t row = 0; row < rows; ++row, sums += sums_stride, y += y_stride) {
    for (size_t i = 0; i < count; ++i) {
      float v = static_cast<float>(sums[i] + start[i]) * multiplier[i];
      v = activate<OneFloat>(v + bias[i], kActivation);
      v = __builtin_nearbyintf(v * r.y_reciprocal) + r.y_zero_point;
      y[i] = clamped_code(v);
    }
  }
}

inline void add_codes(const AddArguments& call) {
  const AddArguments c = call;  // as above
  for (size_t i = 0; i < c.count; ++i) {
    const float a = static_cast<float>(c.a[i] - c.a_zero_point) * c.a_multiplier;
    const float b = static_cast<float>(c.b[i] - c.b_zero_point) * c.b_multiplier;
    const float v = __builtin_nearbyintf(a + b) + c.y_zero_point;
    c.y[i] = clamped_code(v);
  }
}

template <Activation kActivation>
struct Requantize {
  static void run(const RequantizeArguments& call) { requantize_with<kActivation>(call); }
};

inline void requantize(const RequantizeArguments& call) {
  run_with_activation<Requantize>(call.requantization.activation, call);
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_SHARED_H_
