// Micro-kernels for 64-bit ARM. Every such processor has NEON.
#include <arm_neon.h>

#include <cstring>

#include "float/micro_kernels/table.h"

namespace shiftadd {
namespace cpu {
namespace {

struct NeonVector {
  using Register = float32x4_t;
  static constexpr size_t kLanes = 4;
  static constexpr bool kShiftRows = true;
  static constexpr bool kMaximumTiles = false;  // as many instructions as the distance takes

  static SHIFTADD_INLINE Register load(const float* p) { return vld1q_f32(p); }
  static SHIFTADD_INLINE void store(float* p, Register v) { vst1q_f32(p, v); }
  static SHIFTADD_INLINE Register load_front(const float* p, size_t count) {
    float lanes[kLanes] = {};
    for (size_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static SHIFTADD_INLINE void store_front(float* p, Register v, size_t count) {
    float lanes[kLanes];
    store(lanes, v);
    for (size_t i = 0; i < count; ++i) p[i] = lanes[i];
  }
  static SHIFTADD_INLINE Register even(Register low, Register high) {
    return vuzp1q_f32(low, vextq_f32(high, high, 1));
  }
  static SHIFTADD_INLINE Register decode(const uint8_t* codes) {
    const int32_t places[kLanes] = {0, -4, -8, -12};
    uint16_t word;
    std::memcpy(&word, codes, sizeof(word));
    const uint32x4_t code = vshlq_u32(vdupq_n_u32(word), vld1q_s32(places));
    const uint32x4_t k = vandq_u32(code, vdupq_n_u32(7));
    // 2^(1 - k) has the exponent 127 + 1 - k; k = 0 is the weight 0.
    const uint32x4_t power = vshlq_n_u32(vsubq_u32(vdupq_n_u32(128), k), 23);
    const uint32x4_t magnitude = vandq_u32(power, vtstq_u32(k, k));
    const uint32x4_t sign = vshlq_n_u32(vshrq_n_u32(code, 3), 31);
    return vreinterpretq_f32_u32(vorrq_u32(magnitude, sign));
  }
  static SHIFTADD_INLINE void keep_order(Register&) {}
  static SHIFTADD_INLINE Register broadcast(float x) { return vdupq_n_f32(x); }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return vfmaq_f32(c, a, b);
  }
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    return vaddq_f32(sum, vabdq_f32(x, w));
  }
  // FMAX and FMIN keep NaN.
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return vmaxq_f32(v, bound);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) {
    return vminq_f32(v, bound);
  }
};

}  // namespace

const MicroKernels& neon_micro_kernels() {
  // 16 of the 32 registers hold sums.
  static const MicroKernels table = make_micro_kernels<NeonVector, 4, 4>("neon");
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
