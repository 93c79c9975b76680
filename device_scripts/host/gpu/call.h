// What a ShiftaddCall says, in the contract's words.
#ifndef SHIFTADD_DEVICE_SCRIPTS_GPU_CALL_H_
#define SHIFTADD_DEVICE_SCRIPTS_GPU_CALL_H_

#include <vector>

#include "bridge.h"
#include "shiftadd/convolution.h"

namespace shiftadd {

inline OperatorKind kind_of(const ShiftaddCall& call) {
  return call.adder ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
}

template <size_t kCount>
std::vector<int64_t> list(const int64_t (&values)[kCount]) {
  return std::vector<int64_t>(values, values + kCount);
}

inline ConvAttributes attributes_of(const ShiftaddCall& call) {
  ConvAttributes a;
  a.kernel_shape = list(call.kernel_shape);
  a.strides = list(call.strides);
  a.pads = list(call.pads);
  a.dilations = list(call.dilations);
  a.group = call.group;
  a.weight_bits = call.weight_bits;
  a.activation = static_cast<Activation>(call.activation);
  return a;
}

// Of W, for attributes that validate_attributes accepted. Throws ContractError where it is too
// large.
inline std::vector<int64_t> weight_shape(const ShiftaddCall& call) {
  const ConvAttributes a = attributes_of(call);
  const int64_t channels = call.x_shape[1] / a.group;
  if (call.adder) return {call.out_channels, channels, a.kernel_shape[0], a.kernel_shape[1]};
  const int64_t terms = detail::checked_product("call", "kernel_shape",
                                                {channels, a.kernel_shape[0], a.kernel_shape[1]});
  return {call.out_channels, packed_columns(terms, a.weight_bits)};
}

}  // namespace shiftadd

#endif  // SHIFTADD_DEVICE_SCRIPTS_GPU_CALL_H_
