// The operator contract: attributes, validation and shape inference of domain "shiftadd" version 1.
// C++14 standard library only, so that every runtime's binding uses the same rules.
#ifndef SHIFTADD_CONTRACT_H_
#define SHIFTADD_CONTRACT_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace shiftadd {

constexpr char kDomain[] = "shiftadd";
constexpr int kContractVersion = 1;

// Inputs of every float operator, in this order; all of them are always present.
enum InputIndex : size_t { kInputX = 0, kInputW = 1, kInputScale = 2, kInputBias = 3, kInputCount };

// Inputs of every integer (QLinear) operator.
enum IntegerInputIndex : size_t {
  kIntegerInputX = 0,
  kIntegerInputXScale,
  kIntegerInputXZeroPoint,
  kIntegerInputW,
  kIntegerInputScale,
  kIntegerInputBias,
  kIntegerInputYScale,
  kIntegerInputYZeroPoint
};

enum class OperatorKind { kShiftConv, kAdderConv, kQLinearShiftConv, kQLinearAdderConv };

inline bool is_shift(OperatorKind kind) {
  return kind == OperatorKind::kShiftConv || kind == OperatorKind::kQLinearShiftConv;
}

inline bool is_integer(OperatorKind kind) {
  return kind == OperatorKind::kQLinearShiftConv || kind == OperatorKind::kQLinearAdderConv;
}

enum class Activation { kNone, kRelu, kRelu6, kHardswish };

// Where the inputs stand that all of the convolutions have.
struct InputPositions {
  size_t x, w, scale, bias;
};

inline InputPositions input_positions(OperatorKind kind) {
  if (is_integer(kind)) {
    return {kIntegerInputX, kIntegerInputW, kIntegerInputScale, kIntegerInputBias};
  }
  return {kInputX, kInputW, kInputScale, kInputBias};
}

// Order of the axes of an integer operator's X and Y.
enum class Layout { kNchw, kNhwc };

inline const char* operator_name(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kShiftConv: return "ShiftConv";
    case OperatorKind::kAdderConv: return "AdderConv";
    case OperatorKind::kQLinearShiftConv: return "QLinearShiftConv";
    case OperatorKind::kQLinearAdderConv: return "QLinearAdderConv";
  }
  return "";
}

// Thrown for whatever breaks the contract; what() names the node, the field and both values.
class ContractError : public std::invalid_argument {
 public:
  ContractError(const std::string& node, const std::string& field, const std::string& expected,
                const std::string& got)
      : std::invalid_argument(node + ": " + field + ": expected " + expected + ", got " + got) {}
};

// ONNX Conv's attributes, plus weight_bits (shift only), activation and layout (integer only).
// Order: kernel_shape, strides, dilations = (height, width); pads = (top, left, bottom, right).
struct ConvAttributes {
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> pads;
  std::vector<int64_t> dilations;
  int64_t group = 1;
  int64_t weight_bits = 0;
  Activation activation = Activation::kNone;
  Layout layout = Layout::kNchw;
};

// One convolution with every size resolved. All sizes are counts of elements.
struct ConvGeometry {
  int64_t batch, channels, height, width;
  int64_t out_channels, out_height, out_width;
  int64_t group, group_channels, group_out_channels;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t pad_top, pad_left;
  int64_t dilation_height, dilation_width;
  // Terms of one output element: group_channels * kernel_height * kernel_width.
  int64_t terms;
};

// Whether output pixel i reads input pixel i and no other.
inline bool keeps_pixels(const ConvGeometry& g) {
  return g.kernel_height == 1 && g.kernel_width == 1 && g.stride_height == 1 &&
         g.stride_width == 1 && g.out_height == g.height && g.out_width == g.width;
}

namespace detail {

// Larger attribute values have no use, and below it no sum or product of two overflows int64.
constexpr int64_t kLargestAttribute = std::numeric_limits<int32_t>::max();

// Most terms of which the sum surely fits int32: 2^31 - 1 over 255 * 64, and over 255.
constexpr int64_t kMostShiftTerms = 131586;
constexpr int64_t kMostAdderTerms = 8421504;

template <typename T>
std::string text(const T& value) {
  std::ostringstream stream;
  stream << value;
  return stream.str();
}

inline std::string text(const std::vector<int64_t>& values) {
  std::string joined = "[";
  for (size_t i = 0; i < values.size(); ++i) {
    joined += (i ? ", " : "") + text(values[i]);
  }
  return joined + "]";
}

inline void require_list(const std::string& node, const char* field,
                         const std::vector<int64_t>& values, size_t count, int64_t smallest) {
  bool valid = values.size() == count;
  for (int64_t value : values) {
    valid = valid && value >= smallest && value <= kLargestAttribute;
  }
  if (!valid) {
    throw ContractError(
        node, field,
        text(count) + " integers from " + text(smallest) + " to " + text(kLargestAttribute),
        text(values));
  }
}

// Product of non-negative factors, or a refusal where it leaves int64.
inline int64_t checked_product(const std::string& node, const char* field,
                               const std::vector<int64_t>& factors) {
  int64_t product = 1;
  for (int64_t factor : factors) {
    if (factor == 0) return 0;
  }
  for (int64_t factor : factors) {
    if (product > std::numeric_limits<int64_t>::max() / factor) {
      throw ContractError(node, field, "a product below 2^63", "the factors " + text(factors));
    }
    product *= factor;
  }
  return product;
}

inline int64_t out_extent(const std::string& node, const char* axis, int64_t in, int64_t pad_begin,
                          int64_t pad_end, int64_t kernel, int64_t stride, int64_t dilation) {
  const int64_t padded = in + pad_begin + pad_end;
  const int64_t window = dilation * (kernel - 1) + 1;
  if (padded < window) {
    throw ContractError(node, std::string("X padded ") + axis,
                        "at least the dilated kernel's " + text(window), text(padded));
  }
  return (padded - window) / stride + 1;
}

inline void require_shape(const std::string& node, const char* input,
                          const std::vector<int64_t>& got, const std::vector<int64_t>& expected) {
  if (got != expected) {
    throw ContractError(node, std::string(input) + " shape", text(expected), text(got));
  }
}

}  // namespace detail

// How refusals name a node: its operator and its name in the graph.
inline std::string node_label(const char* operator_name, const std::string& name) {
  return std::string("shiftadd.") + operator_name + " node '" + name + "'";
}

inline std::string node_label(OperatorKind kind, const std::string& name) {
  return node_label(operator_name(kind), name);
}

// Parses the attribute `activation`; throws ContractError for an unknown name.
inline Activation parse_activation(const std::string& node, const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "relu6") return Activation::kRelu6;
  if (name == "hardswish") return Activation::kHardswish;
  throw ContractError(node, "activation", "none, relu, relu6 or hardswish", "'" + name + "'");
}

// Parses the attribute `layout`; throws ContractError for an unknown name.
inline Layout parse_layout(const std::string& node, const std::string& name) {
  if (name == "NCHW") return Layout::kNchw;
  if (name == "NHWC") return Layout::kNhwc;
  throw ContractError(node, "layout", "NCHW or NHWC", "'" + name + "'");
}

// Checks everything that attributes alone can break; throws ContractError.
inline void validate_attributes(OperatorKind kind, const std::string& node,
                                const ConvAttributes& attributes) {
  detail::require_list(node, "kernel_shape", attributes.kernel_shape, 2, 1);
  detail::require_list(node, "strides", attributes.strides, 2, 1);
  detail::require_list(node, "pads", attributes.pads, 4, 0);
  detail::require_list(node, "dilations", attributes.dilations, 2, 1);
  if (attributes.group < 1 || attributes.group > detail::kLargestAttribute) {
    throw ContractError(node, "group",
                        "an integer from 1 to " + detail::text(detail::kLargestAttribute),
                        detail::text(attributes.group));
  }
  if (!is_shift(kind) || attributes.weight_bits == 4) return;
  if (is_integer(kind) || attributes.weight_bits != 8) {
    throw ContractError(node, "weight_bits", is_integer(kind) ? "4" : "4 or 8",
                        detail::text(attributes.weight_bits));
  }
}

// int32 words of one packed row of `terms` codes: ceil(terms * weight_bits / 32).
inline int64_t packed_columns(int64_t terms, int64_t weight_bits) {
  const int64_t codes_per_word = 32 / weight_bits;
  return terms / codes_per_word + (terms % codes_per_word != 0);
}

// Rank of W: shift [M, packed columns], adder [M, C/group, kH, kW]; throws ContractError.
inline void validate_weight_rank(OperatorKind kind, const std::string& node,
                                 const std::vector<int64_t>& w_shape) {
  const size_t rank = is_shift(kind) ? 2 : 4;
  if (w_shape.size() != rank) {
    throw ContractError(node, "W rank", detail::text(rank), detail::text(w_shape.size()));
  }
}

// Checks the shapes of X and W against attributes that validate_attributes accepted, and resolves
// the convolution. x_shape: in the order of the layout; w_shape: shift [M, packed_columns], adder
// [M, C/group, kH, kW]. Output extents are those of ONNX Conv. Throws ContractError.
inline ConvGeometry resolve_geometry(OperatorKind kind, const std::string& node,
                                     const ConvAttributes& attributes,
                                     const std::vector<int64_t>& x_shape,
                                     const std::vector<int64_t>& w_shape) {
  using detail::text;
  const bool channels_last = attributes.layout == Layout::kNhwc;
  if (x_shape.size() != 4) {
    throw ContractError(node, "X rank", channels_last ? "4 (N, H, W, C)" : "4 (N, C, H, W)",
                        text(x_shape.size()));
  }
  validate_weight_rank(kind, node, w_shape);

  ConvGeometry g;
  g.batch = x_shape[0];
  g.channels = x_shape[channels_last ? 3 : 1];
  g.height = x_shape[channels_last ? 1 : 2];
  g.width = x_shape[channels_last ? 2 : 3];
  for (int64_t extent : x_shape) {
    if (extent < 0 || extent > detail::kLargestAttribute) {
      throw ContractError(node, "X shape", "extents from 0 to " + text(detail::kLargestAttribute),
                          text(x_shape));
    }
  }
  g.out_channels = w_shape[0];
  g.group = attributes.group;
  if (g.channels < 1 || g.channels % g.group != 0) {
    throw ContractError(node, "channels of X", "a positive multiple of group " + text(g.group),
                        text(g.channels));
  }
  if (g.out_channels < 1 || g.out_channels % g.group != 0) {
    throw ContractError(node, "rows of W", "a positive multiple of group " + text(g.group),
                        text(g.out_channels));
  }
  g.group_channels = g.channels / g.group;
  g.group_out_channels = g.out_channels / g.group;
  g.kernel_height = attributes.kernel_shape[0];
  g.kernel_width = attributes.kernel_shape[1];
  g.stride_height = attributes.strides[0];
  g.stride_width = attributes.strides[1];
  g.pad_top = attributes.pads[0];
  g.pad_left = attributes.pads[1];
  g.dilation_height = attributes.dilations[0];
  g.dilation_width = attributes.dilations[1];
  g.terms = detail::checked_product(node, "kernel_shape",
                                    {g.group_channels, g.kernel_height, g.kernel_width});
  const int64_t most_terms = is_shift(kind) ? detail::kMostShiftTerms : detail::kMostAdderTerms;
  if (is_integer(kind) && g.terms > most_terms) {
    throw ContractError(node, "terms of one output", "at most " + text(most_terms), text(g.terms));
  }
  if (is_shift(kind)) {
    detail::require_shape(node, "W", w_shape,
                          {g.out_channels, packed_columns(g.terms, attributes.weight_bits)});
  } else {
    detail::require_shape(node, "W", w_shape,
                          {g.out_channels, g.group_channels, g.kernel_height, g.kernel_width});
  }
  g.out_height = detail::out_extent(node, "height", g.height, g.pad_top, attributes.pads[2],
                                    g.kernel_height, g.stride_height, g.dilation_height);
  g.out_width = detail::out_extent(node, "width", g.width, g.pad_left, attributes.pads[3],
                                   g.kernel_width, g.stride_width, g.dilation_width);
  // Bytes, not elements: a size that malloc can be asked for at all.
  detail::checked_product(
      node, "output size in bytes",
      {g.batch, g.out_channels, g.out_height, g.out_width, static_cast<int64_t>(sizeof(float))});
  return g;
}

// Checks a per-channel input (`scale` or `bias`) of shape [M]; throws ContractError.
inline void validate_channel_input(const std::string& node, const char* input,
                                   const std::vector<int64_t>& shape, int64_t out_channels) {
  detail::require_shape(node, input, shape, {out_channels});
}

// The scalars of an integer operator: a code q stands for scale * (q - zero_point).
struct Quantization {
  float x_scale;
  uint8_t x_zero_point;
  float y_scale;
  uint8_t y_zero_point;
};

// Checks the shape of a scale or zero point: [] or [1]; throws ContractError.
inline void validate_scalar_input(const std::string& node, const char* input,
                                  const std::vector<int64_t>& shape) {
  if (!shape.empty() && shape != std::vector<int64_t>{1}) {
    throw ContractError(node, std::string(input) + " shape", "[] or [1]", detail::text(shape));
  }
}

// Checks a scale: positive and finite. Throws ContractError.
inline void validate_scale(const std::string& node, const char* input, float value) {
  if (!(value > 0.0f) || !std::isfinite(value)) {
    throw ContractError(node, input, "a positive, finite number", detail::text(value));
  }
}

// Checks y_scale, by whose reciprocal an output is multiplied; throws ContractError.
inline void validate_y_scale(const std::string& node, float value) {
  validate_scale(node, "y_scale", value);
  if (!std::isfinite(1.0f / value)) {
    throw ContractError(node, "y_scale", "a number with a finite reciprocal", detail::text(value));
  }
}

// Checks the values of an integer operator's scale or bias; throws ContractError.
inline void validate_finite(const std::string& node, const char* input, const float* values,
                            int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) {
      throw ContractError(node, std::string(input) + "[" + detail::text(i) + "]", "a finite number",
                          detail::text(values[i]));
    }
  }
}

}  // namespace shiftadd

#endif  // SHIFTADD_CONTRACT_H_
