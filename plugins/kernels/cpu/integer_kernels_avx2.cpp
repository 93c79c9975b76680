// Integer micro-kernels for x86-64 with AVX2. A step of the packed weights fills registers with as
// many channels as fit; the pixel's bytes of that step are broadcast to all of them.
#include <immintrin.h>

#include <cstring>

#include "integer_kernels_impl.h"
#include "unroll.h"

namespace shiftadd {
namespace cpu {
namespace {

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;
constexpr size_t kBytes = 32;

// Sums of absolute differences over 8 bytes (vpsadbw): four channels a register.
struct AdderStep {
  static constexpr size_t kDepth = 8;
  static __m256i broadcast(const uint8_t* x) {
    int64_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi64x(bytes);
  }
  static __m256i accumulate(__m256i sum, __m256i x, __m256i w) {
    return _mm256_add_epi64(sum, _mm256_sad_epu8(x, w));
  }
};

// Products over 4 bytes: eight channels a register. Two products of at most 255 * 64 fit int16.
struct ShiftStep {
  static constexpr size_t kDepth = 4;
  static __m256i broadcast(const uint8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
  static __m256i accumulate(__m256i sum, __m256i x, __m256i w) {
    const __m256i pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

template <typename Step>
SHIFTADD_INLINE void sum_tile(const IntegerTileArguments& tile,
                              __m256i (&sums)[kPixels][kVectors]) {
SHIFTADD_UNROLL(6)
  for (size_t p = 0; p < kPixels; ++p) {
SHIFTADD_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) sums[p][v] = _mm256_setzero_si256();
  }
  const uint8_t* x = tile.x;
  const uint8_t* w = tile.w;
  for (size_t step = 0; step < tile.steps; ++step, x += Step::kDepth, w += kVectors * kBytes) {
    __m256i weights[kVectors];
SHIFTADD_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) {
      weights[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + v * kBytes));
    }
SHIFTADD_UNROLL(6)
    for (size_t p = 0; p < kPixels; ++p) {
      const __m256i pixel = Step::broadcast(x + p * tile.x_stride);
SHIFTADD_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) {
        sums[p][v] = Step::accumulate(sums[p][v], pixel, weights[v]);
      }
    }
  }
}

// Eight sums to their place, `index` registers into the tile's.
void store(const IntegerTileArguments& tile, size_t index, __m256i sums) {
  __m256i* out = reinterpret_cast<__m256i*>(tile.sums) + index;
  _mm256_storeu_si256(out, tile.add ? _mm256_add_epi32(sums, _mm256_loadu_si256(out)) : sums);
}

void shift_tile(const IntegerTileArguments& tile) {
  __m256i sums[kPixels][kVectors];
  sum_tile<ShiftStep>(tile, sums);
  for (size_t p = 0; p < kPixels; ++p) {
    for (size_t v = 0; v < kVectors; ++v) store(tile, p * kVectors + v, sums[p][v]);
  }
}

void adder_tile(const IntegerTileArguments& tile) {
  static_assert(kVectors == 2, "two registers of 64-bit sums make one of 32-bit sums");
  __m256i sums[kPixels][kVectors];
  sum_tile<AdderStep>(tile, sums);
  for (size_t p = 0; p < kPixels; ++p) {
    // The low halves [0 1 4 5 | 2 3 6 7], then the middle two pairs change places.
    const __m256 mixed =
        _mm256_shuffle_ps(_mm256_castsi256_ps(sums[p][0]), _mm256_castsi256_ps(sums[p][1]),
                          _MM_SHUFFLE(2, 0, 2, 0));
    store(tile, p, _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), _MM_SHUFFLE(3, 1, 2, 0)));
  }
}

}  // namespace

const IntegerKernels& avx2_integer_kernels() {
  constexpr size_t kShiftChannels = kVectors * kBytes / ShiftStep::kDepth;
  constexpr size_t kAdderChannels = kVectors * kBytes / AdderStep::kDepth;
  static const IntegerKernels table = {
      "avx2",
      {kPixels, kShiftChannels, ShiftStep::kDepth, false, 0, 1,
       kPanelBytes / (kPixels * ShiftStep::kDepth), shift_tile},
      {kPixels, kAdderChannels, AdderStep::kDepth, false, 0, 1,
       kPanelBytes / (kPixels * AdderStep::kDepth), adder_tile},
      integer_depthwise<IntegerShiftTerm>,
      integer_depthwise<IntegerAdderTerm>,
      requantize};
  return table;
}

}  // namespace cpu
}  // namespace shiftadd
