#include "conv_node.h"

#include <algorithm>
#include <utility>

#include "common/thread_pool.h"

namespace shiftadd {
namespace ort {

ConvNode::ConvNode(OperatorKind kind, const OrtKernelInfo* info)
    : kind_(kind), node_(node_label(kind, node_name(info))), threads_(cpu::wanted_threads()) {
  read_attributes(info);
  check_constants(info);
}

void ConvNode::read_attributes(const OrtKernelInfo* info) {
  for (const ListAttribute& list : kListAttributes) {
    attributes_.*list.values = attribute_ints(info, node_, list.name);
  }
  attributes_.group = attribute_int(info, node_, kGroup.name);
  if (find_attribute(kind_, "weight_bits") != nullptr) {
    attributes_.weight_bits = attribute_int(info, node_, "weight_bits");
  }
  attributes_.activation = parse_activation(node_, attribute_string(info, node_, kActivation));
  if (find_attribute(kind_, kLayout.name) != nullptr) {
    attributes_.layout = parse_layout(node_, attribute_string(info, node_, kLayout));
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
    if (extent < 0) extent = std::min(window, kLargestAttribute);
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

size_t ConvNode::weight_bytes(const ConvGeometry& geometry) const {
  const int64_t columns =
      is_shift(kind_) ? packed_columns(geometry.terms, attributes_.weight_bits) : geometry.terms;
  const ElementType type = describe(kind_).inputs[inputs().w].type;
  const size_t element = type == ElementType::kUint8 ? sizeof(uint8_t) : sizeof(int32_t);
  return static_cast<size_t>(geometry.out_channels * columns) * element;
}

}  // namespace ort
}  // namespace shiftadd
