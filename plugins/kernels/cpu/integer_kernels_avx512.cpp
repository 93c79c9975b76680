// Integer micro-kernels for x86-64 with AVX-512 BW, VL and VNNI.
#include <immintrin.h>

#include <cstring>

#include "integer_kernels_impl.h"
#include "integer_requantize_x86.h"
#include "integer_tile_x86.h"

namespace shiftadd {
namespace cpu {
namespace {

constexpr size_t kMostPanels = 2;
constexpr size_t kMostPixels = 12;

struct Avx512Step {
  using Register = __m512i;
  static constexpr size_t kBytes = 64;
  static SHIFTADD_INLINE Register zero() { return _mm512_setzero_si512(); }
  static SHIFTADD_INLINE Register load(const uint8_t* p) { return _mm512_loadu_si512(p); }
};

// Sums of absolute differences over 8 bytes (vpsadbw).
struct AdderStep : Avx512Step {
  static constexpr size_t kDepth = 8, kChannels = 8;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int64_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi64(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    return _mm512_add_epi64(sum, _mm512_sad_epu8(x, w));
  }
  static SHIFTADD_INLINE void store(Register sum, int32_t* out, bool add) {
    __m256i* to = reinterpret_cast<__m256i*>(out);
    const __m256i sums = _mm512_cvtepi64_epi32(sum);
    _mm256_storeu_si256(to, add ? _mm256_add_epi32(sums, _mm256_loadu_si256(to)) : sums);
  }
};

// Products over 4 bytes, summed in the same instruction (vpdpbusd).
struct ShiftStep : Avx512Step {
  static constexpr size_t kDepth = 4, kChannels = 16;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    return _mm512_dpbusd_epi32(sum, x, w);
  }
  static SHIFTADD_INLINE void store(Register sum, int32_t* out, bool add) {
    const Register sums = add ? _mm512_add_epi32(sum, _mm512_loadu_si512(out)) : sum;
    _mm512_storeu_si512(out, sums);
  }
};

template <size_t Panels, size_t Pixels>
struct AdderTile : AdderStep {
  static constexpr size_t kPanels = kMostPanels, kPixels = kMostPixels;
  static void run(const IntegerTileArguments& tile) {
    BroadcastTile<AdderStep, Panels, Pixels>::run(tile);
  }
};

template <size_t Panels, size_t Pixels>
struct ShiftTile : ShiftStep {
  static constexpr size_t kPanels = kMostPanels, kPixels = kMostPixels;
  static void run(const IntegerTileArguments& tile) {
    BroadcastTile<ShiftStep, Panels, Pixels>::run(tile);
  }
};

struct Avx512Floats {
  using Floats = __m512;
  static SHIFTADD_INLINE Floats broadcast(float x) { return _mm512_set1_ps(x); }
  static SHIFTADD_INLINE Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static SHIFTADD_INLINE Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
};

template <Activation kActivation>
struct RequantizeRow {
  static void run(const RequantizeArguments& call, const int32_t* sums, uint8_t* y) {
    size_t i = 0;
    for (; i + kLanes <= call.count; i += kLanes) store<false>(call, sums, i, y);
    if (i < call.count) store<true>(call, sums, i, y);
  }

 private:
  static constexpr size_t kLanes = 16;

  // Where kEnd, the columns behind the row's end are neither read nor written.
  template <bool kEnd>
  static SHIFTADD_INLINE void store(const RequantizeArguments& call, const int32_t* sums, size_t i,
                                    uint8_t* y) {
    const __mmask16 columns =
        kEnd ? static_cast<__mmask16>((1u << (call.count - i)) - 1) : static_cast<__mmask16>(-1);
    const __m512i sum = _mm512_add_epi32(_mm512_maskz_loadu_epi32(columns, sums + i),
                                         _mm512_maskz_loadu_epi32(columns, call.start + i));
    const __m512 codes = scaled_codes<Avx512Floats, kActivation>(
        _mm512_cvtepi32_ps(sum), _mm512_maskz_loadu_ps(columns, call.multiplier + i),
        _mm512_maskz_loadu_ps(columns, call.bias + i), call.requantization.y_reciprocal);
    const __m512i zero_point =
        _mm512_set1_epi32(static_cast<int32_t>(call.requantization.y_zero_point));
    const __m512i shifted = _mm512_max_epi32(
        _mm512_add_epi32(_mm512_cvtps_epi32(codes), zero_point), _mm512_setzero_si512());
    _mm512_mask_cvtusepi32_storeu_epi8(y + i, columns, shifted);
  }
};

}  // namespace

const IntegerKernels& avx512_integer_kernels() {
  static const IntegerKernels table = {
      "avx512",
      make_tile<ShiftTile>(),
      make_tile<AdderTile>(),
      avx2_integer_kernels().shift_depthwise,
      avx2_integer_kernels().adder_depthwise,
      requantize_rows<RequantizeRow>};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
