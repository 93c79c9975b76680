// Integer micro-kernels for x86-64 with AVX-512 BW, VL and VNNI.
#include <immintrin.h>

#include <cstring>

#include "integer/micro_kernels/requantize_x86.h"
#include "integer/micro_kernels/shared.h"
#include "integer/micro_kernels/tile_x86.h"

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

// Sums of absolute differences over 8 bytes (vpsadbw): eight channels a register, in lanes of 64
// bits of which the upper halves stay 0.
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
  using Register = __m512;
  static SHIFTADD_INLINE Register broadcast(float x) { return _mm512_set1_ps(x); }
  static SHIFTADD_INLINE Register min(Register a, Register b) { return _mm512_min_ps(a, b); }
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return _mm512_max_ps(v, bound);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) { return min(v, bound); }
};

template <Activation kActivation>
struct RequantizeRow {
  static SHIFTADD_INLINE void run(const RequantizeArguments& call, const int32_t* sums,
                                  uint8_t* y) {
    size_t i = 0;
    for (; i + 4 * kLanes <= call.count; i += 4 * kLanes) store_four(call, sums, i, y + i);
    for (; i < call.count; i += kLanes) store(call, sums, i, y + i);
  }

 private:
  static constexpr size_t kLanes = 16;

  // The columns from i on that are selected by the mask; the others are not read and come out as 0.
  static SHIFTADD_INLINE __m512i rounded(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i, __mmask16 columns) {
    const __m512i sum = _mm512_add_epi32(_mm512_maskz_loadu_epi32(columns, sums + i),
                                         _mm512_maskz_loadu_epi32(columns, call.start + i));
    return _mm512_cvtps_epi32(scaled_codes<Avx512Floats, kActivation>(
        _mm512_cvtepi32_ps(sum), _mm512_maskz_loadu_ps(columns, call.multiplier + i),
        _mm512_maskz_loadu_ps(columns, call.bias + i), call.requantization.y_reciprocal));
  }

  // The zero point is added to 16-bit numbers, which saturate far beyond the codes.
  static SHIFTADD_INLINE void store_four(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i, uint8_t* y) {
    constexpr __mmask16 kAll = 0xffff;
    const __m512i zero_point =
        _mm512_set1_epi16(static_cast<int16_t>(call.requantization.y_zero_point));
    const __m512i front =
        _mm512_packs_epi32(rounded(call, sums, i, kAll), rounded(call, sums, i + kLanes, kAll));
    const __m512i back = _mm512_packs_epi32(rounded(call, sums, i + 2 * kLanes, kAll),
                                            rounded(call, sums, i + 3 * kLanes, kAll));
    // Packing works in quarters of a register; this puts the fours of codes back in order.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
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
    _mm512_mask_cvtusepi32_storeu_epi8(y, columns, _mm512_max_epi32(codes, _mm512_setzero_si512()));
  }
};

// Turns 64 bytes of each of four taps into 64 sums of products. The bytes of a channel's taps are
// brought side by side; that works within quarters of a register, so the channels are dealt to the
// quarters first.
struct DepthwiseFours {
  static constexpr size_t kBytes = 64, kLanes = 16;

  // The sums of up to 64 bytes, `offset` bytes behind the taps, beginning with a channel.
  static SHIFTADD_INLINE void run(const IntegerDepthwiseArguments& call, size_t offset,
                                  size_t channel, size_t count, int32_t* out) {
    const __mmask64 bytes = ~__mmask64{0} >> (kBytes - count);
    __m512i sums[4];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    const int16_t* w = call.w + 2 * channel;
    for (size_t t = 0; t < call.tap_count; t += 4, w += call.w_stride) {
      add(four(call, t, offset, bytes), w, sums);
    }
    for (size_t i = 0; i < 4 && i * kLanes < count; ++i) {
      const size_t left = count - i * kLanes;
      const __mmask16 lanes =
          static_cast<__mmask16>(0xffffu >> (left < kLanes ? kLanes - left : 0));
      _mm512_mask_storeu_epi32(out + i * kLanes, lanes, sums[i]);
    }
  }

 private:
  struct Four {
    __m512i taps[4];
  };

  static SHIFTADD_INLINE Four four(const IntegerDepthwiseArguments& call, size_t tap, size_t offset,
                                   __mmask64 bytes) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    Four four;
    for (size_t i = 0; i < 4; ++i) {
      // A tap beyond the last has the weight 0, so it does not matter what is read for it.
      const uint8_t* x = call.taps[tap + i < call.tap_count ? tap + i : tap] + offset;
      four.taps[i] = _mm512_permutexvar_epi32(order, _mm512_maskz_loadu_epi8(bytes, x));
    }
    return four;
  }

  static SHIFTADD_INLINE void add(const Four& x, const int16_t* w, __m512i* sums) {
    const __m512i low01 = _mm512_unpacklo_epi8(x.taps[0], x.taps[1]);
    const __m512i high01 = _mm512_unpackhi_epi8(x.taps[0], x.taps[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(x.taps[2], x.taps[3]);
    const __m512i high23 = _mm512_unpackhi_epi8(x.taps[2], x.taps[3]);
    const __m512i channels[4] = {
        _mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
        _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)};
    for (size_t i = 0; i < 4; ++i) {
      const __m512i weights = _mm512_loadu_si512(w + 2 * kLanes * i);
      sums[i] = _mm512_dpbusd_epi32(sums[i], channels[i], weights);
    }
  }
};

// `count` bytes from `offset` on, channel after channel and pixel after pixel.
void depthwise_bytes(const IntegerDepthwiseArguments& call, size_t offset, size_t count,
                     int32_t* sums) {
  constexpr size_t kBytes = DepthwiseFours::kBytes;
  static_assert(kBytes <= kDepthwiseRepeat, "a block of weights begins at any channel");
  size_t channel = 0;
  for (size_t i = 0; i < count; i += kBytes) {
    const size_t left = count - i;
    DepthwiseFours::run(call, offset + i, channel, left < kBytes ? left : kBytes, sums + i);
    for (channel += kBytes; channel >= call.channels;) channel -= call.channels;
  }
}

void shift_depthwise(const IntegerDepthwiseArguments& call) {
  if (call.pixel_step == call.channels) {
    // Neighbouring pixels form one long row of bytes.
    depthwise_bytes(call, 0, call.pixels * call.channels, call.sums);
    return;
  }
  for (size_t p = 0; p < call.pixels; ++p) {
    depthwise_bytes(call, p * call.pixel_step, call.channels, call.sums + p * call.channels);
  }
}

// Rows of kVectors registers, the last of which may be a part: the channels' numbers are loaded
// once for all rows, and a row's end costs no more than its middle.
template <Activation kActivation, size_t kVectors>
void requantize_short_rows(const RequantizeArguments& call) {
  constexpr size_t kLanes = 16;
  const RequantizeArguments c = call;
  const __mmask16 last = static_cast<__mmask16>(0xffffu >> (kVectors * kLanes - c.count));
  const __m512i zero_point = _mm512_set1_epi32(static_cast<int32_t>(c.requantization.y_zero_point));
  __m512i start[kVectors];
  __m512 multiplier[kVectors], bias[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    const __mmask16 columns = v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : last;
    start[v] = _mm512_maskz_loadu_epi32(columns, c.start + v * kLanes);
    multiplier[v] = _mm512_maskz_loadu_ps(columns, c.multiplier + v * kLanes);
    bias[v] = _mm512_maskz_loadu_ps(columns, c.bias + v * kLanes);
  }
  for (size_t row = 0; row < c.rows; ++row) {
    const int32_t* sums = c.sums + row * c.sums_stride;
    uint8_t* y = c.y + row * c.y_stride;
    for (size_t v = 0; v < kVectors; ++v, sums += kLanes, y += kLanes) {
      const bool whole = v + 1 < kVectors;
      const __m512i sum = whole ? _mm512_loadu_si512(sums) : _mm512_maskz_loadu_epi32(last, sums);
      const __m512i rounded = _mm512_cvtps_epi32(scaled_codes<Avx512Floats, kActivation>(
          _mm512_cvtepi32_ps(_mm512_add_epi32(sum, start[v])), multiplier[v], bias[v],
          c.requantization.y_reciprocal));
      const __m512i codes =
          _mm512_max_epi32(_mm512_add_epi32(rounded, zero_point), _mm512_setzero_si512());
      const __m128i bytes = _mm512_cvtusepi32_epi8(codes);
      if (whole) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
      } else {
        _mm_mask_storeu_epi8(y, last, bytes);
      }
    }
  }
}

template <Activation kActivation>
struct RequantizeByLength {
  static void run(const RequantizeArguments& call) {
    if (call.count <= 16) return requantize_short_rows<kActivation, 1>(call);
    if (call.count <= 32) return requantize_short_rows<kActivation, 2>(call);
    if (call.count <= 48) return requantize_short_rows<kActivation, 3>(call);
    requantize_each_row<RequantizeRow<kActivation>>(call);
  }
};

void requantize_avx512(const RequantizeArguments& call) {
  run_with_activation<RequantizeByLength>(call.requantization.activation, call);
}

}  // namespace

const IntegerKernels& avx512_integer_kernels() {
  static const IntegerKernels table = {"avx512",
                                       make_tile<BroadcastTiles<ShiftStep>::Kernel>(),
                                       make_tile<BroadcastTiles<AdderStep>::Kernel>(),
                                       shift_depthwise,
                                       avx2_integer_kernels().adder_depthwise,
                                       requantize_avx512,
                                       add_codes,
                                       DepthwiseWeights::kFours,
                                       DepthwiseWeights::kWords};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
