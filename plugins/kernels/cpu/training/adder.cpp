#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "shiftadd/training.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "common/instruction_sets.h"
#include "common/rounding.h"
#include "common/share_rows.h"

namespace {

using shiftadd::cpu::Candidate;
using shiftadd::cpu::round_up;

// Rows of x that share one load of the weights in a 512-bit kernel.
constexpr int kWideRowTile = 8;
// Two vectors of eight outputs: 4 x 2 accumulators stay in registers.
constexpr int kOutputTile = 16;
// One vector of eight inputs: 4 values and 4 accumulators stay in registers.
constexpr int kDepthTile = 8;

// [outputs, depth] -> [outputs/16][depth][16], zeros behind the last output.
std::vector<float> pack_by_output(const float* w, std::int64_t outputs, std::int64_t depth) {
  std::vector<float> packed(static_cast<std::size_t>(round_up(outputs, kOutputTile) * depth), 0.0f);
  for (std::int64_t m = 0; m < outputs; ++m) {
    float* block = packed.data() + m / kOutputTile * kOutputTile * depth + m % kOutputTile;
    for (std::int64_t k = 0; k < depth; ++k) block[k * kOutputTile] = w[m * depth + k];
  }
  return packed;
}

// [outputs, depth] -> [depth/8][outputs][8], zeros behind the last input.
std::vector<float> pack_by_depth(const float* w, std::int64_t outputs, std::int64_t depth) {
  std::vector<float> packed(static_cast<std::size_t>(round_up(depth, kDepthTile) * outputs), 0.0f);
  for (std::int64_t m = 0; m < outputs; ++m) {
    for (std::int64_t k = 0; k < depth; ++k) {
      packed[static_cast<std::size_t>((k / kDepthTile * outputs + m) * kDepthTile +
                                      k % kDepthTile)] = w[m * depth + k];
    }
  }
  return packed;
}

struct Problem {
  const float* x;
  const float* packed;
  const float* gy;  // null in the forward pass
  float* out;
  std::int64_t depth;
  std::int64_t outputs;
};

using RangeKernel = void (*)(const Problem&, std::int64_t begin, std::int64_t end);

void forward_portable(const Problem& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    const float* x = p.x + r * p.depth;
    for (std::int64_t m0 = 0; m0 < p.outputs; m0 += kOutputTile) {
      const float* w = p.packed + m0 * p.depth;
      float sum[kOutputTile] = {};
      for (std::int64_t k = 0; k < p.depth; ++k) {
        for (int j = 0; j < kOutputTile; ++j) sum[j] -= std::fabs(x[k] - w[k * kOutputTile + j]);
      }
      const std::int64_t count = std::min<std::int64_t>(kOutputTile, p.outputs - m0);
      std::copy(sum, sum + count, p.out + r * p.outputs + m0);
    }
  }
}

void input_grad_portable(const Problem& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    const float* gy = p.gy + r * p.outputs;
    for (std::int64_t k0 = 0; k0 < p.depth; k0 += kDepthTile) {
      const std::int64_t count = std::min<std::int64_t>(kDepthTile, p.depth - k0);
      const float* w = p.packed + k0 * p.outputs;
      float x[kDepthTile] = {};
      float sum[kDepthTile] = {};
      std::copy(p.x + r * p.depth + k0, p.x + r * p.depth + k0 + count, x);
      for (std::int64_t m = 0; m < p.outputs; ++m) {
        for (int j = 0; j < kDepthTile; ++j) {
          const float difference = w[m * kDepthTile + j] - x[j];
          sum[j] += gy[m] * std::min(std::max(difference, -1.0f), 1.0f);
        }
      }
      std::copy(sum, sum + count, p.out + r * p.depth + k0);
    }
  }
}

#if defined(__x86_64__)
#define SHIFTADD_AVX2 __attribute__((target("avx2,fma")))

constexpr int kRowTile = 4;  // the same in a 256-bit kernel, which has half the registers

// A mask for vmaskmov that keeps the first `count` of eight lanes.
SHIFTADD_AVX2 __m256i first_lanes(std::int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int kept = static_cast<int>(std::max<std::int64_t>(0, std::min<std::int64_t>(8, count)));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(kept), lane);
}

template <int Rows>
SHIFTADD_AVX2 void forward_tile_avx2(const Problem& p, std::int64_t r) {
  // acc + |d| * -1 runs on the multiply pipes, the subtraction on the add pipes: both halves busy.
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 minus_one = _mm256_set1_ps(-1.0f);
  const float* x = p.x + r * p.depth;
  for (std::int64_t m0 = 0; m0 < p.outputs; m0 += kOutputTile) {
    const float* w = p.packed + m0 * p.depth;
    __m256 sum[Rows][2];
    for (int i = 0; i < Rows; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (std::int64_t k = 0; k < p.depth; ++k) {
      const __m256 w0 = _mm256_loadu_ps(w + k * kOutputTile);
      const __m256 w1 = _mm256_loadu_ps(w + k * kOutputTile + 8);
      for (int i = 0; i < Rows; ++i) {
        const __m256 value = _mm256_broadcast_ss(x + i * p.depth + k);
        const __m256 d0 = _mm256_and_ps(_mm256_sub_ps(w0, value), magnitude);
        const __m256 d1 = _mm256_and_ps(_mm256_sub_ps(w1, value), magnitude);
        sum[i][0] = _mm256_fmadd_ps(d0, minus_one, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(d1, minus_one, sum[i][1]);
      }
    }
    const __m256i keep0 = first_lanes(p.outputs - m0);
    const __m256i keep1 = first_lanes(p.outputs - m0 - 8);
    for (int i = 0; i < Rows; ++i) {
      float* y = p.out + (r + i) * p.outputs + m0;
      _mm256_maskstore_ps(y, keep0, sum[i][0]);
      _mm256_maskstore_ps(y + 8, keep1, sum[i][1]);
    }
  }
}

// The clips keep NaN: of a NaN and a number, max and min return the second operand.
template <int Rows>
SHIFTADD_AVX2 void input_grad_tile_avx2(const Problem& p, std::int64_t r) {
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 minus_one = _mm256_set1_ps(-1.0f);
  const float* gy = p.gy + r * p.outputs;
  for (std::int64_t k0 = 0; k0 < p.depth; k0 += kDepthTile) {
    const __m256i keep = first_lanes(p.depth - k0);
    const float* w = p.packed + k0 * p.outputs;
    __m256 x[Rows];
    __m256 sum[Rows];
    for (int i = 0; i < Rows; ++i) {
      x[i] = _mm256_maskload_ps(p.x + (r + i) * p.depth + k0, keep);
      sum[i] = _mm256_setzero_ps();
    }
    for (std::int64_t m = 0; m < p.outputs; ++m) {
      const __m256 weight = _mm256_loadu_ps(w + m * kDepthTile);
      for (int i = 0; i < Rows; ++i) {
        const __m256 difference = _mm256_sub_ps(weight, x[i]);
        const __m256 clipped = _mm256_min_ps(one, _mm256_max_ps(minus_one, difference));
        sum[i] = _mm256_fmadd_ps(clipped, _mm256_broadcast_ss(gy + i * p.outputs + m), sum[i]);
      }
    }
    for (int i = 0; i < Rows; ++i) {
      _mm256_maskstore_ps(p.out + (r + i) * p.depth + k0, keep, sum[i]);
    }
  }
}

SHIFTADD_AVX2 void forward_avx2(const Problem& p, std::int64_t begin, std::int64_t end) {
  std::int64_t r = begin;
  for (; r + kRowTile <= end; r += kRowTile) forward_tile_avx2<kRowTile>(p, r);
  for (; r < end; ++r) forward_tile_avx2<1>(p, r);
}

SHIFTADD_AVX2 void input_grad_avx2(const Problem& p, std::int64_t begin, std::int64_t end) {
  std::int64_t r = begin;
  for (; r + kRowTile <= end; r += kRowTile) input_grad_tile_avx2<kRowTile>(p, r);
  for (; r < end; ++r) input_grad_tile_avx2<1>(p, r);
}

#define SHIFTADD_AVX512 __attribute__((target("avx512f,avx512dq")))

template <int Rows>
SHIFTADD_AVX512 void forward_tile_avx512(const Problem& p, std::int64_t r) {
  const float* x = p.x + r * p.depth;
  for (std::int64_t m0 = 0; m0 < p.outputs; m0 += 2 * kOutputTile) {
    const std::int64_t count = std::min<std::int64_t>(2 * kOutputTile, p.outputs - m0);
    const float* w0 = p.packed + m0 * p.depth;
    const float* w1 = count > kOutputTile ? w0 + kOutputTile * p.depth : w0;
    __m512 sum[Rows][2];
    for (int i = 0; i < Rows; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (std::int64_t k = 0; k < p.depth; ++k) {
      const __m512 low = _mm512_loadu_ps(w0 + k * kOutputTile);
      const __m512 high = _mm512_loadu_ps(w1 + k * kOutputTile);
      for (int i = 0; i < Rows; ++i) {
        const __m512 value = _mm512_set1_ps(x[i * p.depth + k]);
        sum[i][0] = _mm512_sub_ps(sum[i][0], _mm512_abs_ps(_mm512_sub_ps(low, value)));
        sum[i][1] = _mm512_sub_ps(sum[i][1], _mm512_abs_ps(_mm512_sub_ps(high, value)));
      }
    }
    const std::uint32_t keep = count == 32 ? 0xffffffffu : (1u << count) - 1;
    for (int i = 0; i < Rows; ++i) {
      float* y = p.out + (r + i) * p.outputs + m0;
      _mm512_mask_storeu_ps(y, static_cast<__mmask16>(keep), sum[i][0]);
      if (count > kOutputTile) {
        _mm512_mask_storeu_ps(y + kOutputTile, static_cast<__mmask16>(keep >> 16), sum[i][1]);
      }
    }
  }
}

// A vector of 16 inputs takes two packs of 8; where the second is missing its lanes are not stored.
template <int Rows>
SHIFTADD_AVX512 void input_grad_tile_avx512(const Problem& p, std::int64_t r) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 minus_one = _mm512_set1_ps(-1.0f);
  const float* gy = p.gy + r * p.outputs;
  for (std::int64_t k0 = 0; k0 < p.depth; k0 += 2 * kDepthTile) {
    const std::int64_t count = std::min<std::int64_t>(2 * kDepthTile, p.depth - k0);
    const __mmask16 keep = static_cast<__mmask16>((1u << count) - 1);
    const float* low = p.packed + k0 * p.outputs;
    const float* high = count > kDepthTile ? low + kDepthTile * p.outputs : low;
    __m512 x[Rows];
    __m512 sum[Rows];
    for (int i = 0; i < Rows; ++i) {
      x[i] = _mm512_maskz_loadu_ps(keep, p.x + (r + i) * p.depth + k0);
      sum[i] = _mm512_setzero_ps();
    }
    for (std::int64_t m = 0; m < p.outputs; ++m) {
      const __m512 weight =
          _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low + m * kDepthTile)),
                             _mm256_loadu_ps(high + m * kDepthTile), 1);
      for (int i = 0; i < Rows; ++i) {
        const __m512 difference = _mm512_sub_ps(weight, x[i]);
        const __m512 clipped = _mm512_min_ps(one, _mm512_max_ps(minus_one, difference));
        sum[i] = _mm512_fmadd_ps(clipped, _mm512_set1_ps(gy[i * p.outputs + m]), sum[i]);
      }
    }
    for (int i = 0; i < Rows; ++i) {
      _mm512_mask_storeu_ps(p.out + (r + i) * p.depth + k0, keep, sum[i]);
    }
  }
}

SHIFTADD_AVX512 void forward_avx512(const Problem& p, std::int64_t begin, std::int64_t end) {
  std::int64_t r = begin;
  for (; r + kWideRowTile <= end; r += kWideRowTile) forward_tile_avx512<kWideRowTile>(p, r);
  for (; r < end; ++r) forward_tile_avx512<1>(p, r);
}

SHIFTADD_AVX512 void input_grad_avx512(const Problem& p, std::int64_t begin, std::int64_t end) {
  std::int64_t r = begin;
  for (; r + kWideRowTile <= end; r += kWideRowTile) input_grad_tile_avx512<kWideRowTile>(p, r);
  for (; r < end; ++r) input_grad_tile_avx512<1>(p, r);
}

#endif

struct AdderKernels {
  RangeKernel forward;
  RangeKernel input_grad;
};

AdderKernels select_adder_kernels() {
  static const Candidate<AdderKernels> candidates[] = {
#if defined(__x86_64__)
      {shiftadd::cpu::kAvx2 | shiftadd::cpu::kAvx512F | shiftadd::cpu::kAvx512Dq,
       {forward_avx512, input_grad_avx512}},
      {shiftadd::cpu::kAvx2, {forward_avx2, input_grad_avx2}},
#endif
      {shiftadd::cpu::kNoFeature, {forward_portable, input_grad_portable}},
  };
  return shiftadd::cpu::choose_kernels(candidates);
}

void run_rows(RangeKernel kernel, const Problem& p, std::int64_t rows, int threads) {
  shiftadd::cpu::share_rows(rows, kWideRowTile, threads,
                            [&](std::int64_t begin, std::int64_t end) { kernel(p, begin, end); });
}

thread_local std::string g_error;

// Runs the body; its answer is that of the C functions, which let no exception out.
template <typename Body>
int answer(const Body& body) {
  try {
    body();
    return kShiftaddDone;
  } catch (const std::bad_alloc&) {
    return kShiftaddNoMemory;
  } catch (const std::exception& error) {
    g_error = error.what();
    return kShiftaddRefused;
  }
}

}  // namespace

int shiftadd_adder_forward_f32(const float* x, const float* w, float* y, int64_t rows,
                               int64_t depth, int64_t outputs, int threads) {
  return answer([&] {
    const RangeKernel kernel = select_adder_kernels().forward;
    const std::vector<float> packed = pack_by_output(w, outputs, depth);
    run_rows(kernel, Problem{x, packed.data(), nullptr, y, depth, outputs}, rows, threads);
  });
}

int shiftadd_adder_input_grad_f32(const float* x, const float* w, const float* gy, float* gx,
                                  int64_t rows, int64_t depth, int64_t outputs, int threads) {
  return answer([&] {
    const RangeKernel kernel = select_adder_kernels().input_grad;
    const std::vector<float> packed = pack_by_depth(w, outputs, depth);
    run_rows(kernel, Problem{x, packed.data(), gy, gx, depth, outputs}, rows, threads);
  });
}

const char* shiftadd_training_error(void) { return g_error.c_str(); }
