// Micro-kernels over four floats in the compiler's own vector type: SSE2 or plain scalar
// code, whatever the target has.
#include <cstring>

#include "float/micro_kernels/table.h"

namespace shiftadd {
namespace cpu {
namespace {

struct PortableVector {
  using Register = float __attribute__((vector_size(16)));
  using Bits = int32_t __attribute__((vector_size(16)));
  static constexpr size_t kLanes = 4;
  static constexpr bool kMaximumTiles = false;
  static constexpr bool kShiftRows = false;  // decoding takes longer than reading floats

  static SHIFTADD_INLINE Register load(const float* p) {
    Register v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static SHIFTADD_INLINE void store(float* p, Register v) { std::memcpy(p, &v, sizeof(v)); }
  static SHIFTADD_INLINE Register load_front(const float* p, size_t count) {
    Register v = broadcast(0.0f);
    for (size_t i = 0; i < count; ++i) v[i] = p[i];
    return v;
  }
  static SHIFTADD_INLINE void store_front(float* p, Register v, size_t count) {
    for (size_t i = 0; i < count; ++i) p[i] = v[i];
  }
  static SHIFTADD_INLINE Register even(Register low, Register high) {
    return Register{low[0], low[2], high[1], high[3]};
  }
  static SHIFTADD_INLINE void keep_order(Register&) {}
  static SHIFTADD_INLINE Register broadcast(float x) { return Register{x, x, x, x}; }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return a * b + c;
  }
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    constexpr int32_t kMagnitude = 0x7fffffff;
    const Bits mask = {kMagnitude, kMagnitude, kMagnitude, kMagnitude};
    return sum + reinterpret_cast<Register>(reinterpret_cast<Bits>(x - w) & mask);
  }
  static SHIFTADD_INLINE Register select(Bits mask, Register yes, Register no) {
    return reinterpret_cast<Register>((reinterpret_cast<Bits>(yes) & mask) |
                                      (reinterpret_cast<Bits>(no) & ~mask));
  }
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return select(bound > v, bound, v);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) {
    return select(bound < v, bound, v);
  }
};

}  // namespace

const MicroKernels& portable_micro_kernels() {
  // 8 of SSE2's 16 registers hold sums.
  static const MicroKernels table = make_micro_kernels<PortableVector, 4, 2>("portable");
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
