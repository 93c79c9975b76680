// Micro-kernels for x86-64 with AVX2 and FMA; compiled with -mavx2 -mfma and called only where the
// processor has both.
#include <immintrin.h>

#include <cstring>

#include "float/micro_kernels/table.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Avx2Vector {
  using Register = __m256;
  static constexpr size_t kLanes = 8;
  static constexpr bool kShiftRows = true;
  static constexpr bool kMaximumTiles = true;

  static SHIFTADD_INLINE Register load(const float* p) { return _mm256_loadu_ps(p); }
  static SHIFTADD_INLINE void store(float* p, Register v) { _mm256_storeu_ps(p, v); }
  static SHIFTADD_INLINE __m256i front_mask(size_t count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
  }
  static SHIFTADD_INLINE Register load_front(const float* p, size_t count) {
    return _mm256_maskload_ps(p, front_mask(count));
  }
  static SHIFTADD_INLINE void store_front(float* p, Register v, size_t count) {
    _mm256_maskstore_ps(p, front_mask(count), v);
  }
  static SHIFTADD_INLINE Register even(Register low, Register high) {
    // [p0 p2 p8 p10 | p4 p6 p12 p14], then the middle two pairs change places.
    const Register mixed = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 2, 0));
    return _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(mixed), _MM_SHUFFLE(3, 1, 2, 0)));
  }
  static SHIFTADD_INLINE Register decode(const uint8_t* codes) {
    const __m256i place = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    int32_t word;
    std::memcpy(&word, codes, sizeof(word));
    const __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(word), place);
    // A permutation looks at the lowest three bits of its index alone; the fourth is the sign.
    const Register sign =
        _mm256_and_ps(_mm256_castsi256_ps(_mm256_slli_epi32(code, 28)), _mm256_set1_ps(-0.0f));
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(load(kDecoded), code), sign);
  }
  // Without this GCC computes all maxima of a step first, for which there are not enough registers.
  static SHIFTADD_INLINE void keep_order(Register& v) { __asm__("" : "+x"(v)); }
  static SHIFTADD_INLINE Register broadcast(float x) { return _mm256_set1_ps(x); }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  // The sum is taken by the multiplier, with a factor of 1, because the subtraction already fills
  // the adders.
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    const Register magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const Register distance = _mm256_and_ps(_mm256_sub_ps(x, w), magnitude);
    return _mm256_fmadd_ps(distance, _mm256_set1_ps(1.0f), sum);
  }
  static SHIFTADD_INLINE Register max(Register a, Register b) { return _mm256_max_ps(a, b); }
  static SHIFTADD_INLINE Register min(Register a, Register b) { return _mm256_min_ps(a, b); }
  static SHIFTADD_INLINE bool all_at_least_zero(Register v) {
    return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GE_OQ)) == 0xff;
  }
  // maxps and minps return their second operand where one is NaN.
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return _mm256_max_ps(bound, v);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) {
    return _mm256_min_ps(bound, v);
  }
};

}  // namespace

const MicroKernels& avx2_micro_kernels() {
  static const MicroKernels table = make_micro_kernels<Avx2Vector, 4, 3>("avx2");
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
