// The CUDA kernels, built for the host, through the interface that a runtime's binding calls:
// random convolutions in float32 and float16, arrays that end at a guard page, outputs that start
// as NaN, the threads of a block in ascending and in descending order. Run by
// tests/plugins/test_cuda_kernels.py; prints one line for each failure and exits 1 if there was
// any. Arguments: the number of random cases (0: a few fixed shapes and nothing else), and a seed.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "convolution.h"
#include "convolution_case.h"
#include "cuda_fp16.h"
#include "host_launch.h"
#include "support.h"

namespace {

using namespace shiftadd;
using test::ConvolutionCase;
using test::draw;
using test::expect;

float as_float(float value) { return value; }
float as_float(__half value) { return __half2float(value); }

// The nearest halves.
std::vector<__half> to_half(const std::vector<float>& values) {
  std::vector<__half> halves;
  for (const float value : values) halves.push_back(__float2half_rn(value));
  return halves;
}

// Runs the case as elements of type T, whose outputs start as `poison`.
template <typename T>
std::vector<float> run(const ConvolutionCase& c, cuda::DataType type,
                       const std::vector<T>& x_values, T poison, int multiprocessors) {
  const ConvGeometry& g = c.geometry;
  const cuda::Problem problem = {c.kind, c.activation, type, c.weight_bits, g};
  cuda::validate_limits("case", problem);
  const size_t count = static_cast<size_t>(g.batch * g.out_channels * g.out_height * g.out_width);
  const test::Guarded<T> x(x_values), y(std::vector<T>(count, poison));
  const test::Guarded<int32_t> w(c.words);
  const test::Guarded<float> scale(c.scale), bias(c.bias);
  const test::Guarded<float> workspace(std::vector<float>(
      cuda::workspace_bytes(problem, multiprocessors) / sizeof(float), std::nanf("")));
  const cudaError_t error =
      cuda::run(problem, {x.data(), w.data(), scale.data(), bias.data(), y.data()}, multiprocessors,
                workspace.data(), nullptr);
  expect(error == cudaSuccess, c.text() + ": " + cudaGetErrorString(error));
  std::vector<float> outputs;
  for (size_t i = 0; i < count; ++i) outputs.push_back(as_float(y.data()[i]));
  return outputs;
}

void test_case(ConvolutionCase c, int multiprocessors) {
  const float nan = std::nanf("");
  for (const bool reversed : {false, true}) {
    cuda_host::device().reversed = reversed;
    const double error = c.error(run<float>(c, cuda::DataType::kFloat, c.x, nan, multiprocessors));
    expect(error <= 2e-6, c.text() + ": float32: error " + detail::text(error));
  }
  const std::vector<__half> x = to_half(c.x);
  for (size_t i = 0; i < x.size(); ++i) c.x[i] = __half2float(x[i]);
  for (const bool reversed : {false, true}) {
    cuda_host::device().reversed = reversed;
    const double error =
        c.error(run<__half>(c, cuda::DataType::kHalf, x, __half(nan), multiprocessors));
    expect(error <= 2e-3, c.text() + ": float16: error " + detail::text(error));
  }
}

// Terms, positions and channels around the edges of tiles and slices, and sums in several parts.
void test_tiles(std::mt19937& random) {
  for (const int64_t rows : {1, 15, 16, 17, 33, 64, 65}) {
    for (const int64_t bits : {0, 4, 8}) {
      const OperatorKind kind = bits == 0 ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
      for (const int64_t kernel : {1, 3}) {
        ConvAttributes a = test::same_attributes(kernel);
        a.weight_bits = bits;
        const int64_t channels = draw(random, 2, 40), height = draw(random, 3, 9);
        test_case(test::draw_case(random, kind, a, {1, channels, height, 8}, rows), 1);
      }
    }
  }
  for (const int64_t channels : {300, 2500}) {
    for (const OperatorKind kind : {OperatorKind::kShiftConv, OperatorKind::kAdderConv}) {
      for (const int64_t bits : {4, 8}) {
        ConvAttributes a = test::same_attributes(1);
        a.weight_bits = bits;
        test_case(test::draw_case(random, kind, a, {1, channels, 1, 7}, draw(random, 3, 20)), 4);
      }
    }
  }
}

// Every kernel size and stride that has a depthwise kernel of its own, and one that has not.
void test_depthwise(std::mt19937& random) {
  for (const OperatorKind kind : {OperatorKind::kShiftConv, OperatorKind::kAdderConv}) {
    for (const int64_t bits : {4, 8}) {
      for (const int64_t kernel : {3, 5, 7}) {
        for (const int64_t stride : {1, 2}) {
          ConvAttributes a = test::same_attributes(kernel);
          a.strides = {stride, stride};
          a.group = draw(random, 1, 9);
          a.weight_bits = bits;
          const int64_t rows = a.group * draw(random, 1, 2);
          test_case(test::draw_case(random, kind, a, {2, a.group, draw(random, 4, 14), 11}, rows),
                    1);
        }
      }
    }
  }
}

// Kernels and strides that have no kernel of their own, however they are written beside one
// another.
void test_odd_depthwise(std::mt19937& random) {
  for (const int64_t kernel : {1, 2, 3, 4}) {
    for (const int64_t stride : {11, 12, 21, 22, 31, 41}) {
      ConvAttributes a = test::same_attributes(kernel);
      a.pads.assign(4, 0);
      a.strides = {stride, stride};
      a.group = draw(random, 1, 3);
      a.weight_bits = 4;
      const int64_t extent = stride + kernel;
      test_case(test::draw_case(random, OperatorKind::kShiftConv, a, {1, a.group, extent, extent},
                                a.group),
                1);
    }
  }
}

// Few taps beside few positions: both ways through a window.
void test_few_taps(std::mt19937& random) {
  for (const int64_t bits : {0, 4, 8}) {
    const OperatorKind kind = bits == 0 ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
    ConvAttributes a = test::same_attributes(3);
    a.weight_bits = bits;
    test_case(test::draw_case(random, kind, a, {1, draw(random, 2, 30), 2, 2}, 5), 1);
  }
}

// An empty batch of any image is nothing to do, and no division by it.
void test_empty_batches() {
  for (const int64_t extent : {1, 1 << 14, 1 << 16}) {
    ConvAttributes a = test::same_attributes(1);
    a.group = 4;
    const ConvGeometry g =
        resolve_geometry(OperatorKind::kAdderConv, "case", a, {0, 4, extent, extent}, {4, 1, 1, 1});
    const cuda::Problem problem = {OperatorKind::kAdderConv, Activation::kNone,
                                   cuda::DataType::kFloat, 0, g};
    try {
      cuda::validate_limits("case", problem);
    } catch (const ContractError&) {
      expect(extent > 1 << 14, "an empty batch of small images is refused");
      continue;
    }
    const cudaError_t error = cuda::run(problem, {}, 1, nullptr, nullptr);
    expect(error == cudaSuccess, "an empty batch");
  }
}

// float16 values beyond what half2 sums can hold, and none at all that they cannot: both are right.
void test_large_halves(std::mt19937& random) {
  ConvAttributes a = test::same_attributes(1);
  a.weight_bits = 4;
  for (const float factor : {1e-6f, 1e-3f, 63.0f, 100.0f, 3e4f}) {
    ConvolutionCase c = test::draw_case(random, OperatorKind::kShiftConv, a, {1, 33, 5, 5}, 19);
    for (float& x : c.x) x = std::min(std::max(x * factor, -65504.0f), 65504.0f);
    // Every weight 1 and every x the same: the largest sum that a slice can come to.
    if (factor == 63.0f) {
      std::fill(c.w.begin(), c.w.end(), 1.0f);
      std::fill(c.x.begin(), c.x.end(), factor);
    }
    // Outputs of a size that float16 holds.
    for (float& scale : c.scale) scale /= 64 * factor;
    c.pack();
    test_case(c, 1);
  }
}

void test_not_finite(std::mt19937& random) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const bool adder : {false, true}) {
    ConvAttributes a = test::same_attributes(1);
    a.weight_bits = 4;
    const OperatorKind kind = adder ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
    ConvolutionCase c = test::draw_case(random, kind, a, {1, 20, 4, 4}, 9);
    // Hardswish is left out, because it is -infinity * 0 there.
    do {
      c.activation = static_cast<Activation>(draw(random, 0, kActivationCount - 1));
    } while (c.activation == Activation::kHardswish);
    std::fill(c.w.begin(), c.w.end(), 0.5f);
    c.pack();
    c.x[5] = std::nanf("");
    c.x[6] = infinity;
    const std::vector<float> single = run<float>(c, cuda::DataType::kFloat, c.x, 0.0f, 1);
    const std::vector<float> half =
        run<__half>(c, cuda::DataType::kHalf, to_half(c.x), __half(0.0f), 1);
    for (size_t i = 0; i < single.size(); ++i) {
      const bool has_nan = i % 16 == 5;
      expect(std::isnan(single[i]) == has_nan && std::isnan(half[i]) == has_nan,
             c.text() + ": NaN at " + detail::text(i));
    }
  }
}

// A smaller problem never needs more workspace than the one that it was asked for.
void test_workspace(std::mt19937& random) {
  ConvAttributes a = test::same_attributes(1);
  a.weight_bits = 4;
  for (int i = 0; i < 2000; ++i) {
    const int64_t channels = draw(random, 2, 6000), rows = draw(random, 1, 200);
    const int64_t batch = draw(random, 1, 8), extent = draw(random, 1, 60);
    const int mp = static_cast<int>(draw(random, 1, 140));
    const auto need = [&](int64_t n, int64_t height) {
      const ConvGeometry g =
          resolve_geometry(OperatorKind::kShiftConv, "case", a, {n, channels, height, extent},
                           {rows, packed_columns(channels, 4)});
      return cuda::workspace_bytes(
          {OperatorKind::kShiftConv, Activation::kNone, cuda::DataType::kFloat, 4, g}, mp);
    };
    const int64_t smaller = draw(random, 1, batch), lower = draw(random, 1, extent);
    expect(need(smaller, lower) <= need(batch, extent), "workspace of a smaller problem");
  }
}

void test_limits() {
  ConvAttributes a = test::same_attributes(1);
  a.weight_bits = 4;
  ConvGeometry g = resolve_geometry(OperatorKind::kShiftConv, "case", a, {1, 64, 64, 64}, {8, 8});
  for (int64_t ConvGeometry::* size :
       {&ConvGeometry::batch, &ConvGeometry::height, &ConvGeometry::out_channels,
        &ConvGeometry::pad_top, &ConvGeometry::terms}) {
    ConvGeometry large = g;
    large.*size = int64_t{1} << 31;
    large.group_channels = large.terms;
    bool refused = false;
    try {
      cuda::validate_limits(
          "case", {OperatorKind::kShiftConv, Activation::kNone, cuda::DataType::kFloat, 4, large});
    } catch (const ContractError&) {
      refused = true;
    }
    expect(refused, "a size of 2^31");
  }
}

// One shape for every kernel that has a barrier: all that the thread sanitizer has the time for.
void test_few_shapes(std::mt19937& random) {
  for (const OperatorKind kind : {OperatorKind::kShiftConv, OperatorKind::kAdderConv}) {
    ConvAttributes a = test::same_attributes(3);
    a.weight_bits = 4;
    test_case(test::draw_case(random, kind, a, {1, 5, 6, 11}, 17), 1);
    test_case(test::draw_case(random, kind, a, {1, 40, 2, 3}, 5), 4);
    test_case(test::draw_case(random, kind, a, {1, 9, 2, 2}, 5), 1);
  }
}

// Sums of few positions, alone and in groups.
void test_few_positions(std::mt19937& random) {
  for (const int64_t bits : {0, 4, 8}) {
    const OperatorKind kind = bits == 0 ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
    for (const int64_t group : {1, 3}) {
      ConvAttributes a = test::same_attributes(1);
      a.weight_bits = bits;
      a.group = group;
      const int64_t channels = group * draw(random, 2, 400), rows = group * draw(random, 1, 9);
      test_case(test::draw_case(random, kind, a, {draw(random, 1, 4), channels, 1, 1}, rows), 1);
    }
  }
}

constexpr test::Sizes kSizes = {9, 12, 21, 40, 70, 40, 8, 4, 90};
// What convolution.cu can launch.
constexpr size_t kKernels = 84;

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 400;
  const unsigned seed =
      count > 2 ? std::strtoul(arguments[2], nullptr, 10) : std::random_device{}();
  std::mt19937 random(seed);
  if (cases == 0) {
    test_few_shapes(random);
    return test::report(seed);
  }
  for (int i = 0; i < cases; ++i) {
    test_case(test::draw_case(random, kSizes), static_cast<int>(draw(random, 1, 4)));
  }
  test_tiles(random);
  test_depthwise(random);
  test_odd_depthwise(random);
  test_few_positions(random);
  test_few_taps(random);
  test_empty_batches();
  test_large_halves(random);
  test_not_finite(random);
  test_workspace(random);
  test_limits();
  expect(cuda_host::launched().size() == kKernels,
         "kernels launched: " + detail::text(cuda_host::launched().size()));
  return test::report(seed);
}
