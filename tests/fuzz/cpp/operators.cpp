// Attributes and shapes through the contract, packed weights through the codec, and what both let
// pass through the CPU kernels: every operator, every instruction set of this machine. Arrays end
// at a page that nobody may touch, so that vector code, which no sanitizer looks into, is caught
// too.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "float/convolution.h"
#include "integer/convolution.h"
#include "kernel_tables.h"
#include "shiftadd/packed_weights.h"
#include "support.h"
#include "values.h"

namespace {

using namespace shiftadd;
using fuzz::require;
using fuzz::Shape;

constexpr int64_t kMostElements = 4096;
constexpr int64_t kMostWork = 1 << 18;

// No threads: they would only blur what the fuzzer sees of the coverage.
class InOrder : public cpu::ParallelRunner {
 public:
  void run(size_t count, void (*body)(void*, size_t), void* data) override {
    for (size_t i = 0; i < count; ++i) body(data, i);
  }
};

struct Input {
  OperatorKind kind;
  ConvAttributes attributes;
  ConvGeometry geometry;
};

template <typename T>
std::vector<T> take(FuzzedDataProvider& bytes, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  const std::vector<uint8_t> raw = bytes.ConsumeBytes<uint8_t>(values.size() * sizeof(T));
  // What the input is too short for repeats it.
  for (size_t i = 0; i < values.size() * sizeof(T) && !raw.empty(); ++i) {
    reinterpret_cast<uint8_t*>(values.data())[i] = raw[i % raw.size()];
  }
  return values;
}

// Scales and biases as they are in a model, or of any bits.
std::vector<float> take_floats(FuzzedDataProvider& bytes, int64_t count) {
  if (bytes.ConsumeIntegral<uint8_t>() % 4 == 0) return take<float>(bytes, count);
  std::vector<float> values;
  for (const int16_t value : take<int16_t>(bytes, count)) {
    values.push_back(static_cast<float>(value) / 256);
  }
  return values;
}

// An output takes its last input from within the padded image.
void check_geometry(const ConvGeometry& g) {
  require(g.out_channels >= 1 && g.out_height >= 1 && g.out_width >= 1, "an output of a size");
  require(g.group_channels * g.group == g.channels, "channels of a group");
  require(g.group_out_channels * g.group == g.out_channels, "rows of a group");
  require(g.terms == g.group_channels * g.kernel_height * g.kernel_width, "terms");
}

// The codes where those of W are valid, else no value at all.
std::vector<float> decoded(const Input& input, const std::vector<int32_t>& words) {
  const ConvGeometry& g = input.geometry;
  const int64_t columns = packed_columns(g.terms, input.attributes.weight_bits);
  std::vector<float> values(static_cast<size_t>(g.out_channels * g.terms), NAN);
  const test::Guarded<int32_t> packed(words);
  for (int64_t row = 0; row < g.out_channels; ++row) {
    decode_row("node", packed.data() + row * columns, row, g.terms, input.attributes.weight_bits,
               values.data() + row * g.terms);
  }
  for (const float value : values) {
    int exponent = 0;
    const bool power = value == 0.0f || std::fabs(std::frexp(value, &exponent)) == 0.5f;
    require(power && exponent <= 1 && exponent >= -29, "a weight is 0 or a power of two");
  }
  return values;
}

// Words with codes that the contract allows, or of any bits.
std::vector<int32_t> take_words(FuzzedDataProvider& bytes, const Input& input) {
  const ConvGeometry& g = input.geometry;
  const int64_t bits = input.attributes.weight_bits;
  const int64_t columns = packed_columns(g.terms, bits);
  if (bytes.ConsumeIntegral<uint8_t>() % 4 == 0) {
    return take<int32_t>(bytes, g.out_channels * columns);
  }
  const std::vector<uint8_t> codes = take<uint8_t>(bytes, g.out_channels * g.terms);
  std::vector<int32_t> words(static_cast<size_t>(g.out_channels * columns));
  for (size_t i = 0; i < codes.size(); ++i) {
    const uint32_t k = codes[i] % (bits == 4 ? 8u : 32u);
    const uint32_t sign = k != 0 && codes[i] >= 128 ? 1u << (bits - 1) : 0u;
    const int64_t row = static_cast<int64_t>(i) / g.terms, term = static_cast<int64_t>(i) % g.terms;
    int32_t& word = words[static_cast<size_t>(row * columns + term / (32 / bits))];
    const uint32_t code = (sign | k) << (term % (32 / bits) * bits);
    word = static_cast<int32_t>(static_cast<uint32_t>(word) | code);
  }
  return words;
}

// What `run` writes into memory that was full of one byte, and of another: the same.
template <typename T, typename Run>
std::vector<T> written(int64_t count, const Run& run) {
  std::vector<T> outputs[2];
  for (int i = 0; i < 2; ++i) {
    std::vector<T> before(static_cast<size_t>(count));
    if (count != 0) std::memset(before.data(), i == 0 ? 0x5a : 0xa5, before.size() * sizeof(T));
    const test::Guarded<T> y(before);
    run(y.data());
    outputs[i].assign(y.data(), y.data() + count);
  }
  const bool same = count == 0 || std::memcmp(outputs[0].data(), outputs[1].data(),
                                              outputs[0].size() * sizeof(T)) == 0;
  require(same, "every output is written");
  return outputs[0];
}

int64_t x_elements(const ConvGeometry& g) { return g.batch * g.channels * g.height * g.width; }

int64_t y_elements(const ConvGeometry& g) {
  return g.batch == 0 ? 0 : g.batch * g.out_channels * g.out_height * g.out_width;
}

void run_float(FuzzedDataProvider& bytes, const Input& input) {
  static const auto tables = test::float_tables();
  const ConvGeometry& g = input.geometry;
  const std::vector<float> weights = is_shift(input.kind)
                                         ? decoded(input, take_words(bytes, input))
                                         : take_floats(bytes, g.out_channels * g.terms);
  const test::Guarded<float> w(weights), scale(take_floats(bytes, g.out_channels)),
      bias(take_floats(bytes, g.out_channels)), x(take_floats(bytes, x_elements(g)));
  InOrder runner;
  for (const cpu::MicroKernels* table : tables) {
    const cpu::Convolution convolution(input.kind, *table, test::packing_geometry(g), w.data());
    written<float>(y_elements(g), [&](float* y) {
      convolution.run(g, {x.data(), scale.data(), bias.data(), y}, input.attributes.activation,
                      runner);
    });
  }
}

Quantization quantization(FuzzedDataProvider& bytes) {
  const std::vector<float> scales = take_floats(bytes, 2);
  const Quantization q = {scales[0], bytes.ConsumeIntegral<uint8_t>(), scales[1],
                          bytes.ConsumeIntegral<uint8_t>()};
  validate_scale("node", "x_scale", q.x_scale);
  validate_y_scale("node", q.y_scale);
  return q;
}

std::vector<uint8_t> integer_weights(FuzzedDataProvider& bytes, const Input& input) {
  const ConvGeometry& g = input.geometry;
  if (!is_shift(input.kind)) return take<uint8_t>(bytes, g.out_channels * g.terms);
  std::vector<uint8_t> units;
  for (const float weight : decoded(input, take_words(bytes, input))) {
    units.push_back(static_cast<uint8_t>(static_cast<int8_t>(64 * weight)));
  }
  return units;
}

void run_integer(FuzzedDataProvider& bytes, const Input& input) {
  static const auto tables = test::integer_tables();
  const ConvGeometry& g = input.geometry;
  const Quantization q = quantization(bytes);
  const test::Guarded<uint8_t> w(integer_weights(bytes, input));
  const test::Guarded<float> scale(take_floats(bytes, g.out_channels)),
      bias(take_floats(bytes, g.out_channels));
  validate_finite("node", "scale", scale.data(), g.out_channels);
  validate_finite("node", "bias", bias.data(), g.out_channels);
  const test::Guarded<uint8_t> x(take<uint8_t>(bytes, x_elements(g)));
  InOrder runner;
  std::vector<uint8_t> first;
  for (const cpu::IntegerKernels* table : tables) {
    const cpu::IntegerConvolution convolution(input.kind, *table, test::packing_geometry(g),
                                              w.data());
    const std::vector<uint8_t> y = written<uint8_t>(y_elements(g), [&](uint8_t* output) {
      convolution.run(g, {x.data(), scale.data(), bias.data(), output}, q,
                      input.attributes.activation, input.attributes.layout, runner);
    });
    require(table == tables[0] || y == first, "the codes of every instruction set are the same");
    first = y;
  }
}

// Larger ones are not wrong, but would only be slow.
bool is_small(const ConvGeometry& g, const Shape& w_shape) {
  if (fuzz::elements(w_shape, kMostElements) > kMostElements) return false;
  if (fuzz::elements({g.batch, g.channels, g.height, g.width}, kMostElements) > kMostElements) {
    return false;
  }
  return g.batch == 0 ||
         fuzz::elements({g.batch, g.out_channels, g.out_height, g.out_width, g.terms}, kMostWork) <=
             kMostWork;
}

void run_one(FuzzedDataProvider& bytes) {
  Input input;
  input.kind = fuzz::kind(bytes, OperatorKind::kQLinearAdderConv);
  input.attributes = fuzz::attributes(bytes, input.kind);
  if (is_integer(input.kind) && bytes.ConsumeBool()) input.attributes.layout = Layout::kNhwc;
  validate_attributes(input.kind, "node", input.attributes);
  Shape x = fuzz::integers(bytes, 4, 0, 9);
  const size_t channel_axis = input.attributes.layout == Layout::kNhwc ? 3 : 1;
  if (x.size() == 4 && bytes.ConsumeIntegral<uint8_t>() % 16 != 15) {
    x[0] = bytes.ConsumeIntegralInRange<int64_t>(0, 2);
    x[channel_axis] = input.attributes.group * bytes.ConsumeIntegralInRange<int64_t>(1, 40);
  }
  const Shape w =
      fuzz::weight_shape(bytes, input.kind, input.attributes, x.size() == 4 ? x[channel_axis] : 1);
  input.geometry = resolve_geometry(input.kind, "node", input.attributes, x, w);
  check_geometry(input.geometry);
  if (!is_small(input.geometry, w)) return;
  if (is_integer(input.kind)) {
    run_integer(bytes, input);
  } else {
    run_float(bytes, input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider bytes(data, size);
  try {
    run_one(bytes);
  } catch (const ContractError&) {
  }
  return 0;
}
