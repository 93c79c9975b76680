// The integer operators on every instruction set of this machine, bit for bit: random shapes,
// arrays that end at a guard page, sums at the limits of their lanes, outputs of which each
// byte was wrong before. Run by tests/test_plugins_contract.py under sanitizers and, cross-built, by
// tests/test_plugins_aarch64.py; prints one line for each failure and exits 1 if there was any.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "integer_addition.h"
#include "integer_convolution.h"
#include "shiftadd/contract.h"
#include "support.h"
#include "thread_pool.h"

namespace {

using namespace shiftadd;
using test::expect;

struct Case {
  OperatorKind kind;
  ConvGeometry geometry;
  Activation activation;
  Quantization quantization;
  std::vector<uint8_t> x, w;  // [N, C, H, W]; of the shift w is int8
  std::vector<float> scale, bias;
};

int32_t sum_of(const Case& c, int64_t n, int64_t m, int64_t i, int64_t j) {
  const int32_t zero = c.quantization.x_zero_point;
  int32_t sum = 0;
  test::for_each_term(c.geometry, n, m, i, j, [&](int64_t x_index, int64_t w_index) {
    const int32_t x = x_index < 0 ? zero : c.x[x_index];
    const uint8_t w = c.w[w_index];
    sum += is_shift(c.kind) ? (x - zero) * static_cast<int8_t>(w) : -std::abs(x - w);
  });
  return sum;
}

// Scales and biases that bring each channel's outputs around 0, a few codes apart: what is clamped
// to the ends of the codes hides a wrong sum.
void spread_outputs(Case& c, std::mt19937& random) {
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

constexpr test::Sizes kSizes = {70, 24, 40, 200, 700, 300, 20, 3, 60};

std::vector<uint8_t> draw_bytes(std::mt19937& random, int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(test::draw(random, 0, 255));
  return bytes;
}

Case draw_case(std::mt19937& random) {
  const auto draw = [&](int low, int high) { return test::draw(random, low, high); };
  Case c;
  c.kind = draw(0, 1) ? OperatorKind::kQLinearShiftConv : OperatorKind::kQLinearAdderConv;
  c.activation = static_cast<Activation>(draw(0, 3));
  c.geometry = test::draw_geometry(random, kSizes);
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

uint8_t requantized(const Case& c, int64_t m, int32_t sum) {
  const double unit = static_cast<double>(c.quantization.x_scale) / (is_shift(c.kind) ? 64 : 1);
  const float multiplier = static_cast<float>(c.scale[m] * unit);
  float v = static_cast<float>(sum) * multiplier;
  v = v + c.bias[m];
  if (c.activation != Activation::kNone && c.activation != Activation::kHardswish) {
    v = std::max(v, 0.0f);
  }
  if (c.activation == Activation::kRelu6) v = std::min(v, 6.0f);
  if (c.activation == Activation::kHardswish) {
    const float gate = std::min(std::max(v + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f);
    v = v * gate;
  }
  v = v * (1.0f / c.quantization.y_scale);
  v = std::nearbyint(v) + static_cast<float>(c.quantization.y_zero_point);
  return static_cast<uint8_t>(std::min(std::max(v, 0.0f), 255.0f));
}

std::vector<uint8_t> expected_output(const Case& c) {
  const ConvGeometry& g = c.geometry;
  std::vector<uint8_t> y;
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t m = 0; m < g.out_channels; ++m) {
      for (int64_t i = 0; i < g.out_height; ++i) {
        for (int64_t j = 0; j < g.out_width; ++j) {
          y.push_back(requantized(c, m, sum_of(c, n, m, i, j)));
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

void test_case(const Case& c, const std::vector<uint8_t>& expected,
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
           std::string(kernels.name) + (last ? " NHWC: " : " NCHW: ") +
               test::describe(c.kind, g));
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
  addition.a = draw_bytes(random, count);
  addition.b = draw_bytes(random, count);
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

std::vector<const cpu::IntegerKernels*> tables_of_this_machine() {
  std::vector<const cpu::IntegerKernels*> tables = {&cpu::portable_integer_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) tables.push_back(&cpu::avx2_integer_kernels());
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    tables.push_back(&cpu::avx512_integer_kernels());
  }
#elif defined(__aarch64__)
  tables.push_back(&cpu::neon_integer_kernels());
#endif
  return tables;
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  const auto tables = tables_of_this_machine();
  std::set<uint8_t> codes;
  for (int i = 0; i < 300; ++i) {
    const Case c = draw_case(random);
    const std::vector<uint8_t> expected = expected_output(c);
    codes.insert(expected.begin(), expected.end());
    for (const cpu::IntegerKernels* table : tables) test_case(c, expected, *table);
  }
  for (int i = 0; i < 300; ++i) {
    const Addition addition = draw_addition(random);
    for (const cpu::IntegerKernels* table : tables) test_addition(addition, *table);
  }
  expect(codes.size() > 200, "the cases' outputs have " + detail::text(codes.size()) + " codes only");
  return test::report(seed);
}
