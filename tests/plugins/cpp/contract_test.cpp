// Unit tests of the operator contract and the packed-weight codec; built with sanitizers and run by
// tests/plugins/test_cpp_programs.py. Prints one line for each failure; exits 1 if there was any.
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "shiftadd/convolution.h"
#include "shiftadd/packed_weights.h"
#include "support.h"

namespace {

using namespace shiftadd;
using test::expect;
using Shape = std::vector<int64_t>;

// Runs `call` and expects a ContractError whose text has every part.
template <typename Call>
void expect_refusal(const std::string& what, const std::vector<std::string>& parts,
                    const Call& call) {
  try {
    call();
  } catch (const ContractError& error) {
    const std::string text = error.what();
    for (const std::string& part : parts) {
      expect(text.find(part) != std::string::npos, what + ": no '" + part + "' in: " + text);
    }
    return;
  }
  expect(false, what + ": was accepted");
}

ConvAttributes attributes_3x3() {
  ConvAttributes a;
  a.kernel_shape = {3, 3};
  a.strides = {1, 1};
  a.pads = {1, 1, 1, 1};
  a.dilations = {1, 1};
  a.group = 1;
  a.weight_bits = 4;
  return a;
}

void refuse_attributes(const std::string& field, const std::vector<std::string>& parts,
                       void (*change)(ConvAttributes&)) {
  ConvAttributes a = attributes_3x3();
  change(a);
  std::vector<std::string> expected = {"layer1", field, "expected", "got"};
  expected.insert(expected.end(), parts.begin(), parts.end());
  expect_refusal(field, expected, [&] {
    validate_attributes(OperatorKind::kShiftConv, node_label(OperatorKind::kShiftConv, "layer1"),
                        a);
  });
}

void test_attributes() {
  ConvAttributes good = attributes_3x3();
  validate_attributes(OperatorKind::kShiftConv, "n", good);
  good.weight_bits = 0;
  validate_attributes(OperatorKind::kAdderConv, "n", good);

  refuse_attributes("kernel_shape", {"2 integers", "[3]"},
                    [](ConvAttributes& a) { a.kernel_shape = {3}; });
  refuse_attributes("kernel_shape", {"[3, 0]"}, [](ConvAttributes& a) { a.kernel_shape = {3, 0}; });
  refuse_attributes("strides", {"[0, 1]"}, [](ConvAttributes& a) { a.strides = {0, 1}; });
  refuse_attributes("strides", {"[]"}, [](ConvAttributes& a) { a.strides = {}; });
  refuse_attributes("pads", {"4 integers", "[1, 1]"}, [](ConvAttributes& a) { a.pads = {1, 1}; });
  refuse_attributes("pads", {"[1, -1, 1, 1]"}, [](ConvAttributes& a) { a.pads = {1, -1, 1, 1}; });
  refuse_attributes("dilations", {"9223372036854775807"}, [](ConvAttributes& a) {
    a.dilations = {1, std::numeric_limits<int64_t>::max()};
  });
  refuse_attributes("group", {"got 0"}, [](ConvAttributes& a) { a.group = 0; });
  refuse_attributes("group", {"got -9223372036854775808"},
                    [](ConvAttributes& a) { a.group = std::numeric_limits<int64_t>::min(); });
  refuse_attributes("weight_bits", {"4 or 8", "got 5"},
                    [](ConvAttributes& a) { a.weight_bits = 5; });

  for (int i = 0; i < kActivationCount; ++i) {
    expect(static_cast<int>(parse_activation("n", kActivationNames[i])) == i,
           std::string("activation ") + kActivationNames[i]);
  }
  expect(parse_activation("n", "hardswish") == Activation::kHardswish, "activation hardswish");
  expect_refusal("activation", {"n: activation", "hardswish", "got 'gelu'"},
                 [] { parse_activation("n", "gelu"); });
}

ConvGeometry shift_geometry(const ConvAttributes& a, const Shape& x, const Shape& w) {
  return resolve_geometry(OperatorKind::kShiftConv, "n", a, x, w);
}

ConvGeometry adder_geometry(const ConvAttributes& a, const Shape& x, const Shape& w) {
  return resolve_geometry(OperatorKind::kAdderConv, "n", a, x, w);
}

// Output extent by its definition: the number of places where the dilated window fits.
int64_t count_windows(int64_t in, int64_t begin, int64_t end, int64_t k, int64_t s, int64_t d) {
  int64_t count = 0;
  for (int64_t at = 0; at + d * (k - 1) < in + begin + end; at += s) ++count;
  return count;
}

void test_output_extents(std::mt19937& random) {
  const auto draw = [&](int low, int high) {
    return static_cast<int64_t>(std::uniform_int_distribution<int>(low, high)(random));
  };
  for (int i = 0; i < 3000; ++i) {
    ConvAttributes a = attributes_3x3();
    a.kernel_shape = {draw(1, 5), draw(1, 5)};
    a.strides = {draw(1, 4), draw(1, 4)};
    a.pads = {draw(0, 3), draw(0, 3), draw(0, 3), draw(0, 3)};
    a.dilations = {draw(1, 3), draw(1, 3)};
    const Shape x = {draw(0, 2), 2, draw(0, 12), draw(0, 12)};
    const int64_t rows =
        count_windows(x[2], a.pads[0], a.pads[2], a.kernel_shape[0], a.strides[0], a.dilations[0]);
    const int64_t columns =
        count_windows(x[3], a.pads[1], a.pads[3], a.kernel_shape[1], a.strides[1], a.dilations[1]);
    const Shape w = {3, 2, a.kernel_shape[0], a.kernel_shape[1]};
    if (rows == 0 || columns == 0) {
      expect_refusal("window larger than X", {"X padded", "dilated kernel"},
                     [&] { adder_geometry(a, x, w); });
      continue;
    }
    const ConvGeometry g = adder_geometry(a, x, w);
    expect(g.batch == x[0] && g.out_channels == 3 && g.out_height == rows && g.out_width == columns,
           "output extents of " + detail::text(x));
  }
}

void test_shapes() {
  ConvAttributes a = attributes_3x3();
  const Shape x = {1, 8, 10, 10};
  expect(shift_geometry(a, x, {5, 9}).terms == 72, "72 terms in 9 words");
  expect_refusal("W columns", {"W shape", "[5, 9]", "[5, 10]"},
                 [&] { shift_geometry(a, x, {5, 10}); });
  expect_refusal("W rank", {"W rank", "expected 2", "got 4"},
                 [&] { shift_geometry(a, x, {5, 8, 3, 3}); });
  expect_refusal("adder W", {"W shape", "[5, 8, 3, 3]", "[5, 8, 3, 5]"},
                 [&] { adder_geometry(a, x, {5, 8, 3, 5}); });
  expect_refusal("X rank", {"X rank", "4", "got 3"},
                 [&] { shift_geometry(a, {8, 10, 10}, {5, 9}); });
  expect_refusal("no rows", {"rows of W", "got 0"}, [&] { shift_geometry(a, x, {0, 9}); });
  expect_refusal("no channels", {"channels of X", "got 0"},
                 [&] { adder_geometry(a, {1, 0, 10, 10}, {5, 0, 3, 3}); });
  expect_refusal("negative extent", {"X shape", "[1, 8, -1, 10]"},
                 [&] { shift_geometry(a, {1, 8, -1, 10}, {5, 9}); });
  a.group = 3;
  expect_refusal("group and channels", {"channels of X", "group 3", "got 8"},
                 [&] { shift_geometry(a, x, {6, 9}); });
  a.group = 4;
  expect_refusal("group and rows", {"rows of W", "group 4", "got 6"},
                 [&] { shift_geometry(a, x, {6, 3}); });
  expect_refusal("scale", {"scale shape", "expected [5]", "got [5, 1]"},
                 [] { validate_channel_input("n", "scale", {5, 1}, 5); });
  validate_channel_input("n", "bias", {5}, 5);
}

// What the integer operators have beside or in place of the float ones' rules.
void test_integer_rules() {
  const OperatorKind shift = OperatorKind::kQLinearShiftConv;
  const OperatorKind adder = OperatorKind::kQLinearAdderConv;
  ConvAttributes a = attributes_3x3();
  validate_attributes(shift, "n", a);
  a.weight_bits = 8;
  expect_refusal("8 bits", {"n: weight_bits", "expected 4, got 8"},
                 [&] { validate_attributes(shift, "n", a); });
  expect(parse_layout("n", "NHWC") == Layout::kNhwc, "layout NHWC");
  expect(parse_layout("n", "NCHW") == Layout::kNchw, "layout NCHW");
  expect_refusal("layout", {"n: layout", "NCHW or NHWC", "got 'nhwc'"},
                 [] { parse_layout("n", "nhwc"); });

  a.layout = Layout::kNhwc;
  const ConvGeometry g = resolve_geometry(adder, "n", a, {2, 10, 12, 8}, {5, 8, 3, 3});
  expect(g.batch == 2 && g.channels == 8 && g.height == 10 && g.width == 12, "axes of NHWC");
  expect_refusal("rank", {"X rank", "(N, H, W, C)", "got 3"},
                 [&] { resolve_geometry(adder, "n", a, {10, 12, 8}, {5, 8, 3, 3}); });

  a = attributes_3x3();
  a.kernel_shape = {1, 1};
  a.pads = {0, 0, 0, 0};
  for (const int64_t most : {detail::kMostShiftTerms, detail::kMostAdderTerms}) {
    const bool shifts = most == detail::kMostShiftTerms;
    // The reason for the limit: one term more could leave int32.
    const int64_t largest_term = shifts ? 255 * 64 : 255;
    expect(most * largest_term <= std::numeric_limits<int32_t>::max() &&
               (most + 1) * largest_term > std::numeric_limits<int32_t>::max(),
           "most terms " + detail::text(most));
    for (const int64_t terms : {most, most + 1}) {
      const auto resolve = [&] {
        resolve_geometry(shifts ? shift : adder, "n", a, {1, terms, 1, 1},
                         shifts ? Shape{1, packed_columns(terms, 4)} : Shape{1, terms, 1, 1});
      };
      if (terms == most) {
        resolve();
      } else {
        expect_refusal("too many terms", {"terms of one output", detail::text(most)}, resolve);
      }
    }
  }

  validate_scalar_input("n", "x_scale", {});
  validate_scalar_input("n", "x_scale", {1});
  expect_refusal("scalar", {"n: x_scale shape", "[] or [1]", "got [2]"},
                 [] { validate_scalar_input("n", "x_scale", {2}); });
  const float infinity = std::numeric_limits<float>::infinity();
  validate_y_scale("n", 0.5f);
  for (const float value : {0.0f, -1.0f, infinity, std::numeric_limits<float>::quiet_NaN()}) {
    expect_refusal("y_scale", {"n: y_scale", "positive, finite"},
                   [&] { validate_y_scale("n", value); });
  }
  expect_refusal("1/y_scale", {"n: y_scale", "finite reciprocal"},
                 [] { validate_y_scale("n", std::numeric_limits<float>::denorm_min()); });
  const float values[] = {1.0f, -infinity};
  validate_finite("n", "bias", values, 1);
  expect_refusal("bias", {"n: bias[1]", "finite", "-inf"},
                 [&] { validate_finite("n", "bias", values, 2); });
}

void test_overflow() {
  const int64_t largest = kLargestAttribute;
  ConvAttributes a = attributes_3x3();
  a.kernel_shape = {largest, largest};
  a.dilations = {largest, largest};
  a.pads = {largest, largest, largest, largest};
  validate_attributes(OperatorKind::kShiftConv, "n", a);
  expect_refusal("terms beyond 2^63", {"kernel_shape", "2^63"},
                 [&] { shift_geometry(a, {1, largest, 10, 10}, {1, 1}); });
  a = attributes_3x3();
  a.kernel_shape = {1, 1};
  a.pads = {largest, largest, largest, largest};
  expect_refusal("output beyond 2^63", {"output size", "2^63"},
                 [&] { shift_geometry(a, {4, 8, 10, 10}, {5, 1}); });
}

void test_codes() {
  for (const int64_t bits : {4, 8}) {
    const uint32_t largest_k = bits == 4 ? 7 : kLargestShift;
    for (uint32_t k = 0; k <= largest_k; ++k) {
      for (const uint32_t sign : {0u, 1u}) {
        if (k == 0 && sign == 1) continue;
        const uint32_t code = sign << (bits - 1) | k;
        const int32_t word = static_cast<int32_t>(code << (32 - bits));
        const int32_t row[] = {word};
        std::vector<float> decoded(32 / bits, -7.0f);
        decode_row("n", row, 0, 32 / bits, bits, decoded.data());
        double value = k == 0 ? 0.0 : 1.0;
        for (uint32_t i = 1; i < k; ++i) value /= 2;
        expect(decoded.back() == static_cast<float>(sign ? -value : value),
               "code " + detail::text(code) + " of " + detail::text(bits) + " bits");
        expect(decoded.front() == 0.0f, "the lower codes of the word");
      }
    }
  }
}

void refuse_row(const std::vector<int32_t>& row, int64_t terms, int64_t bits,
                const std::vector<std::string>& parts) {
  std::vector<float> decoded(static_cast<size_t>(terms));
  std::vector<std::string> expected = {"n: W code"};
  expected.insert(expected.end(), parts.begin(), parts.end());
  expect_refusal("row", expected,
                 [&] { decode_row("n", row.data(), 6, terms, bits, decoded.data()); });
}

void test_bad_codes() {
  refuse_row({0x00000800}, 8, 4, {"[6, 2]", "sign bit"});
  refuse_row({0x00800000}, 4, 8, {"[6, 2]", "sign bit"});
  refuse_row({0x00002000}, 4, 8, {"[6, 1]", "k <= 31", "k = 32"});
  refuse_row({static_cast<int32_t>(0xff000000u)}, 4, 8, {"[6, 3]", "k = 127"});
  refuse_row({0, 0x00000010}, 9, 4, {"[6, 9]", "unused tail", "k = 1"});
  refuse_row({0, static_cast<int32_t>(0x80000000u)}, 9, 4, {"[6, 15]", "the sign bit"});
  refuse_row({static_cast<int32_t>(0x7f000000u)}, 3, 8, {"[6, 3]", "unused tail", "k = 127"});
}

// Rows end where their memory ends, so that the sanitizer sees a read behind one.
void test_row_lengths(std::mt19937& random) {
  for (const int64_t bits : {4, 8}) {
    for (int64_t terms = 1; terms < 70; ++terms) {
      const int64_t words = packed_columns(terms, bits);
      expect(words == (terms * bits + 31) / 32, "words of " + detail::text(terms) + " terms");
      std::vector<int32_t> row(static_cast<size_t>(words));
      std::vector<float> expected, decoded(static_cast<size_t>(terms));
      for (int64_t i = 0; i < terms; ++i) {
        const uint32_t k = std::uniform_int_distribution<uint32_t>(1, 7)(random);
        const uint32_t word = static_cast<uint32_t>(row[i * bits / 32]) | k << i * bits % 32;
        row[i * bits / 32] = static_cast<int32_t>(word);
        expected.push_back(1.0f / static_cast<float>(1u << (k - 1)));
      }
      decode_row("n", row.data(), 0, terms, bits, decoded.data());
      expect(decoded == expected, "row of " + detail::text(terms) + " terms");
    }
  }
}

}  // namespace

int main() {
  std::random_device seed_source;
  const unsigned seed = seed_source();
  std::mt19937 random(seed);
  test_attributes();
  test_output_extents(random);
  test_shapes();
  test_integer_rules();
  test_overflow();
  test_codes();
  test_bad_codes();
  test_row_lengths(random);
  return test::report(seed);
}
