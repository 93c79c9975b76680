// Integer micro-kernels for any processor.
#include "integer/micro_kernels/shared.h"

namespace shiftadd {
namespace cpu {

namespace {

template <typename Term, size_t Pixels>
struct PortableTile {
  static constexpr size_t kPanels = 1, kPixels = 4, kChannels = 8, kRegisters = 1, kDepth = 4;

  static void run(const IntegerTileArguments& tile) {
    for (size_t p = 0; p < Pixels; ++p) {
      int32_t sums[kChannels] = {};
      const uint8_t* x = tile.x + p * tile.x_stride;
      const uint8_t* w = tile.w;
      for (size_t step = 0; step < tile.steps; ++step, x += kDepth, w += kChannels * kDepth) {
        for (size_t m = 0; m < kChannels; ++m) {
          for (size_t d = 0; d < kDepth; ++d) {
            sums[m] += Term::of(x[d], Term::weight(w[m * kDepth + d]));
          }
        }
      }
      int32_t* out = tile.sums + p * tile.sums_stride;
      for (size_t m = 0; m < kChannels; ++m) out[m] = tile.add ? out[m] + sums[m] : sums[m];
    }
  }
};

template <size_t Panels, size_t Pixels>
struct ShiftTile : PortableTile<IntegerShiftTerm, Pixels> {};

template <size_t Panels, size_t Pixels>
struct AdderTile : PortableTile<IntegerAdderTerm, Pixels> {};

}  // namespace

const IntegerKernels& portable_integer_kernels() {
  static const IntegerKernels table = {"portable",
                                       make_tile<ShiftTile>(),
                                       make_tile<AdderTile>(),
                                       integer_depthwise<IntegerShiftTerm>,
                                       integer_depthwise<IntegerAdderTerm>,
                                       requantize,
                                       add_codes,
                                       DepthwiseWeights::kWords,
                                       DepthwiseWeights::kWords};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
