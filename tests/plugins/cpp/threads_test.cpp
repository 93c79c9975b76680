// What many threads share, for eight of them at a time: a packed convolution, float and integer,
// the cache of one, and the thread pool. Each caller goes through the inputs of all, so that at any
// moment they are at different ones, and every output has to be, bit for bit, the one of a lone
// run. Run by tests/runtime/test_threads.py under the thread sanitizer; prints one line for each
// failure and exits 1 if there was any.
#include <atomic>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/thread_pool.h"
#include "convolution_case.h"
#include "float/convolution.h"
#include "integer/convolution.h"
#include "integer_case.h"
#include "shiftadd/convolution.h"
#include "support.h"
#include "weight_cache.h"

namespace {

using namespace shiftadd;
using test::expect;

constexpr size_t kCallers = 8;
constexpr size_t kRuns = 16;  // of each caller
constexpr int kCases = 24;
constexpr test::Sizes kSizes = {12, 12, 12, 40, 60, 40, 12, 3, 40};

// Calls same(caller, i) for i < kRuns by each of the callers, which start together; expects all of
// the answers to be true.
template <typename Same>
void expect_at_once(const Same& same, const std::string& what) {
  std::atomic<size_t> missing{kCallers};
  std::atomic<size_t> wrong{0};
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      --missing;
      while (missing != 0) std::this_thread::yield();
      for (size_t i = 0; i < kRuns; ++i) wrong += same(caller, i) ? 0 : 1;
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect(wrong == 0, what + ": " + detail::text(wrong.load()) + " of " +
                         detail::text(kCallers * kRuns) + " runs differ from a lone one");
}

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Images of the case's size, one to three of them.
ConvGeometry with_batch(const ConvGeometry& geometry, size_t batch) {
  ConvGeometry g = geometry;
  g.batch = static_cast<int64_t>(batch);
  return g;
}

size_t output_size(const ConvGeometry& g) {
  return static_cast<size_t>(g.batch * g.out_channels * g.out_height * g.out_width);
}

size_t input_size(const ConvGeometry& g) {
  return static_cast<size_t>(g.batch * g.channels * g.height * g.width);
}

// --- float ---

std::vector<float> output(const test::ConvolutionCase& c, const ConvGeometry& g,
                          const cpu::Convolution& convolution, const std::vector<float>& x,
                          size_t threads) {
  std::vector<float> y(output_size(g), std::numeric_limits<float>::quiet_NaN());
  cpu::ProcessThreads runner(threads);
  convolution.run(g, {x.data(), c.scale.data(), c.bias.data(), y.data()}, c.activation, runner);
  return y;
}

struct FloatInput {
  ConvGeometry geometry;
  std::vector<float> x, alone;
};

std::vector<FloatInput> draw_inputs(std::mt19937& random, const test::ConvolutionCase& c,
                                    const cpu::Convolution& convolution) {
  std::normal_distribution<float> normal;
  std::vector<FloatInput> inputs(kCallers);
  for (size_t k = 0; k < kCallers; ++k) {
    inputs[k].geometry = with_batch(c.geometry, 1 + k % 3);
    inputs[k].x.resize(input_size(inputs[k].geometry));
    for (float& x : inputs[k].x) x = normal(random);
    inputs[k].alone = output(c, inputs[k].geometry, convolution, inputs[k].x, 1);
  }
  return inputs;
}

void test_convolution(std::mt19937& random, const cpu::MicroKernels& kernels) {
  const test::ConvolutionCase c = test::draw_case(random, kSizes);
  const cpu::Convolution convolution(c.kind, kernels, test::packing_geometry(c.geometry),
                                     c.w.data());
  const std::vector<FloatInput> inputs = draw_inputs(random, c, convolution);
  expect_at_once(
      [&](size_t caller, size_t i) {
        const FloatInput& input = inputs[(caller + i) % kCallers];
        const size_t threads = 1 + i % 4;
        return same_bytes(output(c, input.geometry, convolution, input.x, threads), input.alone);
      },
      std::string(kernels.name) + ": " + c.text());
}

// The first runs of a node, whose weights nobody has packed yet: they stay the same, or, where they
// are not known to be an initializer, change from run to run.
void test_cache(std::mt19937& random, const cpu::MicroKernels& kernels, bool constant) {
  test::ConvolutionCase first = test::draw_case(random, kSizes);
  test::ConvolutionCase second = first;
  for (float& w : second.w) w = -w;
  const ConvGeometry packing = test::packing_geometry(first.geometry);
  std::vector<std::vector<FloatInput>> inputs;
  for (const test::ConvolutionCase* c : {&first, &second}) {
    const cpu::Convolution convolution(c->kind, kernels, packing, c->w.data());
    inputs.push_back(draw_inputs(random, *c, convolution));
  }
  ort::WeightCache<cpu::Convolution> cache;
  std::atomic<size_t> packed{0};
  expect_at_once(
      [&](size_t caller, size_t i) {
        const size_t which = constant ? 0 : (caller + i) / 2 % 2;
        const test::ConvolutionCase& c = which == 0 ? first : second;
        const auto convolution =
            cache.get(packing, c.w.data(), c.w.size() * sizeof(float), constant, [&] {
              ++packed;
              return cpu::Convolution(c.kind, kernels, packing, c.w.data());
            });
        const FloatInput& input = inputs[which][(caller + i) % kCallers];
        return same_bytes(output(c, input.geometry, *convolution, input.x, 2), input.alone);
      },
      std::string(kernels.name) + ": cache: " + first.text());
  if (constant) expect(packed == 1, "weights packed " + detail::text(packed.load()) + " times");
}

// --- integer ---

std::vector<uint8_t> output(const test::IntegerCase& c, const ConvGeometry& g,
                            const cpu::IntegerConvolution& convolution,
                            const std::vector<uint8_t>& x, Layout layout, size_t threads) {
  std::vector<uint8_t> y(output_size(g), 0x5a);
  cpu::ProcessThreads runner(threads);
  convolution.run(g, {x.data(), c.scale.data(), c.bias.data(), y.data()}, c.quantization,
                  c.activation, layout, runner);
  return y;
}

void test_integer_convolution(std::mt19937& random, const cpu::IntegerKernels& kernels) {
  const test::IntegerCase c = test::draw_integer_case(random, kSizes);
  const cpu::IntegerConvolution convolution(c.kind, kernels, test::packing_geometry(c.geometry),
                                            c.w.data());
  for (const Layout layout : {Layout::kNchw, Layout::kNhwc}) {
    std::vector<ConvGeometry> geometries;
    std::vector<std::vector<uint8_t>> inputs, alone;
    for (size_t k = 0; k < kCallers; ++k) {
      const ConvGeometry g = with_batch(c.geometry, 1 + k % 3);
      geometries.push_back(g);
      inputs.push_back(test::draw_bytes(random, static_cast<int64_t>(input_size(g))));
      alone.push_back(output(c, g, convolution, inputs[k], layout, 1));
    }
    expect_at_once(
        [&](size_t caller, size_t i) {
          const size_t k = (caller + i) % kCallers;
          const size_t threads = 1 + i % 4;
          return same_bytes(output(c, geometries[k], convolution, inputs[k], layout, threads),
                            alone[k]);
        },
        std::string(kernels.name) + (layout == Layout::kNhwc ? " NHWC: " : " NCHW: ") +
            test::describe(c.kind, c.geometry));
  }
}

// --- the pool ---

// Every call is made once, and all are over when the caller goes on.
void test_pool() {
  expect_at_once(
      [](size_t caller, size_t i) {
        std::vector<size_t> calls(50 + caller, 0);
        cpu::ProcessThreads threads(1 + (caller + i) % 5);
        cpu::parallel_for(threads, calls.size(), [&](size_t index) { calls[index] += index + 1; });
        for (size_t index = 0; index < calls.size(); ++index) {
          if (calls[index] != index + 1) return false;
        }
        return true;
      },
      "the pool");
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  const std::vector<const cpu::MicroKernels*> kernels = {&cpu::portable_micro_kernels(),
                                                         &cpu::select_micro_kernels()};
  const std::vector<const cpu::IntegerKernels*> integer_kernels = {&cpu::portable_integer_kernels(),
                                                                   &cpu::select_integer_kernels()};
  for (int i = 0; i < kCases; ++i) {
    for (const cpu::MicroKernels* table : kernels) {
      test_convolution(random, *table);
      test_cache(random, *table, i % 2 == 0);
    }
    for (const cpu::IntegerKernels* table : integer_kernels) {
      test_integer_convolution(random, *table);
    }
    test_pool();
  }
  return test::report(seed);
}
