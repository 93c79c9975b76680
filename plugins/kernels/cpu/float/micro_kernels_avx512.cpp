// Micro-kernels for x86-64 with AVX-512F; compiled with -mavx512f and called only where the
// processor has it.
#include <immintrin.h>

#include "float/micro_kernels/table.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Avx512Vector {
  using Register = __m512;
  static constexpr size_t kLanes = 16;
  static constexpr bool kShiftRows = true;
  static constexpr bool kMaximumTiles = true;

  static SHIFTADD_INLINE Register load(const float* p) { return _mm512_loadu_ps(p); }
  static SHIFTADD_INLINE void store(float* p, Register v) { _mm512_storeu_ps(p, v); }
  static SHIFTADD_INLINE __mmask16 front_mask(size_t count) {
    return static_cast<__mmask16>((1u << count) - 1);
  }
  static SHIFTADD_INLINE Register load_front(const float* p, size_t count) {
    return _mm512_maskz_loadu_ps(front_mask(count), p);
  }
  static SHIFTADD_INLINE void store_front(float* p, Register v, size_t count) {
    _mm512_mask_storeu_ps(p, front_mask(count), v);
  }
  static SHIFTADD_INLINE Register even(Register low, Register high) {
    const __m512i index =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(low, index, high);
  }
  static SHIFTADD_INLINE Register decode(const uint8_t* codes) {
    const __m512i word = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i place =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i words = _mm512_permutexvar_epi32(
        word, _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))));
    // A permutation looks at the lowest four bits of its index alone.
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(words, place), load(kDecoded));
  }
  // Without this GCC computes all maxima of a step first, for which there are not enough registers.
  static SHIFTADD_INLINE void keep_order(Register& v) { __asm__("" : "+v"(v)); }
  static SHIFTADD_INLINE Register broadcast(float x) { return _mm512_set1_ps(x); }
  static SHIFTADD_INLINE Register multiply_add(Register a, Register b, Register c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static SHIFTADD_INLINE Register add_distance(Register x, Register w, Register sum) {
    return _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(x, w)));
  }
  static SHIFTADD_INLINE Register max(Register a, Register b) { return _mm512_max_ps(a, b); }
  static SHIFTADD_INLINE Register min(Register a, Register b) { return _mm512_min_ps(a, b); }
  static SHIFTADD_INLINE bool all_at_least_zero(Register v) {
    return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GE_OQ) == 0xffff;
  }
  // maxps and minps return their second operand where one is NaN.
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return _mm512_max_ps(bound, v);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) {
    return _mm512_min_ps(bound, v);
  }
};

}  // namespace

const MicroKernels& avx512_micro_kernels() {
  static const MicroKernels table = make_micro_kernels<Avx512Vector, 8, 3>("avx512");
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
