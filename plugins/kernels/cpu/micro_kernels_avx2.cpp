// Micro-kernels for x86-64 with AVX2 and FMA; compiled with -mavx2 -mfma and called only where the
// processor has both.
#include <immintrin.h>

#include "micro_kernels_impl.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Avx2Vector {
  using Register = __m256;
  static constexpr size_t kLanes = 8;

  static SHIFTADD_INLINE Register load(const float* p) { return _mm256_loadu_ps(p); }
  static SHIFTADD_INLINE void store(float* p, Register v) { _mm256_storeu_ps(p, v); }
  static SHIFTADD_INLINE Register broadcast(float x) { return _mm256_set1_ps(x); }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  // The sum goes through the multiplier with a factor of 1: subtraction already fills the adders.
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    const Register magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const Register distance = _mm256_and_ps(_mm256_sub_ps(x, w), magnitude);
    return _mm256_fmadd_ps(distance, _mm256_set1_ps(1.0f), sum);
  }
  // maxps and minps return their second operand where one is NaN.
  static SHIFTADD_INLINE Register clamp(Register v, Register low, Register high) {
    return _mm256_min_ps(high, _mm256_max_ps(low, v));
  }
};

}  // namespace

const MicroKernels& avx2_micro_kernels() {
  static const MicroKernels table = make_micro_kernels<Avx2Vector, 4, 3>("avx2");
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
