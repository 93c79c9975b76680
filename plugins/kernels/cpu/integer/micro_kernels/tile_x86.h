// The register tile that x86-64's integer kernels share. One or two registers hold a step's weights
// of one panel; the pixel's bytes of that step are broadcast to all of its channels.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_TILE_X86_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_TILE_X86_H_

#include "common/unroll.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace cpu {
namespace {

// Step offers: Register, kBytes of one, kPixels and kPanels of the largest tile, kDepth; kChannels
// and kRegisters a panel; zero(), load(p) of weights, broadcast(p) of kDepth bytes, accumulate(sum,
// x, w), and store(sums, out, add) of a panel's registers to kChannels sums.
template <typename Step, size_t Panels, size_t Pixels>
class BroadcastTile {
 public:
  static SHIFTADD_INLINE void run(const IntegerTileArguments& tile) {
    Register sums[Pixels][kSums];
    SHIFTADD_UNROLL(12)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kSums; ++v) sums[p][v] = Step::zero();
    }
    const uint8_t* x = tile.x;
    const uint8_t* w = tile.w;
    size_t step = 0;
    for (; step + kStepsAtOnce <= tile.steps; step += kStepsAtOnce) {
      SHIFTADD_UNROLL(4)
      for (size_t i = 0; i < kStepsAtOnce; ++i, x += Step::kDepth, w += kStepBytes) {
        add_step(x, tile.x_stride, w, tile.w_stride, sums);
      }
    }
    for (; step < tile.steps; ++step, x += Step::kDepth, w += kStepBytes) {
      add_step(x, tile.x_stride, w, tile.w_stride, sums);
    }
    SHIFTADD_UNROLL(12)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < Panels; ++v) {
        Step::store(sums[p] + v * Step::kRegisters,
                    tile.sums + p * tile.sums_stride + v * Step::kChannels, tile.add);
      }
    }
  }

 private:
  using Register = typename Step::Register;
  static constexpr size_t kSums = Panels * Step::kRegisters;
  static constexpr size_t kStepBytes = Step::kRegisters * Step::kBytes;
  // A step of few instructions takes no longer than the loop around it, so several are unrolled.
  static constexpr size_t kStepsAtOnce = Pixels * kSums > 12 ? 1 : 4;

  static SHIFTADD_INLINE void add_step(const uint8_t* x, size_t x_stride, const uint8_t* w,
                                       size_t w_stride, Register (&sums)[Pixels][kSums]) {
    Register weights[kSums];
    SHIFTADD_UNROLL(2)
    for (size_t v = 0; v < kSums; ++v) {
      weights[v] =
          Step::load(w + v / Step::kRegisters * w_stride + v % Step::kRegisters * Step::kBytes);
    }
    SHIFTADD_UNROLL(12)
    for (size_t p = 0; p < Pixels; ++p) {
      const Register pixel = Step::broadcast(x + p * x_stride);
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kSums; ++v) {
        sums[p][v] = Step::accumulate(sums[p][v], pixel, weights[v]);
        // This keeps the compiler from reordering the additions, for which it would run out of
        // registers.
        __asm__("" : "+v"(sums[p][v]));
      }
    }
  }
};

// A Step's tiles for make_tile.
template <typename Step>
struct BroadcastTiles {
  template <size_t Panels, size_t Pixels>
  struct Kernel : Step {
    static void run(const IntegerTileArguments& tile) {
      BroadcastTile<Step, Panels, Pixels>::run(tile);
    }
  };
};

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_TILE_X86_H_
