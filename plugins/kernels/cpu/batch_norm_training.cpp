#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "shiftadd/training.h"
#include "share_rows.h"

// The loops run over channels, which lie side by side: the compiler vectorises them for each of these
// instruction sets, and the loader picks one (SHIFTADD_CPU_ISA has no say in it).
#if defined(SHIFTADD_CLONES)  // a build under sanitizers has none: the loader's choice comes too early
#elif defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define SHIFTADD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SHIFTADD_CLONES
#endif

namespace {

using shiftadd::cpu::share_rows;

// Rows that are summed in float32 before they go into a float64 total.
constexpr std::int64_t kBlockRows = 64;

struct Layer {
  const float* x;
  const float* gy;
  const float* mean;
  float* gx;
  std::int64_t channels;
};

// sum[c] += sum_r gy, dot[c] += sum_r gy * (x - mean) over rows [begin, end); four rows at a time
// share one load and store of the sums.
SHIFTADD_CLONES
void add_block(const Layer& layer, std::int64_t begin, std::int64_t end, float* __restrict sum,
               float* __restrict dot) {
  const std::int64_t channels = layer.channels;
  const float* mean = layer.mean;
  std::int64_t r = begin;
  for (; r + 4 <= end; r += 4) {
    const float* x0 = layer.x + r * channels;
    const float* x1 = x0 + channels;
    const float* x2 = x1 + channels;
    const float* x3 = x2 + channels;
    const float* gy0 = layer.gy + r * channels;
    const float* gy1 = gy0 + channels;
    const float* gy2 = gy1 + channels;
    const float* gy3 = gy2 + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      sum[c] += (gy0[c] + gy1[c]) + (gy2[c] + gy3[c]);
      dot[c] += (gy0[c] * (x0[c] - mean[c]) + gy1[c] * (x1[c] - mean[c])) +
                (gy2[c] * (x2[c] - mean[c]) + gy3[c] * (x3[c] - mean[c]));
    }
  }
  for (; r < end; ++r) {
    const float* x = layer.x + r * channels;
    const float* gy = layer.gy + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      sum[c] += gy[c];
      dot[c] += gy[c] * (x[c] - mean[c]);
    }
  }
}

// gx = scale * gy + slope * x + offset, each of the three one value a channel.
SHIFTADD_CLONES
void apply(const Layer& layer, std::int64_t begin, std::int64_t end, const float* scale,
           const float* slope, const float* offset) {
  const std::int64_t channels = layer.channels;
  for (std::int64_t r = begin; r < end; ++r) {
    const float* x = layer.x + r * channels;
    const float* gy = layer.gy + r * channels;
    float* __restrict gx = layer.gx + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) gx[c] = scale[c] * gy[c] + slope[c] * x[c] + offset[c];
  }
}

// totals[c] = sum_r gy, totals[channels + c] = sum_r gy * (x - mean).
std::vector<double> reduce(const Layer& layer, std::int64_t rows, std::int64_t workers) {
  const std::size_t size = 2 * static_cast<std::size_t>(layer.channels);
  std::vector<double> totals(size * static_cast<std::size_t>(workers), 0.0);
  std::vector<float> blocks(totals.size());
  share_rows(rows, kBlockRows, workers, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
    double* total = totals.data() + size * static_cast<std::size_t>(i);
    float* block = blocks.data() + size * static_cast<std::size_t>(i);
    for (std::int64_t r = begin; r < end; r += kBlockRows) {
      std::fill(block, block + size, 0.0f);
      add_block(layer, r, std::min(end, r + kBlockRows), block, block + layer.channels);
      for (std::size_t c = 0; c < size; ++c) total[c] += block[c];
    }
  });
  for (std::size_t i = size; i < totals.size(); ++i) totals[i % size] += totals[i];
  totals.resize(size);
  return totals;
}

void backward(const Layer& layer, std::int64_t rows, const float* inverse_std, const float* weight,
              float* gw, float* gb, std::int64_t workers) {
  const std::size_t channels = static_cast<std::size_t>(layer.channels);
  const std::vector<double> totals = reduce(layer, rows, workers);
  std::vector<float> scale(channels), slope(channels), offset(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const double sum = totals[c];
    const double dot = totals[channels + c] * inverse_std[c];
    gb[c] = static_cast<float>(sum);
    gw[c] = static_cast<float>(dot);
    scale[c] = weight[c] * inverse_std[c];
    slope[c] = static_cast<float>(-scale[c] * dot * inverse_std[c] / static_cast<double>(rows));
    offset[c] = static_cast<float>(-scale[c] * sum / static_cast<double>(rows) -
                                   static_cast<double>(slope[c]) * layer.mean[c]);
  }
  share_rows(rows, kBlockRows, workers, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    apply(layer, begin, end, scale.data(), slope.data(), offset.data());
  });
}

}  // namespace

int shiftadd_batch_norm_backward_f32(const float* x, const float* gy, const float* mean,
                                     const float* inverse_std, const float* weight, float* gx,
                                     float* gw, float* gb, int64_t rows, int64_t channels,
                                     int threads) {
  try {
    const std::int64_t workers = shiftadd::cpu::worker_count(rows, kBlockRows, threads);
    backward(Layer{x, gy, mean, gx, channels}, rows, inverse_std, weight, gw, gb, workers);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}
