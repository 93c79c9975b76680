// Integer micro-kernels for x86-64 with AVX2.
#include <immintrin.h>

#include <cstring>

#include "integer/micro_kernels/requantize_x86.h"
#include "integer/micro_kernels/shared.h"
#include "integer/micro_kernels/tile_x86.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Avx2Step {
  using Register = __m256i;
  static constexpr size_t kPixels = 6, kBytes = 32;
  static SHIFTADD_INLINE Register zero() { return _mm256_setzero_si256(); }
  static SHIFTADD_INLINE Register load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static SHIFTADD_INLINE void store_sums(Register sums, int32_t* out, bool add) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        add ? _mm256_add_epi32(sums, load(out)) : sums);
  }
};

// Sums of absolute differences over 8 bytes (vpsadbw): four channels a register, in lanes of 64
// bits of which the upper halves stay 0.
struct AdderStep : Avx2Step {
  static constexpr size_t kPanels = 1, kDepth = 8, kChannels = 8, kRegisters = 2;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int64_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi64x(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    return _mm256_add_epi64(sum, _mm256_sad_epu8(x, w));
  }
  static SHIFTADD_INLINE void store(const Register* sums, int32_t* out, bool add) {
    store_sums(_mm256_or_si256(sums[0], _mm256_slli_epi64(sums[1], 32)), out, add);
  }
};

// Products over 4 bytes: eight channels a register. Two products of at most 255 * 64 fit int16.
struct ShiftStep : Avx2Step {
  static constexpr size_t kPanels = 2, kDepth = 4, kChannels = 8, kRegisters = 1;
  static SHIFTADD_INLINE Register broadcast(const uint8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
  static SHIFTADD_INLINE Register accumulate(Register sum, Register x, Register w) {
    const Register pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static SHIFTADD_INLINE void store(const Register* sums, int32_t* out, bool add) {
    store_sums(sums[0], out, add);
  }
};

struct Avx2Floats {
  using Register = __m256;
  static SHIFTADD_INLINE Register broadcast(float x) { return _mm256_set1_ps(x); }
  static SHIFTADD_INLINE Register min(Register a, Register b) { return _mm256_min_ps(a, b); }
  static SHIFTADD_INLINE Register at_least(Register v, Register bound) {
    return _mm256_max_ps(v, bound);
  }
  static SHIFTADD_INLINE Register at_most(Register v, Register bound) { return min(v, bound); }
};

template <Activation kActivation>
struct RequantizeRow {
  static SHIFTADD_INLINE void run(const RequantizeArguments& call, const int32_t* sums,
                                  uint8_t* y) {
    const size_t count = call.count;
    if (count < kLanes) {
      RequantizeArguments row = call;
      row.sums = sums;
      row.rows = 1;
      row.y = y;
      requantize_with<kActivation>(row);
      return;
    }
    size_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes) store_four(call, sums, i, y + i);
    for (; i + kLanes <= count; i += kLanes) store(call, sums, i, y + i);
    // The last vector ends where the row ends and overwrites some codes with the same values.
    if (i < count) store(call, sums, count - kLanes, y + count - kLanes);
  }

 private:
  static constexpr size_t kLanes = 8;

  static SHIFTADD_INLINE __m256i rounded(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i) {
    const __m256i sum = _mm256_add_epi32(Avx2Step::load(sums + i), Avx2Step::load(call.start + i));
    return _mm256_cvtps_epi32(scaled_codes<Avx2Floats, kActivation>(
        _mm256_cvtepi32_ps(sum), _mm256_loadu_ps(call.multiplier + i),
        _mm256_loadu_ps(call.bias + i), call.requantization.y_reciprocal));
  }

  // The zero point is added to 16-bit numbers, which saturate far beyond the codes.
  static SHIFTADD_INLINE __m256i zero_point(const RequantizeArguments& call) {
    return _mm256_set1_epi16(static_cast<int16_t>(call.requantization.y_zero_point));
  }

  static SHIFTADD_INLINE void store_four(const RequantizeArguments& call, const int32_t* sums,
                                         size_t i, uint8_t* y) {
    const __m256i zero = zero_point(call);
    const __m256i front = _mm256_adds_epi16(
        _mm256_packs_epi32(rounded(call, sums, i), rounded(call, sums, i + kLanes)), zero);
    const __m256i back = _mm256_adds_epi16(_mm256_packs_epi32(rounded(call, sums, i + 2 * kLanes),
                                                              rounded(call, sums, i + 3 * kLanes)),
                                           zero);
    // Packing works in halves of a register; this puts the fours of codes back in order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(front, back), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), codes);
  }

  static SHIFTADD_INLINE void store(const RequantizeArguments& call, const int32_t* sums, size_t i,
                                    uint8_t* y) {
    const __m256i codes = rounded(call, sums, i);
    const __m128i words = _mm_adds_epi16(
        _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)),
        _mm256_castsi256_si128(zero_point(call)));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), _mm_packus_epi16(words, words));
  }
};

template <Activation kActivation>
struct RequantizeRows {
  static void run(const RequantizeArguments& call) {
    requantize_each_row<RequantizeRow<kActivation>>(call);
  }
};

void requantize_avx2(const RequantizeArguments& call) {
  run_with_activation<RequantizeRows>(call.requantization.activation, call);
}

constexpr size_t kDepthwiseBlock = 16;
static_assert(kDepthwiseBlock <= kDepthwiseRepeat, "a block of weights begins at any channel");

// Sixteen depthwise sums of the channels from `channel` on, for the pixels that lie `offset` bytes
// behind the taps.
struct DepthwiseBlock {
  const IntegerDepthwiseArguments& call;
  size_t offset;
  size_t channel;

  SHIFTADD_INLINE __m256i pixel(size_t tap) const {
    const uint8_t* bytes = call.taps[tap] + offset;
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  SHIFTADD_INLINE __m256i weights(size_t tap) const {
    return Avx2Step::load(call.w + tap * call.w_stride + channel);
  }
};

struct ShiftBlock {
  using Term = IntegerShiftTerm;
  static SHIFTADD_INLINE void run(const DepthwiseBlock& block, int32_t* sums) {
    const size_t taps = block.call.tap_count;
    __m256i low = _mm256_setzero_si256(), high = low;
    size_t t = 0;
    for (; t + 2 <= taps; t += 2) {
      add_pair(block.pixel(t), block.pixel(t + 1), block.weights(t), block.weights(t + 1), low,
               high);
    }
    if (t < taps) {
      const __m256i none = _mm256_setzero_si256();
      add_pair(block.pixel(t), none, block.weights(t), none, low, high);
    }
    // Interleaving works in halves of a register: these hold sums 0-3 8-11 and 4-7 12-15.
    __m256i* to = reinterpret_cast<__m256i*>(sums);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
  }

 private:
  static SHIFTADD_INLINE void add_pair(__m256i x0, __m256i x1, __m256i w0, __m256i w1, __m256i& low,
                                       __m256i& high) {
    low = _mm256_add_epi32(
        low, _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), _mm256_unpacklo_epi16(w0, w1)));
    high = _mm256_add_epi32(
        high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), _mm256_unpackhi_epi16(w0, w1)));
  }
};

struct AdderBlock {
  using Term = IntegerAdderTerm;
  static SHIFTADD_INLINE void run(const DepthwiseBlock& block, int32_t* sums) {
    // A lane of 16 bits holds the sum of this many distances of at most 255.
    constexpr size_t kMostTaps = 257;
    const size_t taps = block.call.tap_count;
    __m256i low = _mm256_setzero_si256(), high = low;
    for (size_t first = 0; first < taps; first += kMostTaps) {
      const size_t end = first + (taps - first < kMostTaps ? taps - first : kMostTaps);
      __m256i distances = _mm256_setzero_si256();
      for (size_t t = first; t < end; ++t) {
        const __m256i difference = _mm256_sub_epi16(block.pixel(t), block.weights(t));
        distances = _mm256_add_epi16(distances, _mm256_abs_epi16(difference));
      }
      low = _mm256_add_epi32(low, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(distances)));
      high = _mm256_add_epi32(high, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(distances, 1)));
    }
    __m256i* to = reinterpret_cast<__m256i*>(sums);
    _mm256_storeu_si256(to, low);
    _mm256_storeu_si256(to + 1, high);
  }
};

// The sums of `count` bytes from `offset` on, channel after channel and pixel after pixel. The last
// vector ends where the bytes end and writes some sums a second time.
template <typename Block>
SHIFTADD_INLINE void depthwise_bytes(const IntegerDepthwiseArguments& call, size_t offset,
                                     size_t count, int32_t* sums) {
  size_t channel = 0;
  for (size_t i = 0; i + kDepthwiseBlock <= count; i += kDepthwiseBlock) {
    Block::run({call, offset + i, channel}, sums + i);
    for (channel += kDepthwiseBlock; channel >= call.channels;) channel -= call.channels;
  }
  if (count % kDepthwiseBlock == 0) return;
  const size_t last = count - kDepthwiseBlock;
  Block::run({call, offset + last, last % call.channels}, sums + last);
}

template <typename Block>
void depthwise(const IntegerDepthwiseArguments& call) {
  const size_t all = call.pixels * call.channels;
  if (call.pixel_step == call.channels && all >= kDepthwiseBlock) {
    // Neighbouring pixels form one long row of bytes.
    depthwise_bytes<Block>(call, 0, all, call.sums);
  } else if (call.channels >= kDepthwiseBlock) {
    for (size_t p = 0; p < call.pixels; ++p) {
      depthwise_bytes<Block>(call, p * call.pixel_step, call.channels,
                             call.sums + p * call.channels);
    }
  } else {
    integer_depthwise<typename Block::Term>(call);
  }
}

}  // namespace

const IntegerKernels& avx2_integer_kernels() {
  static const IntegerKernels table = {"avx2",
                                       make_tile<BroadcastTiles<ShiftStep>::Kernel>(),
                                       make_tile<BroadcastTiles<AdderStep>::Kernel>(),
                                       depthwise<ShiftBlock>,
                                       depthwise<AdderBlock>,
                                       requantize_avx2,
                                       add_codes,
                                       DepthwiseWeights::kWords,
                                       DepthwiseWeights::kWords};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
