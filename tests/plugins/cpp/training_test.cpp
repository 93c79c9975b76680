// The training kernels under sanitizers: sizes around every tile's edge, arrays that end where
// their memory ends, outputs that start as NaN. Run by tests/plugins/test_cpp_programs.py, once for
// each value of SHIFTADD_CPU_ISA; prints one line for each failure and exits 1 if there was any.
#include "shiftadd/training.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr double kTolerance = 2e-6;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int g_checks = 0;
int g_failures = 0;
const unsigned g_seed = std::random_device{}();
std::mt19937 g_random{g_seed};

std::vector<float> draw(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(g_random);
  return values;
}

std::vector<float> poisoned(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count), kNan);
}

// Error against what is added up, both as norms.
void expect_close(const std::vector<float>& got, const std::vector<double>& expected,
                  const std::vector<double>& terms, const std::string& what) {
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += std::pow(got[i] - expected[i], 2);
    size += std::pow(terms[i], 2);
  }
  ++g_checks;
  // Written this way round, NaN fails too.
  if (std::sqrt(error) <= kTolerance * std::sqrt(size)) return;
  ++g_failures;
  std::printf("FAILED: %s: error %g of %g\n", what.c_str(), std::sqrt(error), std::sqrt(size));
}

void expect_zero(int code, const std::string& what) {
  ++g_checks;
  if (code == 0) return;
  ++g_failures;
  std::printf("FAILED: %s: returned %d\n", what.c_str(), code);
}

void test_adder(int64_t rows, int64_t depth, int64_t outputs, int threads) {
  const std::vector<float> x = draw(rows * depth), w = draw(outputs * depth),
                           gy = draw(rows * outputs);
  std::vector<double> sum(gy.size()), by_x(x.size()), terms(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t m = 0; m < outputs; ++m) {
      for (int64_t k = 0; k < depth; ++k) {
        const double difference = double{w[m * depth + k]} - x[r * depth + k];
        const double term = gy[r * outputs + m] * std::min(std::max(difference, -1.0), 1.0);
        sum[r * outputs + m] -= std::fabs(difference);
        by_x[r * depth + k] += term;
        terms[r * depth + k] += std::fabs(term);
      }
    }
  }
  const std::string what = std::to_string(rows) + " rows, depth " + std::to_string(depth) + ", " +
                           std::to_string(outputs) + " outputs, " + std::to_string(threads) +
                           " threads";
  std::vector<float> y = poisoned(rows * outputs), gx = poisoned(rows * depth);
  const int forward =
      shiftadd_adder_forward_f32(x.data(), w.data(), y.data(), rows, depth, outputs, threads);
  const int backward = shiftadd_adder_input_grad_f32(x.data(), w.data(), gy.data(), gx.data(), rows,
                                                     depth, outputs, threads);
  expect_zero(forward, "adder, " + what);
  expect_zero(backward, "adder's input gradient, " + what);
  expect_close(y, sum, sum, "adder, " + what);
  expect_close(gx, by_x, terms, "adder's input gradient, " + what);
}

// A NaN in an input or a weight reaches every result that it is a term of, and no other.
void test_nan() {
  const int64_t rows = 9, depth = 17, outputs = 33, row = 8, at = 16, output = 32;
  std::vector<float> x = draw(rows * depth), w = draw(outputs * depth);
  const std::vector<float> gy = draw(rows * outputs);
  x[row * depth] = kNan;
  w[output * depth + at] = kNan;
  std::vector<float> y(static_cast<size_t>(rows * outputs)), gx(static_cast<size_t>(rows * depth));
  shiftadd_adder_forward_f32(x.data(), w.data(), y.data(), rows, depth, outputs, 1);
  shiftadd_adder_input_grad_f32(x.data(), w.data(), gy.data(), gx.data(), rows, depth, outputs, 1);
  bool right = true;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t m = 0; m < outputs; ++m) {
      right &= std::isnan(y[r * outputs + m]) == (r == row || m == output);
    }
    for (int64_t k = 0; k < depth; ++k) {
      right &= std::isnan(gx[r * depth + k]) == ((r == row && k == 0) || k == at);
    }
  }
  ++g_checks;
  if (right) return;
  ++g_failures;
  std::printf("FAILED: a NaN is lost or spreads too far\n");
}

}  // namespace

int main() {
  const std::vector<int64_t> sizes = {1, 7, 8, 9, 15, 16, 17, 33};
  for (const int threads : {1, 3}) {
    for (const int64_t rows : {0, 1, 7, 8, 9, 17}) {
      for (const int64_t depth : sizes) {
        for (const int64_t outputs : sizes) test_adder(rows, depth, outputs, threads);
      }
    }
  }
  test_nan();
  std::printf("%d checks, %d failures, seed %u\n", g_checks, g_failures, g_seed);
  return g_failures == 0 ? 0 : 1;
}
