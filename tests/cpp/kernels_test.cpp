// The convolution on every instruction set of this machine and on the thread pool, under sanitizers:
// random shapes, arrays that end where their memory ends, outputs that start as NaN. Run by
// tests/test_plugins_contract.py; prints one line for each failure and exits 1 if there was any.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "convolution.h"
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
  std::vector<float> x, w, scale, bias;
};

std::vector<float> draw_floats(std::mt19937& random, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  values.shrink_to_fit();
  return values;
}

Case draw_case(std::mt19937& random) {
  const auto draw = [&](int low, int high) {
    return static_cast<int64_t>(std::uniform_int_distribution<int>(low, high)(random));
  };
  Case c;
  c.kind = draw(0, 1) ? OperatorKind::kShiftConv : OperatorKind::kAdderConv;
  c.activation = static_cast<Activation>(draw(0, 3));
  ConvAttributes a;
  const bool pointwise = draw(0, 2) == 0;
  a.kernel_shape = pointwise ? std::vector<int64_t>{1, 1} : std::vector<int64_t>{draw(1, 4), draw(1, 5)};
  a.dilations = {draw(1, 2), draw(1, 3)};
  a.strides = {draw(0, 2) ? 1 : draw(2, 3), draw(0, 2) ? 1 : draw(2, 4)};
  a.pads = {draw(0, 3), draw(0, 3), draw(0, 3), draw(0, 3)};
  if (draw(0, 1)) a.pads = {0, 0, 0, 0};
  a.group = draw(0, 1) ? 1 : draw(2, 5);
  const bool depthwise = draw(0, 2) == 0;
  if (depthwise) a.group = draw(1, 20);
  // Now and then enough channels for a sum in blocks and for more than one task, and a wide plane.
  const bool deep = !depthwise && draw(0, 5) == 0;
  const bool wide = !deep && draw(0, 9) == 0;
  const int64_t group_channels = depthwise ? 1 : deep ? draw(40, 70) : draw(1, 9);
  const int64_t group_rows = depthwise ? draw(1, 2) : deep ? draw(1, 150) : draw(1, 21);
  if (deep) a.group = 1;
  const auto extent = [&](size_t axis) {
    const int64_t window = a.dilations[axis] * (a.kernel_shape[axis] - 1) + 1;
    const int64_t least = window - a.pads[axis] - a.pads[axis + 2];
    return std::max<int64_t>(least, 0) + draw(0, 1) * draw(0, wide ? 120 : deep ? 6 : 30);
  };
  const std::vector<int64_t> x_shape = {draw(0, 3), a.group * group_channels, extent(0), extent(1)};
  const std::vector<int64_t> w_shape = {a.group * group_rows, group_channels, a.kernel_shape[0],
                                        a.kernel_shape[1]};
  c.geometry = resolve_geometry(OperatorKind::kAdderConv, "case", a, x_shape, w_shape);
  c.x = draw_floats(random, x_shape[0] * x_shape[1] * x_shape[2] * x_shape[3]);
  c.w = draw_floats(random, w_shape[0] * c.geometry.terms);
  c.scale = draw_floats(random, w_shape[0]);
  c.bias = draw_floats(random, w_shape[0]);
  return c;
}

double activate(double v, Activation activation) {
  if (activation == Activation::kNone) return v;
  if (activation == Activation::kRelu) return std::max(v, 0.0);
  if (activation == Activation::kRelu6) return std::min(std::max(v, 0.0), 6.0);
  return v * std::min(std::max(v + 3, 0.0), 6.0) / 6;
}

// Squared norms of the error and of what the contract's tolerance is relative to.
struct Error {
  double squared = 0, magnitude = 0;
};

void add_error(const Case& c, int64_t n, int64_t m, int64_t i, int64_t j, double got, Error& error) {
  const ConvGeometry& g = c.geometry;
  double sum = 0, size = 0;
  for (int64_t term = 0; term < g.terms; ++term) {
    const int64_t taps = g.kernel_height * g.kernel_width;
    const int64_t channel = m / g.group_out_channels * g.group_channels + term / taps;
    const int64_t row = i * g.stride_height - g.pad_top +
                        term % taps / g.kernel_width * g.dilation_height;
    const int64_t column = j * g.stride_width - g.pad_left + term % g.kernel_width * g.dilation_width;
    const bool inside = row >= 0 && row < g.height && column >= 0 && column < g.width;
    const double x =
        inside ? c.x[((n * g.channels + channel) * g.height + row) * g.width + column] : 0;
    const double w = c.w[m * g.terms + term];
    const double value = c.kind == OperatorKind::kShiftConv ? x * w : -std::fabs(x - w);
    sum += value;
    size += std::fabs(value);
  }
  const double expected = activate(sum * c.scale[m] + c.bias[m], c.activation);
  error.squared += (got - expected) * (got - expected);
  error.magnitude += std::pow(size * std::fabs(c.scale[m]) + std::fabs(c.bias[m]), 2);
}

std::vector<float> run(const Case& c, const cpu::MicroKernels& kernels) {
  const ConvGeometry& g = c.geometry;
  const size_t count = static_cast<size_t>(g.batch * g.out_channels * g.out_height * g.out_width);
  std::vector<float> y(count, std::numeric_limits<float>::quiet_NaN());
  const cpu::Convolution convolution(c.kind, kernels, g, c.w.data());
  convolution.run(g, {c.x.data(), c.scale.data(), c.bias.data(), y.data()}, c.activation,
                  cpu::process_thread_pool());
  return y;
}

void test_case(const Case& c, const cpu::MicroKernels& kernels) {
  const ConvGeometry& g = c.geometry;
  const std::vector<float> y = run(c, kernels);
  Error error;
  size_t at = 0;
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t m = 0; m < g.out_channels; ++m) {
      for (int64_t i = 0; i < g.out_height; ++i) {
        for (int64_t j = 0; j < g.out_width; ++j) add_error(c, n, m, i, j, y[at++], error);
      }
    }
  }
  // Written this way round, NaN fails too.
  const bool close = std::sqrt(error.squared) <= 2e-6 * std::sqrt(error.magnitude);
  expect(close, std::string(kernels.name) + ": " + test::describe(c.kind, g) + ": error " +
                    detail::text(std::sqrt(error.squared / error.magnitude)));
}

// Callers that come at once, more of them than the pool has threads.
void test_callers(const Case& c, const cpu::MicroKernels& kernels) {
  const std::vector<float> alone = run(c, kernels);
  std::vector<std::vector<float>> outputs(6);
  std::vector<std::thread> callers;
  for (auto& output : outputs) {
    callers.emplace_back([&c, &kernels, &output] {
      for (int i = 0; i < 5; ++i) output = run(c, kernels);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& output : outputs) {
    const bool same = output.size() == alone.size() &&
                      (alone.empty() || std::memcmp(output.data(), alone.data(),
                                                    alone.size() * sizeof(float)) == 0);
    expect(same, "callers at once: " + test::describe(c.kind, c.geometry));
  }
}

std::vector<const cpu::MicroKernels*> tables_of_this_machine() {
  std::vector<const cpu::MicroKernels*> tables = {&cpu::portable_micro_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&cpu::avx2_micro_kernels());
    if (__builtin_cpu_supports("avx512f")) tables.push_back(&cpu::avx512_micro_kernels());
  }
#elif defined(__aarch64__)
  tables.push_back(&cpu::neon_micro_kernels());
#endif
  return tables;
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  const auto tables = tables_of_this_machine();
  for (int i = 0; i < 250; ++i) {
    const Case c = draw_case(random);
    for (const cpu::MicroKernels* table : tables) test_case(c, *table);
    if (i % 50 == 0) test_callers(c, *tables.back());
  }
  return test::report(seed);
}
