// One float operator with random inputs, and how far an output is from what float64 makes of them.
#ifndef SHIFTADD_TESTS_CPP_CONVOLUTION_CASE_H_
#define SHIFTADD_TESTS_CPP_CONVOLUTION_CASE_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "activations.h"
#include "shiftadd/convolution.h"
#include "support.h"

namespace shiftadd {
namespace test {

struct ConvolutionCase {
  OperatorKind kind;
  ConvAttributes attributes;
  ConvGeometry geometry;
  Activation activation;
  int64_t weight_bits;
  std::vector<float> x, w, scale, bias;
  std::vector<int32_t> words;  // W as the operator is given it

  std::string text() const {
    return describe(kind, geometry) + " bits " + detail::text(weight_bits);
  }

  // Makes `words` of `w`.
  void pack() {
    words.assign(w.size(), 0);
    if (!is_shift(kind)) {
      std::memcpy(words.data(), w.data(), w.size() * sizeof(float));
      return;
    }
    const int64_t columns = packed_columns(geometry.terms, weight_bits);
    words.assign(static_cast<size_t>(geometry.out_channels * columns), 0);
    for (size_t i = 0; i < w.size(); ++i) {
      if (w[i] == 0.0f) continue;
      const int64_t row = static_cast<int64_t>(i) / geometry.terms;
      const int64_t term = static_cast<int64_t>(i) % geometry.terms;
      const uint32_t sign = w[i] < 0 ? 1u << (weight_bits - 1) : 0u;
      const uint32_t code = sign | static_cast<uint32_t>(1 - std::ilogb(w[i]));
      const int64_t codes = 32 / weight_bits;
      int32_t& word = words[static_cast<size_t>(row * columns + term / codes)];
      word =
          static_cast<int32_t>(static_cast<uint32_t>(word) | code << (term % codes * weight_bits));
    }
  }

  // ||y - exact|| / || |scale| * sum |terms| + |bias| ||; NaN where y has one.
  double error(const std::vector<float>& y) const {
    double squared = 0, magnitude = 0;
    size_t at = 0;
    const ConvGeometry& g = geometry;
    for (int64_t n = 0; n < g.batch; ++n) {
      for (int64_t m = 0; m < g.out_channels; ++m) {
        for (int64_t i = 0; i < g.out_height; ++i) {
          for (int64_t j = 0; j < g.out_width; ++j, ++at) {
            double sum = 0, size = 0;
            for_each_term(g, n, m, i, j, [&](int64_t x_index, int64_t w_index) {
              const double value = x_index < 0 ? 0 : x[x_index];
              const double term =
                  is_shift(kind) ? value * w[w_index] : -std::fabs(value - w[w_index]);
              sum += term;
              size += std::fabs(term);
            });
            squared +=
                std::pow(y[at] - expected_activation(activation, sum * scale[m] + bias[m]), 2);
            magnitude += std::pow(size * std::fabs(scale[m]) + std::fabs(bias[m]), 2);
          }
        }
      }
    }
    return squared == 0 ? 0 : std::sqrt(squared / magnitude);
  }
};

// A square kernel with the padding that keeps an image's size; no stride, dilation or groups.
inline ConvAttributes same_attributes(int64_t kernel) {
  ConvAttributes a;
  a.kernel_shape = {kernel, kernel};
  a.strides = {1, 1};
  a.pads.assign(4, kernel / 2);
  a.dilations = {1, 1};
  return a;
}

// Fresh inputs, weights and epilogue for a geometry.
inline ConvolutionCase fill_case(std::mt19937& random, OperatorKind kind, const ConvAttributes& a,
                                 const ConvGeometry& g) {
  std::normal_distribution<float> normal;
  const auto floats = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  };
  ConvolutionCase c = {kind,
                       a,
                       g,
                       static_cast<Activation>(draw(random, 0, kActivationCount - 1)),
                       is_shift(kind) ? a.weight_bits : 0,
                       {},
                       {},
                       {},
                       {},
                       {}};
  c.x = floats(g.batch * g.channels * g.height * g.width);
  c.w = floats(g.out_channels * g.terms);
  if (is_shift(kind)) {
    const int64_t smallest = a.weight_bits == 4 ? 6 : draw(random, 0, 1) ? 10 : 30;
    for (float& w : c.w) {
      const int64_t p = draw(random, 0, smallest + 1);
      const float sign = draw(random, 0, 1) ? 1.0f : -1.0f;
      w = p > smallest ? 0.0f : std::ldexp(sign, -static_cast<int>(p));
    }
  }
  c.scale = floats(g.out_channels);
  c.bias = floats(g.out_channels);
  c.attributes.activation = c.activation;
  c.pack();
  return c;
}

// A case of this operator with `rows` output channels.
inline ConvolutionCase draw_case(std::mt19937& random, OperatorKind kind, const ConvAttributes& a,
                                 const std::vector<int64_t>& x_shape, int64_t rows) {
  const int64_t group_channels = x_shape[1] / a.group;
  const ConvGeometry g =
      resolve_geometry(OperatorKind::kAdderConv, "case", a, x_shape,
                       {rows, group_channels, a.kernel_shape[0], a.kernel_shape[1]});
  return fill_case(random, kind, a, g);
}

// Any case of either operator.
inline ConvolutionCase draw_case(std::mt19937& random, const Sizes& sizes) {
  const OperatorKind kind =
      draw(random, 0, 1) ? OperatorKind::kShiftConv : OperatorKind::kAdderConv;
  ConvAttributes a;
  const ConvGeometry g = draw_geometry(random, sizes, &a);
  a.weight_bits = draw(random, 0, 1) ? 4 : 8;
  return fill_case(random, kind, a, g);
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_CONVOLUTION_CASE_H_
