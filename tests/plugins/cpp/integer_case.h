// One integer operator with random inputs.
#ifndef SHIFTADD_TESTS_CPP_INTEGER_CASE_H_
#define SHIFTADD_TESTS_CPP_INTEGER_CASE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

#include "shiftadd/convolution.h"
#include "support.h"

namespace shiftadd {
namespace test {

struct IntegerCase {
  OperatorKind kind;
  ConvGeometry geometry;
  Activation activation;
  Quantization quantization;
  std::vector<uint8_t> x, w;  // [N, C, H, W]; of the shift w is int8
  std::vector<float> scale, bias;
};

inline int32_t sum_of(const IntegerCase& c, int64_t n, int64_t m, int64_t i, int64_t j) {
  const int32_t zero = c.quantization.x_zero_point;
  int32_t sum = 0;
  for_each_term(c.geometry, n, m, i, j, [&](int64_t x_index, int64_t w_index) {
    const int32_t x = x_index < 0 ? zero : c.x[x_index];
    const uint8_t w = c.w[w_index];
    sum += is_shift(c.kind) ? (x - zero) * static_cast<int8_t>(w) : -std::abs(x - w);
  });
  return sum;
}

// Scales and biases that bring each channel's outputs around 0, a few codes apart: what is clamped
// to the ends of the codes hides a wrong sum.
inline void spread_outputs(IntegerCase& c, std::mt19937& random) {
  const ConvGeometry& g = c.geometry;
  const double unit = static_cast<double>(c.quantization.x_scale) / (is_shift(c.kind) ? 64 : 1);
  std::normal_distribution<double> normal;
  for (int64_t m = 0; m < g.out_channels; ++m) {
    double sum = 0, squares = 0;
    for (int64_t at = 0; at < g.batch * g.out_height * g.out_width; ++at) {
      const int64_t n = at / (g.out_height * g.out_width);
      const double value =
          sum_of(c, n, m, at / g.out_width % g.out_height, at % g.out_width) * unit;
      sum += value;
      squares += value * value;
    }
    const double count = std::max(1.0, static_cast<double>(g.batch * g.out_height * g.out_width));
    const double mean = sum / count;
    const double deviation = std::sqrt(std::max(0.0, squares / count - mean * mean));
    const double scale = 3 * normal(random) / std::max(deviation, 50 * unit);
    c.scale.push_back(static_cast<float>(scale));
    c.bias.push_back(static_cast<float>(normal(random) - mean * scale));
  }
}

inline std::vector<uint8_t> draw_bytes(std::mt19937& random, int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(draw(random, 0, 255));
  return bytes;
}

inline IntegerCase draw_integer_case(std::mt19937& random, const Sizes& sizes) {
  const auto draw = [&](int low, int high) { return test::draw(random, low, high); };
  IntegerCase c;
  c.kind = draw(0, 1) ? OperatorKind::kQLinearShiftConv : OperatorKind::kQLinearAdderConv;
  c.activation = static_cast<Activation>(draw(0, kActivationCount - 1));
  c.geometry = draw_geometry(random, sizes);
  const ConvGeometry& g = c.geometry;
  c.x = draw_bytes(random, g.batch * g.channels * g.height * g.width);
  c.w = draw_bytes(random, g.out_channels * g.terms);
  if (is_shift(c.kind)) {
    for (uint8_t& value : c.w) {
      value = static_cast<uint8_t>((value & 1 ? -1 : 1) * (value & 8 ? 1 << value % 7 : 0));
    }
  }
  if (draw(0, 5) == 0) {
    std::fill(c.x.begin(), c.x.end(), static_cast<uint8_t>(draw(0, 1) * 255));
    const int largest = is_shift(c.kind) ? 64 : c.x.empty() ? 0 : 255 - c.x[0];
    const int sign = is_shift(c.kind) && draw(0, 1) ? -1 : 1;
    std::fill(c.w.begin(), c.w.end(), static_cast<uint8_t>(sign * largest));
  }
  c.quantization = {0.05f, static_cast<uint8_t>(draw(0, 255)), 0.1f,
                    static_cast<uint8_t>(draw(96, 160))};
  spread_outputs(c, random);
  return c;
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_INTEGER_CASE_H_
