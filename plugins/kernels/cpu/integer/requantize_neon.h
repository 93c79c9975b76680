// The epilogue of the integer operators in NEON (docs/operators.md, section 5.2).
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_NEON_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_NEON_H_

#include <arm_neon.h>

#include "common/activation.h"
#include "integer/micro_kernels_impl.h"

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

// Eight channels of all rows, whose constants stay in registers.
template <Activation kActivation>
class RequantizeColumns {
 public:
  static constexpr size_t kChannels = 8;

  SHIFTADD_INLINE RequantizeColumns(const RequantizeArguments& call, size_t channel)
      : reciprocal_(vdupq_n_f32(call.requantization.y_reciprocal)),
        zero_point_(vdupq_n_f32(call.requantization.y_zero_point)) {
    SHIFTADD_UNROLL(2)
    for (size_t half = 0; half < 2; ++half) {
      start_[half] = vld1q_s32(call.start + channel + 4 * half);
      multiplier_[half] = vld1q_f32(call.multiplier + channel + 4 * half);
      bias_[half] = vld1q_f32(call.bias + channel + 4 * half);
    }
  }

  SHIFTADD_INLINE void run(const int32_t* sums, uint8_t* y) const {
    const uint16x8_t codes = vqmovn_high_u32(vqmovn_u32(code(sums, 0)), code(sums + 4, 1));
    vst1_u8(y, vqmovn_u16(codes));
  }

 private:
  // The conversion takes NaN and what is negative for 0, and what is too large for the largest.
  SHIFTADD_INLINE uint32x4_t code(const int32_t* sums, size_t half) const {
    const float32x4_t sum = vcvtq_f32_s32(vaddq_s32(vld1q_s32(sums), start_[half]));
    const float32x4_t value =
        activate<NeonFloats>(sum * multiplier_[half] + bias_[half], kActivation);
    return vcvtq_u32_f32(vrndnq_f32(value * reciprocal_) + zero_point_);
  }

  const float32x4_t reciprocal_, zero_point_;
  int32x4_t start_[2];
  float32x4_t multiplier_[2], bias_[2];
};

// The last eight channels may overlap those before them, which then are written twice.
template <Activation kActivation>
void requantize_neon_with(const RequantizeArguments& call) {
  using Columns = RequantizeColumns<kActivation>;
  if (call.count < Columns::kChannels) {
    requantize_with<kActivation>(call);
    return;
  }
  for (size_t i = 0; i < call.count; i += Columns::kChannels) {
    const size_t channel = std::min(i, call.count - Columns::kChannels);
    const Columns columns(call, channel);
    const int32_t* sums = call.sums + channel;
    uint8_t* y = call.y + channel;
    for (size_t row = 0; row < call.rows; ++row) {
      columns.run(sums, y);
      sums += call.sums_stride;
      y += call.y_stride;
    }
  }
}

template <Activation kActivation>
struct RequantizeNeon {
  static void run(const RequantizeArguments& call) { requantize_neon_with<kActivation>(call); }
};

inline void requantize_neon(const RequantizeArguments& call) {
  run_with_activation<RequantizeNeon>(call.requantization.activation, call);
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_NEON_H_
