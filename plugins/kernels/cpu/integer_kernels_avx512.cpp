// Integer micro-kernels for x86-64 with AVX-512 BW, VL and VNNI.
#include <immintrin.h>

#include <cstring>

#include "integer_kernels_impl.h"
#include "integer_requantize_x86.h"
#include "integer_tile_x86.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Avx512Step {
  using Register = __m512i;
  static constexpr size_t kPixels = 12, kBytes = 64;
  static SHIFTADD_INLINE Register zero() { return _mm512_setzero_si512(); }
  static SHIFTADD_INLINE Register load(const void* p) { return _mm512_loadu_si512(p); }
  static SHIFTADD_INLINE void store_sums(Register sums, int32_t* out, bool add) {
    _mm512_storeu_si512(out, add ? _mm512_add_epi32(sums, load(out)) : sums);
  }
};

// Sums of absolute differences over 8 bytes (vpsadbw): eight channels a register, in lanes of 64 bits
// of which the upper halves stay 0.
struct AdderStep : Avx512Step {
  static constexpr size_t kPanels = 1, kDepth = 8, kChannels = 16, kRegisters = 2;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int64_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi64(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    return _mm512_add_epi64(sum, _mm512_sad_epu8(x, w));
  }
  static SHIFTADD_INLINE void store(const Register* sums, int32_t* out, bool add) {
    store_sums(_mm512_or_si512(sums[0], _mm512_slli_epi64(sums[1], 32)), out, add);
  }
};

// Products over 4 bytes, summed in the same instruction (vpdpbusd).
struct ShiftStep : Avx512Step {
  static constexpr size_t kPanels = 2, kDepth = 4, kChannels = 16, kRegisters = 1;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    return _mm512_dpbusd_epi32(sum, x, w);
  }
  static SHIFTADD_INLINE void store(const Register* sums, int32_t* out, bool add) {
    store_sums(sums[0], out, add);
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
  static SHIFTADD_INLINE void run(const RequantizeArguments& call, const int32_t* sums, uint8_t* y) {
    size_t i = 0;
    for (; i + 4 * kLanes <= call.count; i += 4 * kLanes) store_four(call, sums, i, y + i);
    for (; i < call.count; i += kLanes) store(call, sums, i, y + i);
  }

 private:
  static constexpr size_t kLanes = 16;

  // Of the columns from i on those within the row; the others are not read and come out as 0.
  static SHIFTADD_INLINE __m512i rounded(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i, __mmask16 columns) {
    const __m512i sum = _mm512_add_epi32(_mm512_maskz_loadu_epi32(columns, sums + i),
                                         _mm512_maskz_loadu_epi32(columns, call.start + i));
    return _mm512_cvtps_epi32(scaled_codes<Avx512Floats, kActivation>(
        _mm512_cvtepi32_ps(sum), _mm512_maskz_loadu_ps(columns, call.multiplier + i),
        _mm512_maskz_loadu_ps(columns, call.bias + i), call.requantization.y_reciprocal));
  }

  // The zero point goes to 16-bit numbers: they saturate far behind the codes.
  static SHIFTADD_INLINE void store_four(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i, uint8_t* y) {
    constexpr __mmask16 kAll = 0xffff;
    const __m512i zero_point =
        _mm512_set1_epi16(static_cast<int16_t>(call.requantization.y_zero_point));
    const __m512i front = _mm512_packs_epi32(rounded(call, sums, i, kAll),
                                             rounded(call, sums, i + kLanes, kAll));
    const __m512i back = _mm512_packs_epi32(rounded(call, sums, i + 2 * kLanes, kAll),
                                            rounded(call, sums, i + 3 * kLanes, kAll));
    // Packing works in quarters of a register; this puts the fours of codes back in order.
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i codes = _mm512_packus_epi16(_mm512_adds_epi16(front, zero_point),
                                              _mm512_adds_epi16(back, zero_point));
    _mm512_storeu_si512(y, _mm512_permutexvar_epi32(order, codes));
  }

  static SHIFTADD_INLINE void store(const RequantizeArguments& call, const int32_t* sums, size_t i,
                                    uint8_t* y) {
    const size_t left = call.count - i;
    const __mmask16 columns =
        left < kLanes ? static_cast<__mmask16>((1u << left) - 1) : static_cast<__mmask16>(-1);
    const __m512i zero_point =
        _mm512_set1_epi32(static_cast<int32_t>(call.requantization.y_zero_point));
    const __m512i codes = _mm512_add_epi32(rounded(call, sums, i, columns), zero_point);
    _mm512_mask_cvtusepi32_storeu_epi8(y, columns,
                                       _mm512_max_epi32(codes, _mm512_setzero_si512()));
  }
};

}  // namespace

const IntegerKernels& avx512_integer_kernels() {
  static const IntegerKernels table = {
      "avx512",
      make_tile<BroadcastTiles<ShiftStep>::Kernel>(),
      make_tile<BroadcastTiles<AdderStep>::Kernel>(),
      avx2_integer_kernels().shift_depthwise,
      avx2_integer_kernels().adder_depthwise,
      requantize_rows<RequantizeRow>};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
