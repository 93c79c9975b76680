#include "conv_node.h"

#include <algorithm>
#include <utility>

#include "common/thread_pool.h"
#include "shiftadd/packed_weights.h"

namespace shiftadd {
namespace ort {

ConvNode::ConvNode(OperatorKind kind, const OrtKernelInfo* info)
    : kind_(kind), node_(node_label(kind, node_name(info))), threads_(cpu::wanted_threads()) {
  read_attributes(info);
  check_constants(info);
}

void ConvNode::read_attributes(const OrtKernelInfo* info) {
  attributes_.kernel_shape = attribute_ints(info, node_, "kernel_shape");
  attributes_.strides = attribute_ints(info, node_, "strides");
  attributes_.pads = attribute_ints(info, node_, "pads");
  attributes_.dilations = attribute_ints(info, node_, "dilations");
  attributes_.group = attribute_int(info, node_, "group");
  if (is_shift(kind_)) attributes_.weight_bits = attribute_int(info, node_, "weight_bits");
  attributes_.activation = parse_activation(node_, attribute_string(info, node_, "activation"));
  if (is_integer(kind_)) {
    attributes_.layout = parse_layout(node_, attribute_string(info, node_, "layout", "NCHW"));
  }
  validate_attributes(kind_, node_, attributes_);
}

void ConvNode::check_constants(const OrtKernelInfo* info) {
  const OrtValue* w = constant_input(info, inputs().w);
  if (w == nullptr) return;
  constant_weights_ = true;
  const std::vector<int64_t> w_shape = tensor_shape(w);
  validate_weight_rank(kind_, node_, w_shape);
  const std::pair<size_t, const char*> channel_inputs[] = {{inputs().scale, "scale"},
                                                           {inputs().bias, "bias"}};
  for (const auto& channel_input : channel_inputs) {
    const OrtValue* value = constant_input(info, channel_input.first);
    if (value != nullptr) {
      validate_channel_input(node_, channel_input.second, tensor_shape(value), w_shape[0]);
    }
  }
}

// Shape of X as far as shape inference knows it, with each unknown extent replaced by one that
// passes wherever some extent does. Empty where the channels are unknown.
std::vector<int64_t> ConvNode::plausible_shape(const OrtKernelInfo* info) const {
  std::vector<int64_t> shape = declared_shape(info, inputs().x);
  if (shape.size() != 4) return shape;
  const bool channels_last = attributes_.layout == Layout::kNhwc;
  if (shape[channels_last ? 3 : 1] < 0) return {};
  if (shape[0] < 0) shape[0] = 1;
  for (size_t axis = 0; axis < 2; ++axis) {
    int64_t& extent = shape[(channels_last ? 1 : 2) + axis];
    const int64_t window = attributes_.dilations[axis] * (attributes_.kernel_shape[axis] - 1) + 1;
    if (extent < 0) extent = std::min(window, detail::kLargestAttribute);
  }
  return shape;
}

ConvGeometry ConvNode::run_geometry(const OrtKernelContext* context) const {
  const InputPositions index = inputs();
  const ConvGeometry geometry =
      resolve_geometry(kind_, node_, attributes_, tensor_shape(input(context, index.x)),
                       tensor_shape(input(context, index.w)));
  validate_channel_input(node_, "scale", tensor_shape(input(context, index.scale)),
                         geometry.out_channels);
  validate_channel_input(node_, "bias", tensor_shape(input(context, index.bias)),
                         geometry.out_channels);
  return geometry;
}

// W's elements have 32 bits, but for an integer adder's.
size_t ConvNode::weight_bytes(const ConvGeometry& geometry) const {
  const int64_t columns =
      is_shift(kind_) ? packed_columns(geometry.terms, attributes_.weight_bits) : geometry.terms;
  const size_t element = kind_ == OperatorKind::kQLinearAdderConv ? 1 : sizeof(int32_t);
  return static_cast<size_t>(geometry.out_channels * columns) * element;
}

void ConvNode::decode(const ConvGeometry& geometry, const void* w, float* decoded) const {
  const int32_t* packed = static_cast<const int32_t*>(w);
  const int64_t columns = packed_columns(geometry.terms, attributes_.weight_bits);
  for (int64_t row = 0; row < geometry.out_channels; ++row) {
    decode_row(node_, packed + row * columns, row, geometry.terms, attributes_.weight_bits,
               decoded + row * geometry.terms);
  }
}

}  // namespace ort
}  // namespace shiftadd
