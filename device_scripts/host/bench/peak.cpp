// The rates that this processor's vector units reach at the operators' inner instructions alone, on
// registers, with nothing to load: what a kernel's rate is a share of. Compiled for the machine
// that it is built on (device_scripts/host/bench/peak.py).
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#define PEAK_REGISTER "+v"
#else
#include <arm_neon.h>
#define PEAK_REGISTER "+w"
#endif

namespace {

// As many sums as hide an instruction's latency and leave registers for the operands.
//
// Calls Operation::add for `steps` rounds of kRows by kColumns sums, each of a row's and a column's
// operand; the rows' change from round to round as far as the compiler knows. Returns the terms.
template <typename Operation, int kRows, int kColumns>
double run(int64_t steps) {
  typename Operation::Sum sums[kRows][kColumns] = {};
  typename Operation::Factor rows[kRows] = {}, columns[kColumns] = {};
  for (int c = 0; c < kColumns; ++c) __asm__ volatile("" : PEAK_REGISTER(columns[c]));
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      __asm__ volatile("" : PEAK_REGISTER(rows[r]));
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        sums[r][c] = Operation::add(sums[r][c], columns[c], rows[r]);
        __asm__ volatile("" : PEAK_REGISTER(sums[r][c]));
      }
    }
  }
  return static_cast<double>(steps) * kRows * kColumns * Operation::kTerms;
}

// The same for an operation that needs its sum to begin, so that one row and one column do.
template <typename Operation, int kSums>
double run_chains(int64_t steps) {
  typename Operation::Sum sums[kSums] = {};
  typename Operation::Factor row = {}, column = {};
  __asm__ volatile("" : PEAK_REGISTER(row), PEAK_REGISTER(column));
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) {
      sums[i] = Operation::add(sums[i], column, row);
      __asm__ volatile("" : PEAK_REGISTER(sums[i]));
    }
  }
  return static_cast<double>(steps) * kSums * Operation::kTerms;
}

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

constexpr int kRows = 4, kColumns = 4, kByteColumns = 4;

struct Product {
  using Sum = __m512;
  using Factor = __m512;
  static constexpr int kTerms = 16;
  static Sum add(Sum sum, Factor x, Factor w) { return _mm512_fmadd_ps(x, w, sum); }
};
struct Distance {
  using Sum = __m512;
  using Factor = __m512;
  static constexpr int kTerms = 16;
  static Sum add(Sum sum, Factor x, Factor w) { return _mm512_add_ps(sum, _mm512_max_ps(x, w)); }
};
struct ByteProduct {
  using Sum = __m512i;
  using Factor = __m512i;
  static constexpr int kTerms = 64;
  static Sum add(Sum sum, Factor x, Factor w) { return _mm512_dpbusd_epi32(sum, x, w); }
};
struct ByteDistance {
  using Sum = __m512i;
  using Factor = __m512i;
  static constexpr int kTerms = 64;
  // The distances alone: they have one unit, and adding them up takes another.
  static Sum add(Sum, Factor x, Factor w) { return _mm512_sad_epu8(x, w); }
};

#elif defined(__AVX2__)

constexpr int kRows = 3, kColumns = 3, kByteColumns = 2;

struct Product {
  using Sum = __m256;
  using Factor = __m256;
  static constexpr int kTerms = 8;
  static Sum add(Sum sum, Factor x, Factor w) { return _mm256_fmadd_ps(x, w, sum); }
};
struct Distance {
  using Sum = __m256;
  using Factor = __m256;
  static constexpr int kTerms = 8;
  static Sum add(Sum sum, Factor x, Factor w) { return _mm256_add_ps(sum, _mm256_max_ps(x, w)); }
};
struct ByteProduct {
  using Sum = __m256i;
  using Factor = __m256i;
  static constexpr int kTerms = 32;
  static Sum add(Sum sum, Factor x, Factor w) {
    const __m256i pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};
struct ByteDistance {
  using Sum = __m256i;
  using Factor = __m256i;
  static constexpr int kTerms = 32;
  // The distances alone: they have one unit, and adding them up takes another.
  static Sum add(Sum, Factor x, Factor w) { return _mm256_sad_epu8(x, w); }
};

#elif defined(__aarch64__)

constexpr int kRows = 4, kColumns = 4, kByteColumns = 4;

struct Product {
  using Sum = float32x4_t;
  using Factor = float32x4_t;
  static constexpr int kTerms = 4;
  static Sum add(Sum sum, Factor x, Factor w) { return vfmaq_f32(sum, x, w); }
};
struct Distance {
  using Sum = float32x4_t;
  using Factor = float32x4_t;
  static constexpr int kTerms = 4;
  static Sum add(Sum sum, Factor x, Factor w) { return vaddq_f32(sum, vabdq_f32(x, w)); }
};
// Two steps of products in 16 bits, then pairs of them to 32, as the shift's tile does.
struct ByteProduct {
  using Sum = int32x4_t;
  using Factor = int8x16_t;
  static constexpr int kTerms = 16;
  static Sum add(Sum sum, Factor x, Factor w) {
    const int16x8_t first = vmull_s8(vget_low_s8(x), vget_low_s8(w));
    return vpadalq_s16(sum, vmlal_high_s8(first, x, w));
  }
};
struct ByteDistance {
  using Sum = uint16x8_t;
  using Factor = uint8x16_t;
  static constexpr int kTerms = 16;
  static Sum add(Sum sum, Factor x, Factor w) { return vpadalq_u8(sum, vabdq_u8(x, w)); }
};

#else
#error "no vector instructions that the operators have kernels for"
#endif

}  // namespace

// Each runs so many rounds and returns how many terms of its operator they are.
extern "C" {
double products(int64_t steps) { return run_chains<Product, 12>(steps); }
double distances(int64_t steps) { return run<Distance, kRows, kColumns>(steps); }
double byte_products(int64_t steps) { return run<ByteProduct, kRows, kByteColumns>(steps); }
double byte_distances(int64_t steps) { return run<ByteDistance, kRows, kByteColumns>(steps); }
}
