// The convolution on every instruction set of this machine and on the thread pool, under
// sanitizers: random shapes, arrays that end at a guard page, outputs that start as NaN, inputs
// that are far from 0 and close to the weights, inputs that are not finite. Run by
// tests/plugins/test_cpp_programs.py; prints one line for each failure and exits 1 if there was
// any.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "activations.h"
#include "common/thread_pool.h"
#include "float/convolution.h"
#include "kernel_tables.h"
#include "shiftadd/convolution.h"
#include "support.h"

namespace {

using namespace shiftadd;
using test::expect;

struct Case {
  OperatorKind kind;
  ConvGeometry geometry;
  Activation activation;
  std::vector<float> x, w, scale, bias;
};

std::vector<float> draw_floats(std::mt19937& random, int64_t count, float mean = 0) {
  std::normal_distribution<float> normal(mean);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

constexpr test::Sizes kSizes = {20, 16, 21, 40, 70, 150, 30, 6, 120};

Case draw_case(std::mt19937& random) {
  Case c;
  c.kind = test::draw(random, 0, 1) ? OperatorKind::kShiftConv : OperatorKind::kAdderConv;
  c.activation = static_cast<Activation>(test::draw(random, 0, kActivationCount - 1));
  c.geometry = test::draw_geometry(random, kSizes);
  const ConvGeometry& g = c.geometry;
  // Around such a mean a sum of distances is small beside what it is the difference of.
  const float means[] = {0, 0, 0, 1, 3, 1000};
  const float mean = means[test::draw(random, 0, 5)];
  c.x = draw_floats(random, g.batch * g.channels * g.height * g.width, mean);
  c.w = draw_floats(random, g.out_channels * g.terms, mean);
  // Weights that take 4 bits, as not all of a shift's do.
  if (c.kind == OperatorKind::kShiftConv && test::draw(random, 0, 1)) {
    for (float& w : c.w) {
      const int64_t p = test::draw(random, 0, 7);
      w = p == 7 ? 0.0f : std::ldexp(test::draw(random, 0, 1) ? 1.0f : -1.0f, -static_cast<int>(p));
    }
  }
  c.scale = draw_floats(random, g.out_channels);
  c.bias = draw_floats(random, g.out_channels);
  return c;
}

// Squared norms of the error and of what the contract's tolerance is relative to.
struct Error {
  double squared = 0, magnitude = 0;
};

void add_error(const Case& c, int64_t n, int64_t m, int64_t i, int64_t j, double got,
               Error& error) {
  double sum = 0, size = 0;
  test::for_each_term(c.geometry, n, m, i, j, [&](int64_t x_index, int64_t w_index) {
    const double x = x_index < 0 ? 0 : c.x[x_index];
    const double w = c.w[w_index];
    const double value = c.kind == OperatorKind::kShiftConv ? x * w : -std::fabs(x - w);
    sum += value;
    size += std::fabs(value);
  });
  const double expected = test::expected_activation(c.activation, sum * c.scale[m] + c.bias[m]);
  error.squared += (got - expected) * (got - expected);
  error.magnitude += std::pow(size * std::fabs(c.scale[m]) + std::fabs(c.bias[m]), 2);
}

std::vector<float> run(const Case& c, const cpu::MicroKernels& kernels) {
  const ConvGeometry& g = c.geometry;
  const size_t count = static_cast<size_t>(g.batch * g.out_channels * g.out_height * g.out_width);
  const test::Guarded<float> y(std::vector<float>(count, std::numeric_limits<float>::quiet_NaN()));
  const test::Guarded<float> x(c.x), scale(c.scale), bias(c.bias);
  const cpu::Convolution convolution(c.kind, kernels, test::packing_geometry(g),
                                     test::Guarded<float>(c.w).data());
  cpu::ProcessThreads threads(cpu::wanted_threads());
  convolution.run(g, {x.data(), scale.data(), bias.data(), y.data()}, c.activation, threads);
  return std::vector<float>(y.data(), y.data() + count);
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

// An input or a weight that is not finite makes those outputs so that it is a term of, and no
// other.
void test_not_finite(std::mt19937& random, const cpu::MicroKernels& kernels) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {infinity, -infinity, std::nanf("")};
  Case c = draw_case(random);
  c.kind = OperatorKind::kAdderConv;
  c.activation = Activation::kNone;
  for (std::vector<float>* array : {&c.x, &c.w}) {
    if (array->empty() || test::draw(random, 0, 1)) continue;
    const size_t at =
        static_cast<size_t>(test::draw(random, 0, static_cast<int64_t>(array->size()) - 1));
    (*array)[at] = values[test::draw(random, 0, 2)];
  }
  const ConvGeometry& g = c.geometry;
  const std::vector<float> y = run(c, kernels);
  size_t at = 0, wrong = 0;
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t m = 0; m < g.out_channels; ++m) {
      for (int64_t i = 0; i < g.out_height; ++i) {
        for (int64_t j = 0; j < g.out_width; ++j, ++at) {
          double sum = 0;
          test::for_each_term(g, n, m, i, j, [&](int64_t x_index, int64_t w_index) {
            sum += std::fabs((x_index < 0 ? 0.0 : c.x[x_index]) - c.w[w_index]);
          });
          const double expected = c.bias[m] - c.scale[m] * sum;
          const double size = std::fabs(c.scale[m]) * sum + std::fabs(c.bias[m]);
          const bool same = std::isnan(expected)   ? std::isnan(y[at])
                            : std::isinf(expected) ? y[at] == expected
                                                   : std::fabs(y[at] - expected) <= 1e-5 * size;
          wrong += same ? 0 : 1;
        }
      }
    }
  }
  expect(wrong == 0, std::string(kernels.name) + ": not finite: " + test::describe(c.kind, g));
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
                      (alone.empty() ||
                       std::memcmp(output.data(), alone.data(), alone.size() * sizeof(float)) == 0);
    expect(same, "callers at once: " + test::describe(c.kind, c.geometry));
  }
}

// No more threads than were asked for, whatever earlier runs had; and every call is made once.
void test_thread_counts() {
  for (const size_t wanted : {4, 1, 2, 5, 3}) {
    std::mutex guard;
    std::condition_variable another;
    std::set<std::thread::id> seen;
    std::vector<int> calls(64);
    cpu::ProcessThreads threads(wanted);
    cpu::parallel_for(threads, calls.size(), [&](size_t i) {
      std::unique_lock<std::mutex> lock(guard);
      seen.insert(std::this_thread::get_id());
      ++calls[i];
      another.notify_all();
      const auto second = [&] { return wanted == 1 || seen.size() > 1; };
      another.wait_for(lock, std::chrono::seconds(20), second);
    });
    expect(seen.size() <= wanted,
           detail::text(wanted) + " threads wanted, " + detail::text(seen.size()) + " seen");
    expect(wanted == 1 || seen.size() > 1, "of " + detail::text(wanted) + " threads one works");
    expect(std::count(calls.begin(), calls.end(), 1) == 64, "calls that are not made once");
  }
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  const auto tables = test::float_tables();
  for (int i = 0; i < 250; ++i) {
    const Case c = draw_case(random);
    for (const cpu::MicroKernels* table : tables) {
      test_case(c, *table);
      test_not_finite(random, *table);
    }
    if (i % 50 == 0) test_callers(c, *tables.back());
  }
  test_thread_counts();
  return test::report(seed);
}
