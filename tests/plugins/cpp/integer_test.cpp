// The integer operators on every instruction set of this machine, bit for bit: random shapes,
// arrays that end at a guard page, sums at the limits of their lanes, outputs of which each
// byte was wrong before. Run by tests/plugins/test_cpp_programs.py under sanitizers and,
// cross-built, by tests/plugins/test_aarch64.py; prints one line for each failure and exits 1 if
// there was any.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/thread_pool.h"
#include "integer/addition.h"
#include "integer/convolution.h"
#include "integer_case.h"
#include "kernel_tables.h"
#include "shiftadd/convolution.h"
#include "support.h"

namespace {

using namespace shiftadd;
using test::expect;

using test::IntegerCase;

constexpr test::Sizes kSizes = {70, 24, 40, 200, 700, 300, 20, 3, 60};

// What is not a number becomes the bound.
float at_least(float v, float bound) { return v > bound ? v : bound; }
float at_most(float v, float bound) { return v < bound ? v : bound; }

float activated(Activation activation, float v) {
  switch (activation) {
    case Activation::kNone: return v;
    case Activation::kRelu: return at_least(v, 0);
    case Activation::kRelu6: return at_most(at_least(v, 0), 6);
    case Activation::kHardswish: return v * (at_most(at_least(v + 3, 0), 6) * (1.0f / 6));
  }
  return v;
}

uint8_t requantized(const IntegerCase& c, int64_t m, int32_t sum) {
  const double unit = static_cast<double>(c.quantization.x_scale) / (is_shift(c.kind) ? 64 : 1);
  const float multiplier = static_cast<float>(c.scale[m] * unit);
  float v = static_cast<float>(sum) * multiplier;
  v = v + c.bias[m];
  v = activated(c.activation, v);
  v = v * (1.0f / c.quantization.y_scale);
  v = std::nearbyint(v) + static_cast<float>(c.quantization.y_zero_point);
  return static_cast<uint8_t>(at_most(at_least(v, 0), 255));
}

// Scales whose products overflow: infinity, and what is not a number behind it.
IntegerCase overflowing(IntegerCase c, std::mt19937& random) {
  if (test::draw(random, 0, 1)) c.quantization.y_scale = 1e-40f;  // 1 / y_scale is infinite
  if (test::draw(random, 0, 1)) c.quantization.x_scale = 1e30f;
  for (float& scale : c.scale) {
    if (test::draw(random, 0, 2) == 0) scale *= 1e30f;
  }
  for (float& bias : c.bias) {
    if (test::draw(random, 0, 2) == 0) bias = std::copysign(3e38f, bias);
  }
  return c;
}

std::vector<uint8_t> expected_output(const IntegerCase& c) {
  const ConvGeometry& g = c.geometry;
  std::vector<uint8_t> y;
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t m = 0; m < g.out_channels; ++m) {
      for (int64_t i = 0; i < g.out_height; ++i) {
        for (int64_t j = 0; j < g.out_width; ++j) {
          y.push_back(requantized(c, m, test::sum_of(c, n, m, i, j)));
        }
      }
    }
  }
  return y;
}

// [N, A, B] to [N, B, A].
std::vector<uint8_t> swapped(const std::vector<uint8_t>& from, int64_t n, int64_t a, int64_t b) {
  std::vector<uint8_t> to(from.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < a; ++j) {
      for (int64_t k = 0; k < b; ++k) to[(i * b + k) * a + j] = from[(i * a + j) * b + k];
    }
  }
  return to;
}

void test_case(const IntegerCase& c, const std::vector<uint8_t>& expected,
               const cpu::IntegerKernels& kernels) {
  const ConvGeometry& g = c.geometry;
  const cpu::IntegerConvolution convolution(c.kind, kernels, test::packing_geometry(g),
                                            test::Guarded<uint8_t>(c.w).data());
  for (const Layout layout : {Layout::kNchw, Layout::kNhwc}) {
    const bool last = layout == Layout::kNhwc;
    const int64_t pixels = g.out_height * g.out_width;
    const auto x = last ? swapped(c.x, g.batch, g.channels, g.height * g.width) : c.x;
    const auto wanted = last ? swapped(expected, g.batch, g.out_channels, pixels) : expected;
    std::vector<uint8_t> wrong = wanted;
    for (uint8_t& byte : wrong) byte = static_cast<uint8_t>(~byte);
    const test::Guarded<uint8_t> in(x), y(wrong);
    const test::Guarded<float> scale(c.scale), bias(c.bias);
    cpu::ProcessThreads threads(cpu::wanted_threads());
    convolution.run(g, {in.data(), scale.data(), bias.data(), y.data()}, c.quantization,
                    c.activation, layout, threads);
    expect(std::equal(wanted.begin(), wanted.end(), y.data()),
           std::string(kernels.name) + (last ? " NHWC: " : " NCHW: ") + test::describe(c.kind, g));
  }
}

struct Addition {
  AdditionQuantization quantization;
  std::vector<uint8_t> a, b;
};

Addition draw_addition(std::mt19937& random) {
  const auto code = [&] { return static_cast<uint8_t>(test::draw(random, 0, 255)); };
  // Now and then more than one task's.
  const int64_t count = test::draw(random, 0, test::draw(random, 0, 20) == 0 ? 70000 : 300);
  std::uniform_real_distribution<float> scale(0.01f, 1.0f);
  Addition addition;
  addition.quantization = {scale(random), code(), scale(random), code(), scale(random), code()};
  addition.a = test::draw_bytes(random, count);
  addition.b = test::draw_bytes(random, count);
  return addition;
}

uint8_t sum_code(const AdditionQuantization& q, uint8_t a, uint8_t b) {
  const float a_multiplier = static_cast<float>(static_cast<double>(q.a_scale) / q.y_scale);
  const float b_multiplier = static_cast<float>(static_cast<double>(q.b_scale) / q.y_scale);
  const float a_codes = static_cast<float>(a - q.a_zero_point) * a_multiplier;
  const float b_codes = static_cast<float>(b - q.b_zero_point) * b_multiplier;
  const float v = std::nearbyint(a_codes + b_codes) + static_cast<float>(q.y_zero_point);
  return static_cast<uint8_t>(std::min(std::max(v, 0.0f), 255.0f));
}

void test_addition(const Addition& addition, const cpu::IntegerKernels& kernels) {
  std::vector<uint8_t> expected, wrong;
  for (size_t i = 0; i < addition.a.size(); ++i) {
    expected.push_back(sum_code(addition.quantization, addition.a[i], addition.b[i]));
    wrong.push_back(static_cast<uint8_t>(~expected[i]));
  }
  const test::Guarded<uint8_t> a(addition.a), b(addition.b), y(wrong);
  cpu::ProcessThreads threads(cpu::wanted_threads());
  cpu::add(kernels, addition.quantization, a.data(), b.data(), expected.size(), y.data(), threads);
  expect(std::equal(expected.begin(), expected.end(), y.data()),
         std::string(kernels.name) + ": a sum of " + detail::text(expected.size()) + " codes");
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  const auto tables = test::integer_tables();
  std::set<uint8_t> codes;
  for (int i = 0; i < 300; ++i) {
    IntegerCase c = test::draw_integer_case(random, kSizes);
    if (i % 6 == 0) c = overflowing(c, random);
    const std::vector<uint8_t> expected = expected_output(c);
    codes.insert(expected.begin(), expected.end());
    for (const cpu::IntegerKernels* table : tables) test_case(c, expected, *table);
  }
  for (int i = 0; i < 300; ++i) {
    const Addition addition = draw_addition(random);
    for (const cpu::IntegerKernels* table : tables) test_addition(addition, *table);
  }
  expect(codes.size() > 200,
         "the cases' outputs have " + detail::text(codes.size()) + " codes only");
  return test::report(seed);
}
