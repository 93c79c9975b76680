// A shift convolution with one output position, such as a classifier: a matrix times a vector. Each
// weight is read once in a run, so the time is that of reading them. They therefore stay codes of 4
// bits, which take an eighth of the memory of floats.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/rounding.h"
#include "float/convolution.h"

namespace shiftadd {
namespace cpu {
namespace {

// Terms in a task: enough of them make handing out a task cheap compared with the task.
constexpr int64_t kTaskTerms = 1 << 18;
constexpr int64_t kCodesPerWord = 8;

// The code of 0 or +-2^-p, p <= 6 (packed_weights.h); 16 for any other weight.
uint32_t code_of(float weight) {
  constexpr uint32_t kNone = 16;
  constexpr int kLargestK = 7;
  if (weight == 0.0f) return 0;
  int exponent;
  const float fraction = std::frexp(weight, &exponent);
  const int k = 2 - exponent;  // |weight| is 2^(exponent - 1) and 2^(1 - k)
  if (std::fabs(fraction) != 0.5f || k < 1 || k > kLargestK) return kNone;
  return static_cast<uint32_t>(k) | (weight < 0 ? 8u : 0u);
}

int64_t row_terms(const ConvGeometry& g) {
  return round_up(g.terms, static_cast<int64_t>(kShiftRowTerms));
}

}  // namespace

void Convolution::pack_codes(const ConvGeometry& g, const float* weights) {
  const int64_t words = row_terms(g) / kCodesPerWord;
  codes_.assign(static_cast<size_t>(g.out_channels * words), 0);
  for (int64_t m = 0; m < g.out_channels; ++m) {
    for (int64_t k = 0; k < g.terms; ++k) {
      const uint32_t code = code_of(weights[m * g.terms + k]);
      if (code > 15) {
        codes_.clear();
        return;
      }
      codes_[m * words + k / kCodesPerWord] |= code << (k % kCodesPerWord * 4);
    }
  }
}

bool Convolution::is_dot_product(const ConvGeometry& g) const {
  const bool rows = g.height == g.kernel_height && (g.height == 1 || g.dilation_height == 1);
  const bool columns = g.width == g.kernel_width && (g.width == 1 || g.dilation_width == 1);
  return !codes_.empty() && g.out_height == 1 && g.out_width == 1 && g.pad_top == 0 &&
         g.pad_left == 0 && rows && columns;
}

void Convolution::run_position(const ConvGeometry& g, const ConvTensors& tensors,
                               Activation activation, ParallelRunner& runner) const {
  const int64_t padded = row_terms(g);
  const int64_t slices = g.batch * g.group;
  AlignedBuffer x(static_cast<size_t>(slices * padded));
  for (int64_t i = 0; i < slices; ++i) {
    float* to = x.data() + i * padded;
    std::memcpy(to, tensors.x + i * g.terms, static_cast<size_t>(g.terms) * sizeof(float));
    std::memset(to + g.terms, 0, static_cast<size_t>(padded - g.terms) * sizeof(float));
  }
  const int64_t lanes = static_cast<int64_t>(kernels_.lanes);
  const int64_t task_rows = round_up(divide_up(kTaskTerms, padded), lanes);
  const int64_t tasks = divide_up(g.group_out_channels, task_rows);
  parallel_for(runner, static_cast<size_t>(slices * tasks), [&](size_t task) {
    const int64_t slice = static_cast<int64_t>(task) / tasks;
    const int64_t begin = static_cast<int64_t>(task) % tasks * task_rows;
    const int64_t rows = std::min(task_rows, g.group_out_channels - begin);
    const int64_t channel = slice % g.group * g.group_out_channels + begin;
    kernels_.shift_rows({codes_.data() + channel * padded / kCodesPerWord,
                         x.data() + slice * padded,
                         static_cast<size_t>(padded),
                         static_cast<size_t>(rows),
                         tensors.y + slice * g.group_out_channels + begin,
                         {tensors.scale + channel, tensors.bias + channel, activation}});
  });
}

}  // namespace cpu
}  // namespace shiftadd
