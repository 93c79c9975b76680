// The contract of the four convolutions: attributes, geometry, shapes and the checks of all of
// them (docs/operators.md, sections 1.2, 2, 3 and 5).
#ifndef SHIFTADD_CONVOLUTION_H_
#define SHIFTADD_CONVOLUTION_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "shiftadd/checks.h"
#include "shiftadd/operators.h"
#include "shiftadd/packed_weights.h"

namespace shiftadd {

// Where ShiftConv and AdderConv have their inputs.
constexpr size_t kInputX = input_index(OperatorKind::kShiftConv, "X");
constexpr size_t kInputW = input_index(OperatorKind::kShiftConv, "W");
constexpr size_t kInputScale = input_index(OperatorKind::kShiftConv, "scale");
constexpr size_t kInputBias = input_index(OperatorKind::kShiftConv, "bias");
constexpr size_t kInputCount = describe(OperatorKind::kShiftConv).inputs.count;

// Where QLinearShiftConv and QLinearAdderConv have theirs.
constexpr size_t kIntegerInputX = input_index(OperatorKind::kQLinearShiftConv, "X");
constexpr size_t kIntegerInputXScale = input_index(OperatorKind::kQLinearShiftConv, "x_scale");
constexpr size_t kIntegerInputXZeroPoint =
    input_index(OperatorKind::kQLinearShiftConv, "x_zero_point");
constexpr size_t kIntegerInputW = input_index(OperatorKind::kQLinearShiftConv, "W");
constexpr size_t kIntegerInputScale = input_index(OperatorKind::kQLinearShiftConv, "scale");
constexpr size_t kIntegerInputBias = input_index(OperatorKind::kQLinearShiftConv, "bias");
constexpr size_t kIntegerInputYScale = input_index(OperatorKind::kQLinearShiftConv, "y_scale");
constexpr size_t kIntegerInputYZeroPoint =
    input_index(OperatorKind::kQLinearShiftConv, "y_zero_point");

// Where an operator has the inputs that all convolutions share.
struct InputPositions {
  size_t x, w, scale, bias;
};

constexpr InputPositions input_positions(OperatorKind kind) {
  return is_integer(kind)
             ? InputPositions{kIntegerInputX, kIntegerInputW, kIntegerInputScale, kIntegerInputBias}
             : InputPositions{kInputX, kInputW, kInputScale, kInputBias};
}

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

// The list attributes, and where ConvAttributes holds each. The type has a name because nvcc writes
// a pointer to a member out with parentheses, about which the host compiler warns.
using ListMember = std::vector<int64_t> ConvAttributes::*;
struct ListAttribute {
  const char* name;
  ListMember values;
};
constexpr ListAttribute kListAttributes[] = {{"kernel_shape", &ConvAttributes::kernel_shape},
                                             {"strides", &ConvAttributes::strides},
                                             {"pads", &ConvAttributes::pads},
                                             {"dilations", &ConvAttributes::dilations}};

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

// The most terms of which the sum surely fits int32: 2^31 - 1 over 255 * 64, and over 255
// (docs/operators.md, section 5.1).
constexpr int64_t kMostShiftTerms = 131586;
constexpr int64_t kMostAdderTerms = 8421504;

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

}  // namespace detail

// Parses the attribute `activation`; throws ContractError for an unknown name.
inline Activation parse_activation(const std::string& node, const std::string& name) {
  return static_cast<Activation>(detail::require_choice(node, kActivation, name, "'" + name + "'"));
}

// Parses the attribute `layout`; throws ContractError for an unknown name.
inline Layout parse_layout(const std::string& node, const std::string& name) {
  return static_cast<Layout>(detail::require_choice(node, kLayout, name, "'" + name + "'"));
}

// Checks everything that attributes alone can break; throws ContractError.
inline void validate_attributes(OperatorKind kind, const std::string& node,
                                const ConvAttributes& attributes) {
  for (const ListAttribute& list : kListAttributes) {
    const AttributeDescription& described = *find_attribute(kind, list.name);
    detail::require_list(node, list.name, attributes.*list.values,
                         static_cast<size_t>(described.length), described.least);
  }
  if (attributes.group < 1 || attributes.group > kLargestAttribute) {
    throw ContractError(node, "group", "an integer from 1 to " + detail::text(kLargestAttribute),
                        detail::text(attributes.group));
  }
  if (const AttributeDescription* weight_bits = find_attribute(kind, "weight_bits")) {
    const std::string given = detail::text(attributes.weight_bits);
    detail::require_choice(node, *weight_bits, given, given);
  }
}

// Rank of W: shift [M, packed columns], adder [M, C/group, kH, kW]; throws ContractError.
inline void validate_weight_rank(OperatorKind kind, const std::string& node,
                                 const std::vector<int64_t>& w_shape) {
  const TensorDescription& w = describe(kind).inputs[input_positions(kind).w];
  const size_t rank = static_cast<size_t>(w.rank);
  if (w_shape.size() != rank) {
    throw ContractError(node, "W rank", detail::text(rank), detail::text(w_shape.size()));
  }
}

namespace detail {

inline void set_image(const std::string& node, bool channels_last,
                      const std::vector<int64_t>& x_shape, ConvGeometry& g) {
  if (x_shape.size() != 4) {
    throw ContractError(node, "X rank", channels_last ? "4 (N, H, W, C)" : "4 (N, C, H, W)",
                        text(x_shape.size()));
  }
  for (int64_t extent : x_shape) {
    if (extent < 0 || extent > kLargestAttribute) {
      throw ContractError(node, "X shape", "extents from 0 to " + text(kLargestAttribute),
                          text(x_shape));
    }
  }
  g.batch = x_shape[0];
  g.channels = x_shape[channels_last ? 3 : 1];
  g.height = x_shape[channels_last ? 1 : 2];
  g.width = x_shape[channels_last ? 2 : 3];
}

inline void set_groups(const std::string& node, int64_t group, int64_t out_channels,
                       ConvGeometry& g) {
  g.group = group;
  g.out_channels = out_channels;
  if (g.channels < 1 || g.channels % group != 0) {
    throw ContractError(node, "channels of X", "a positive multiple of group " + text(group),
                        text(g.channels));
  }
  if (out_channels < 1 || out_channels % group != 0) {
    throw ContractError(node, "rows of W", "a positive multiple of group " + text(group),
                        text(out_channels));
  }
  g.group_channels = g.channels / group;
  g.group_out_channels = out_channels / group;
}

inline void set_window(const std::string& node, const ConvAttributes& attributes, ConvGeometry& g) {
  g.kernel_height = attributes.kernel_shape[0];
  g.kernel_width = attributes.kernel_shape[1];
  g.stride_height = attributes.strides[0];
  g.stride_width = attributes.strides[1];
  g.pad_top = attributes.pads[0];
  g.pad_left = attributes.pads[1];
  g.dilation_height = attributes.dilations[0];
  g.dilation_width = attributes.dilations[1];
  g.terms =
      checked_product(node, "kernel_shape", {g.group_channels, g.kernel_height, g.kernel_width});
}

// Checks the number of terms and W's shape, both of which follow from the window.
inline void check_weights(OperatorKind kind, const std::string& node, int64_t weight_bits,
                          const std::vector<int64_t>& w_shape, const ConvGeometry& g) {
  const int64_t most_terms = is_shift(kind) ? kMostShiftTerms : kMostAdderTerms;
  if (is_integer(kind) && g.terms > most_terms) {
    throw ContractError(node, "terms of one output", "at most " + text(most_terms), text(g.terms));
  }
  if (is_shift(kind)) {
    require_shape(node, "W", w_shape, {g.out_channels, packed_columns(g.terms, weight_bits)});
  } else {
    require_shape(node, "W", w_shape,
                  {g.out_channels, g.group_channels, g.kernel_height, g.kernel_width});
  }
}

inline void set_output(const std::string& node, const std::vector<int64_t>& pads, ConvGeometry& g) {
  g.out_height = out_extent(node, "height", g.height, g.pad_top, pads[2], g.kernel_height,
                            g.stride_height, g.dilation_height);
  g.out_width = out_extent(node, "width", g.width, g.pad_left, pads[3], g.kernel_width,
                           g.stride_width, g.dilation_width);
  // In bytes rather than elements, so that malloc can be asked for such a size at all.
  checked_product(
      node, "output size in bytes",
      {g.batch, g.out_channels, g.out_height, g.out_width, static_cast<int64_t>(sizeof(float))});
}

}  // namespace detail

// Checks the shapes of X and W against attributes that validate_attributes accepted, and resolves
// the convolution. x_shape: in the order of the layout; w_shape: shift [M, packed_columns], adder
// [M, C/group, kH, kW]. Output extents are those of ONNX Conv. Throws ContractError.
inline ConvGeometry resolve_geometry(OperatorKind kind, const std::string& node,
                                     const ConvAttributes& attributes,
                                     const std::vector<int64_t>& x_shape,
                                     const std::vector<int64_t>& w_shape) {
  ConvGeometry g;
  detail::set_image(node, attributes.layout == Layout::kNhwc, x_shape, g);
  validate_weight_rank(kind, node, w_shape);
  detail::set_groups(node, attributes.group, w_shape[0], g);
  detail::set_window(node, attributes, g);
  detail::check_weights(kind, node, attributes.weight_bits, w_shape, g);
  detail::set_output(node, attributes.pads, g);
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

// Checks y_scale, by whose reciprocal an output is multiplied; throws ContractError.
inline void validate_y_scale(const std::string& node, float value) {
  validate_scale(node, "y_scale", value);
  if (!std::isfinite(1.0f / value)) {
    throw ContractError(node, "y_scale", "a number with a finite reciprocal", detail::text(value));
  }
}

}  // namespace shiftadd

#endif  // SHIFTADD_CONVOLUTION_H_
