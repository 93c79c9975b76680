// The epilogue of the integer operators in NEON (docs/operators.md, section 5.2).
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_NEON_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_NEON_H_

#include <arm_neon.h>

#include <algorithm>

#include "common/activation.h"
#include "integer/micro_kernels/shared.h"

namespace shiftadd {
namespace cpu {
namespace {

// Four floats, for activate(). NaN becomes the bound: of a number and NaN, these instructions give
// the number.
struct NeonFloats {
  using Register = float32x4_t;
  static SHIFTADD_INLINE Register broadcast(float x) { return vdupq_n_f32(x); }
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return vmaxnmq_f32(v, bound);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) {
    return vminnmq_f32(v, bound);
  }
};

constexpr size_t kRequantizedChannels = 8;

// The constants of eight channels, which stay in registers, and what is done with their sums.
template <Activation kActivation>
class ScaledColumns {
 public:
  SHIFTADD_INLINE ScaledColumns(const RequantizeArguments& call, size_t channel)
      : reciprocal_(vdupq_n_f32(call.requantization.y_reciprocal)) {
    SHIFTADD_UNROLL(2)
    for (size_t half = 0; half < 2; ++half) {
      start_[half] = vld1q_s32(call.start + channel + 4 * half);
      multiplier_[half] = vld1q_f32(call.multiplier + channel + 4 * half);
      bias_[half] = vld1q_f32(call.bias + channel + 4 * half);
    }
  }

  // Four values in steps of y, not yet rounded.
  SHIFTADD_INLINE float32x4_t scaled(const int32_t* sums, size_t half) const {
    const float32x4_t sum = vcvtq_f32_s32(vaddq_s32(vld1q_s32(sums + 4 * half), start_[half]));
    return activate<NeonFloats>(sum * multiplier_[half] + bias_[half], kActivation) * reciprocal_;
  }

 private:
  const float32x4_t reciprocal_;
  int32x4_t start_[2];
  float32x4_t multiplier_[2], bias_[2];
};

// For any values. The conversion takes NaN and what is negative for 0.
template <Activation kActivation>
class AnyColumns {
 public:
  SHIFTADD_INLINE AnyColumns(const RequantizeArguments& call, size_t channel)
      : columns_(call, channel), zero_point_(vdupq_n_f32(call.requantization.y_zero_point)) {}

  SHIFTADD_INLINE uint8x8_t codes(const int32_t* sums) const {
    return vqmovn_u16(vqmovn_high_u32(vqmovn_u32(code(sums, 0)), code(sums, 1)));
  }

 private:
  SHIFTADD_INLINE uint32x4_t code(const int32_t* sums, size_t half) const {
    return vcvtq_u32_f32(vrndnq_f32(columns_.scaled(sums, half)) + zero_point_);
  }

  const ScaledColumns<kActivation> columns_;
  const float32x4_t zero_point_;
};

// For values that are never NaN, without Hardswish. An instruction on four floats takes two of a
// Cortex-A57's slots, so what can be done on rounded numbers is: they saturate at 16 bits, far
// beyond the codes, and rounding and the product with 1 / y_scale keep an order, so that an
// activation's bounds may come behind them.
template <Activation kActivation>
class NumberColumns {
  static_assert(kActivation != Activation::kHardswish, "it is more than two bounds");

 public:
  SHIFTADD_INLINE NumberColumns(const RequantizeArguments& call, size_t channel)
      : columns_(call, channel),
        zero_point_(vdupq_n_s16(static_cast<int16_t>(call.requantization.y_zero_point))),
        six_(vdupq_n_s16(vqmovns_s32(vcvtns_s32_f32(6.0f * call.requantization.y_reciprocal)))) {}

  SHIFTADD_INLINE uint8x8_t codes(const int32_t* sums) const {
    int16x8_t rounded = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(columns_.scaled(sums, 0))),
                                        vcvtnq_s32_f32(columns_.scaled(sums, 1)));
    if (kActivation != Activation::kNone) rounded = vmaxq_s16(rounded, vdupq_n_s16(0));
    if (kActivation == Activation::kRelu6) rounded = vminq_s16(rounded, six_);
    return vqmovun_s16(vqaddq_s16(rounded, zero_point_));
  }

 private:
  const ScaledColumns<Activation::kNone> columns_;
  const int16x8_t zero_point_, six_;
};

// All rows, eight channels at a time; the last eight may overlap those before them, which then are
// written twice. There are eight channels at least.
template <typename Columns>
SHIFTADD_INLINE void requantize_columns(const RequantizeArguments& call) {
  const size_t rows = call.rows, sums_stride = call.sums_stride, y_stride = call.y_stride;
  for (size_t i = 0; i < call.count; i += kRequantizedChannels) {
    const size_t channel = std::min(i, call.count - kRequantizedChannels);
    const Columns columns(call, channel);
    const int32_t* sums = call.sums + channel;
    uint8_t* y = call.y + channel;
    for (size_t row = 0; row < rows; ++row) {
      vst1_u8(y, columns.codes(sums));
      sums += sums_stride;
      y += y_stride;
    }
  }
}

template <Activation kActivation>
struct RequantizeNeon {
  static void run(const RequantizeArguments& call) {
    if (call.count < kRequantizedChannels) return requantize_with<kActivation>(call);
    if (!call.requantization.finite) return requantize_columns<AnyColumns<kActivation>>(call);
    requantize_columns<NumberColumns<kActivation>>(call);
  }
};

template <>
struct RequantizeNeon<Activation::kHardswish> {
  static void run(const RequantizeArguments& call) {
    if (call.count < kRequantizedChannels) {
      return requantize_with<Activation::kHardswish>(call);
    }
    requantize_columns<AnyColumns<Activation::kHardswish>>(call);
  }
};

inline void requantize_neon(const RequantizeArguments& call) {
  run_with_activation<RequantizeNeon>(call.requantization.activation, call);
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_NEON_H_
