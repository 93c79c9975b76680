// Micro-kernels for 64-bit ARM. Every such processor has NEON.
#include <arm_neon.h>

#include "micro_kernels_impl.h"

namespace shiftadd {
namespace cpu {
namespace {

struct NeonVector {
  using Register = float32x4_t;
  static constexpr size_t kLanes = 4;
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
  static SHIFTADD_INLINE Register load_even(const float* p) {
    // Not vld2q, which reads one float behind the last that is wanted.
    return vuzp1q_f32(load(p), vextq_f32(load(p + 3), load(p + 3), 1));
  }
  static SHIFTADD_INLINE Register broadcast(float x) { return vdupq_n_f32(x); }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return vfmaq_f32(c, a, b);
  }
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    return vaddq_f32(sum, vabdq_f32(x, w));
  }
  // FMAX and FMIN keep NaN.
  static SHIFTADD_INLINE Register clamp(Register v, Register low, Register high) {
    return vminq_f32(vmaxq_f32(v, low), high);
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
