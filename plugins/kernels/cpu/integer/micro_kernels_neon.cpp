// Integer micro-kernels for 64-bit ARM. An interleaved panel holds a pixel's pair of bytes repeated
// over a whole register. A Cortex-A57 issues three micro-operations a cycle, two of them to its
// vector pipes, so an instruction that repeated the pair here or computed an address would take the
// place of one that sums.
#include <arm_neon.h>

#include <cstring>

#include "common/unroll.h"
#include "integer/micro_kernels/depthwise_neon.h"
#include "integer/micro_kernels/requantize_neon.h"
#include "integer/micro_kernels/shared.h"

namespace shiftadd {
namespace cpu {
namespace {

constexpr size_t kBytes = 16;
constexpr size_t kDepth = kPairBytes;
static_assert(kRepeat * kDepth == kBytes, "a repeated pair fills a register");
constexpr size_t kVectors = 2;  // of weights a step
constexpr size_t kChannels = kVectors * kBytes / kDepth;

// A lane of 16 bits holds 128 sums of two differences of at most 255.
constexpr size_t kMostAdderSteps = 128;

SHIFTADD_INLINE void store(int32x4_t sums, int32_t* out, bool add) {
  vst1q_s32(out, add ? vaddq_s32(sums, vld1q_s32(out)) : sums);
}

template <size_t Panels, size_t Pixels>
struct AdderTile {
  static constexpr size_t kPanels = 1, kPixels = 8, kChannels = cpu::kChannels;
  static constexpr size_t kRegisters = 1, kDepth = cpu::kDepth;

  static void run(const IntegerTileArguments& tile) {
    uint16x8_t sums[Pixels][kVectors];
    SHIFTADD_UNROLL(8)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) sums[p][v] = vdupq_n_u16(0);
    }
    const uint8_t* x = tile.x;
    const uint8_t* w = tile.w;
    for (size_t step = 0; step < tile.steps; ++step) {
      uint8x16_t weights[kVectors];
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) weights[v] = vld1q_u8(w + v * kBytes);
      SHIFTADD_UNROLL(8)
      for (size_t p = 0; p < Pixels; ++p) {
        const uint8x16_t pixel = vld1q_u8(x + p * kBytes);
        SHIFTADD_UNROLL(2)
        for (size_t v = 0; v < kVectors; ++v) {
          sums[p][v] = vpadalq_u8(sums[p][v], vabdq_u8(pixel, weights[v]));
        }
      }
      x += Pixels * kBytes;
      w += kVectors * kBytes;
    }
    SHIFTADD_UNROLL(8)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) {
        int32_t* out = tile.sums + p * tile.sums_stride + v * 8;
        store(vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(sums[p][v]))), out, tile.add);
        store(vreinterpretq_s32_u32(vmovl_high_u16(sums[p][v])), out + 4, tile.add);
      }
    }
  }
};

// A lane of 16 bits holds two products of at most 128 * 64: so two steps are taken at once.
constexpr size_t kShiftStepsAtOnce = 2;

template <size_t Panels, size_t Pixels>
struct ShiftTile {
  static constexpr size_t kPanels = 1, kPixels = 4, kChannels = cpu::kChannels;
  static constexpr size_t kRegisters = 1, kDepth = cpu::kDepth;

  static void run(const IntegerTileArguments& tile) {
    int32x4_t sums[Pixels][2 * kVectors];
    SHIFTADD_UNROLL(4)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < 2 * kVectors; ++v) sums[p][v] = vdupq_n_s32(0);
    }
    const int8_t* x = reinterpret_cast<const int8_t*>(tile.x);
    const int8_t* w = reinterpret_cast<const int8_t*>(tile.w);
    for (size_t step = 0; step < tile.steps; step += kShiftStepsAtOnce) {
      int8x16_t weights[kShiftStepsAtOnce][kVectors];
      SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) {
        weights[0][v] = vld1q_s8(w + v * kBytes);
        weights[1][v] = vld1q_s8(w + (kVectors + v) * kBytes);
      }
      SHIFTADD_UNROLL(4)
      for (size_t p = 0; p < Pixels; ++p) {
        const int8x16_t first = vld1q_s8(x + p * kBytes);
        const int8x16_t second = vld1q_s8(x + (Pixels + p) * kBytes);
        SHIFTADD_UNROLL(2)
        for (size_t v = 0; v < kVectors; ++v) {
          const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(weights[0][v])),
                                         vget_low_s8(second), vget_low_s8(weights[1][v]));
          const int16x8_t high =
              vmlal_high_s8(vmull_high_s8(first, weights[0][v]), second, weights[1][v]);
          sums[p][2 * v] = vpadalq_s16(sums[p][2 * v], low);
          sums[p][2 * v + 1] = vpadalq_s16(sums[p][2 * v + 1], high);
        }
      }
      x += kShiftStepsAtOnce * Pixels * kBytes;
      w += kShiftStepsAtOnce * kVectors * kBytes;
    }
    SHIFTADD_UNROLL(4)
    for (size_t p = 0; p < Pixels; ++p) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < 2 * kVectors; ++v) {
        store(sums[p][v], tile.sums + p * tile.sums_stride + v * 4, tile.add);
      }
    }
  }
};

// kFlip is what changes in each byte.
template <uint8_t kFlip>
void interleave(const uint8_t* row, size_t pairs, uint8_t* panel, size_t step) {
  constexpr size_t kPairs = kBytes / kDepth;
  const uint8x16_t flip = vdupq_n_u8(kFlip);
  size_t i = 0;
  for (; i + kPairs <= pairs; i += kPairs) {
    const uint16x8_t eight = vreinterpretq_u16_u8(veorq_u8(vld1q_u8(row + i * kDepth), flip));
    uint8_t* to = panel + i * step;
    vst1q_u8(to, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 0)));
    vst1q_u8(to + step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 1)));
    vst1q_u8(to + 2 * step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 2)));
    vst1q_u8(to + 3 * step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 3)));
    to += 4 * step;
    vst1q_u8(to, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 4)));
    vst1q_u8(to + step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 5)));
    vst1q_u8(to + 2 * step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 6)));
    vst1q_u8(to + 3 * step, vreinterpretq_u8_u16(vdupq_laneq_u16(eight, 7)));
  }
  for (; i < pairs; ++i) {
    uint16_t pair;
    std::memcpy(&pair, row + i * kDepth, sizeof(pair));
    vst1q_u8(panel + i * step, veorq_u8(vreinterpretq_u8_u16(vdupq_n_u16(pair)), flip));
  }
}

IntegerTile make_shift_tile() {
  IntegerTile tile = make_tile<ShiftTile>();
  tile.interleave = interleave<0x80>;
  tile.centred = true;
  tile.step_multiple = kShiftStepsAtOnce;
  // With this many steps the repeated panel takes half of a level-1 cache of 32 KiB.
  tile.most_steps = 256;
  return tile;
}

IntegerTile make_adder_tile() {
  IntegerTile tile = make_tile<AdderTile>();
  tile.interleave = interleave<0>;
  tile.most_steps = kMostAdderSteps;
  return tile;
}

}  // namespace

const IntegerKernels& neon_integer_kernels() {
  static const IntegerKernels table = {"neon",
                                       make_shift_tile(),
                                       make_adder_tile(),
                                       depthwise_neon<ShiftPart, IntegerShiftTerm>,
                                       depthwise_neon<AdderPart, IntegerAdderTerm>,
                                       requantize_neon,
                                       add_codes,
                                       DepthwiseWeights::kBytes,
                                       DepthwiseWeights::kBytes};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
