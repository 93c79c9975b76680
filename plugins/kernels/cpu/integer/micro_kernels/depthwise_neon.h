// Depthwise sums of 8-bit pixels in NEON, over weights of a byte each.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_DEPTHWISE_NEON_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_DEPTHWISE_NEON_H_

#include <arm_neon.h>

#include <algorithm>

#include "common/unroll.h"
#include "integer/micro_kernels/shared.h"

namespace shiftadd {
namespace cpu {
namespace {

// Eight channels of some pixels: what the taps of a step add up to, in 16 bits.
struct ShiftPart {
  using Sums = int16x8_t;
  // Three products of at most 128 * 64 fit into 16 bits.
  static constexpr size_t kMostTaps = 3;
  static SHIFTADD_INLINE Sums zero() { return vdupq_n_s16(0); }
  static SHIFTADD_INLINE Sums add(Sums sums, uint8x8_t x, uint8x8_t w) {
    const int8x8_t centred = vreinterpret_s8_u8(veor_u8(x, vdup_n_u8(0x80)));
    return vmlal_s8(sums, centred, vreinterpret_s8_u8(w));
  }
  static SHIFTADD_INLINE int32x4_t add_low(int32x4_t total, Sums sums) {
    return vaddw_s16(total, vget_low_s16(sums));
  }
  static SHIFTADD_INLINE int32x4_t add_high(int32x4_t total, Sums sums) {
    return vaddw_high_s16(total, sums);
  }
};

struct AdderPart {
  using Sums = uint16x8_t;
  // 256 differences of at most 255 fit into 16 bits.
  static constexpr size_t kMostTaps = 256;
  static SHIFTADD_INLINE Sums zero() { return vdupq_n_u16(0); }
  static SHIFTADD_INLINE Sums add(Sums sums, uint8x8_t x, uint8x8_t w) {
    return vabal_u8(sums, x, w);
  }
  static SHIFTADD_INLINE int32x4_t add_low(int32x4_t total, Sums sums) {
    return vreinterpretq_s32_u32(vaddw_u16(vreinterpretq_u32_s32(total), vget_low_u16(sums)));
  }
  static SHIFTADD_INLINE int32x4_t add_high(int32x4_t total, Sums sums) {
    return vreinterpretq_s32_u32(vaddw_high_u16(vreinterpretq_u32_s32(total), sums));
  }
};

// Sums of kHalves * 8 channels of kPixels pixels, from `channel` and `pixel` on.
template <typename Part, size_t kHalves, size_t kPixels>
class DepthwiseBlock {
 public:
  static constexpr size_t kChannels = 8 * kHalves;

  static SHIFTADD_INLINE void run(const IntegerDepthwiseArguments& call, size_t pixel,
                                  size_t channel) {
    DepthwiseBlock block(call, pixel, channel);
    size_t tap = 0;
    for (; tap + kStep <= call.tap_count; tap += kStep) block.template add<kStep>(tap);
    for (; tap < call.tap_count; ++tap) block.template add<1>(tap);
    block.store();
  }

 private:
  static constexpr size_t kStep = 3;
  static_assert(kStep <= Part::kMostTaps, "a step's sums fit into 16 bits");

  SHIFTADD_INLINE DepthwiseBlock(const IntegerDepthwiseArguments& call, size_t pixel,
                                 size_t channel)
      : call_(call), offset_(pixel * call.pixel_step + channel), pixel_(pixel), channel_(channel) {
    SHIFTADD_UNROLL(8)
    for (auto& total : totals_) total = vdupq_n_s32(0);
  }

  template <size_t kTaps>
  SHIFTADD_INLINE void add(size_t tap) {
    const uint8_t* x[kTaps];
    uint8x8_t w[kTaps][kHalves];
    SHIFTADD_UNROLL(3)
    for (size_t t = 0; t < kTaps; ++t) {
      x[t] = call_.taps[tap + t] + offset_;
      const uint8_t* from =
          reinterpret_cast<const uint8_t*>(call_.w + (tap + t) * call_.w_stride) + channel_;
      load(from, w[t]);
    }
    SHIFTADD_UNROLL(4)
    for (size_t p = 0; p < kPixels; ++p) {
      typename Part::Sums sums[kHalves];
      SHIFTADD_UNROLL(2)
      for (auto& sum : sums) sum = Part::zero();
      SHIFTADD_UNROLL(3)
      for (size_t t = 0; t < kTaps; ++t) {
        uint8x8_t pixels[kHalves];
        load(x[t] + p * call_.pixel_step, pixels);
        SHIFTADD_UNROLL(2)
        for (size_t h = 0; h < kHalves; ++h) sums[h] = Part::add(sums[h], pixels[h], w[t][h]);
      }
      SHIFTADD_UNROLL(2)
      for (size_t h = 0; h < kHalves; ++h) {
        int32x4_t* total = totals_ + 2 * (p * kHalves + h);
        total[0] = Part::add_low(total[0], sums[h]);
        total[1] = Part::add_high(total[1], sums[h]);
      }
    }
  }

  SHIFTADD_INLINE void store() const {
    int32_t* out = call_.sums + pixel_ * call_.channels + channel_;
    SHIFTADD_UNROLL(4)
    for (size_t p = 0; p < kPixels; ++p) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < 2 * kHalves; ++v) {
        vst1q_s32(out + p * call_.channels + 4 * v, totals_[2 * p * kHalves + v]);
      }
    }
  }

  static SHIFTADD_INLINE void load(const uint8_t* from, uint8x8_t (&halves)[1]) {
    halves[0] = vld1_u8(from);
  }
  static SHIFTADD_INLINE void load(const uint8_t* from, uint8x8_t (&halves)[2]) {
    const uint8x16_t both = vld1q_u8(from);
    halves[0] = vget_low_u8(both);
    halves[1] = vget_high_u8(both);
  }

  const IntegerDepthwiseArguments& call_;
  const size_t offset_, pixel_, channel_;
  int32x4_t totals_[2 * kHalves * kPixels];
};

template <typename Part, size_t kHalves>
void depthwise_channels(const IntegerDepthwiseArguments& call, size_t channel) {
  constexpr size_t kPixels = 4;
  size_t pixel = 0;
  for (; pixel + kPixels <= call.pixels; pixel += kPixels) {
    DepthwiseBlock<Part, kHalves, kPixels>::run(call, pixel, channel);
  }
  for (; pixel < call.pixels; ++pixel) DepthwiseBlock<Part, kHalves, 1>::run(call, pixel, channel);
}

// The last eight channels may overlap those before them, which then are summed twice.
template <typename Part, typename Term>
void depthwise_neon(const IntegerDepthwiseArguments& call) {
  constexpr size_t kHalf = 8;
  if (call.channels < kHalf) {
    depthwise_of_bytes<Term>(call);
    return;
  }
  size_t channel = 0;
  for (; channel + 2 * kHalf <= call.channels; channel += 2 * kHalf) {
    depthwise_channels<Part, 2>(call, channel);
  }
  for (; channel < call.channels; channel += kHalf) {
    depthwise_channels<Part, 1>(call, std::min(channel, call.channels - kHalf));
  }
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_DEPTHWISE_NEON_H_
