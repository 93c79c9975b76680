// The contract of QLinearAdd, the sum of two tensors of codes (docs/operators.md, section 6).
#ifndef SHIFTADD_ADDITION_H_
#define SHIFTADD_ADDITION_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "shiftadd/checks.h"
#include "shiftadd/operators.h"

namespace shiftadd {

// Where QLinearAdd has its inputs.
constexpr size_t kAdditionInputA = input_index(OperatorKind::kQLinearAdd, "A");
constexpr size_t kAdditionInputAScale = input_index(OperatorKind::kQLinearAdd, "a_scale");
constexpr size_t kAdditionInputAZeroPoint = input_index(OperatorKind::kQLinearAdd, "a_zero_point");
constexpr size_t kAdditionInputB = input_index(OperatorKind::kQLinearAdd, "B");
constexpr size_t kAdditionInputBScale = input_index(OperatorKind::kQLinearAdd, "b_scale");
constexpr size_t kAdditionInputBZeroPoint = input_index(OperatorKind::kQLinearAdd, "b_zero_point");
constexpr size_t kAdditionInputYScale = input_index(OperatorKind::kQLinearAdd, "y_scale");
constexpr size_t kAdditionInputYZeroPoint = input_index(OperatorKind::kQLinearAdd, "y_zero_point");

// A code q of A stands for a_scale * (q - a_zero_point), and so on.
struct AdditionQuantization {
  float a_scale;
  uint8_t a_zero_point;
  float b_scale;
  uint8_t b_zero_point;
  float y_scale;
  uint8_t y_zero_point;
};

// The codes of Y that one step of an input's code is: scale / y_scale, computed in float64 and
// rounded once.
inline float addition_multiplier(float scale, float y_scale) {
  return static_cast<float>(static_cast<double>(scale) / static_cast<double>(y_scale));
}

// Shape of Y: that of A and of B. Throws ContractError where these differ.
inline const std::vector<int64_t>& addition_shape(const std::string& node,
                                                  const std::vector<int64_t>& a,
                                                  const std::vector<int64_t>& b) {
  detail::require_shape(node, "B", b, a);
  return a;
}

// Checks the three scales, and that one of an input can be told in Y's; throws ContractError.
inline void validate_addition(const std::string& node, const AdditionQuantization& quantization) {
  const float y_scale = quantization.y_scale;
  validate_scale(node, "a_scale", quantization.a_scale);
  validate_scale(node, "b_scale", quantization.b_scale);
  validate_scale(node, "y_scale", y_scale);
  for (const float scale : {quantization.a_scale, quantization.b_scale}) {
    if (!std::isfinite(addition_multiplier(scale, y_scale))) {
      throw ContractError(node, "y_scale",
                          "a number by which " + detail::text(scale) + " can be divided",
                          detail::text(y_scale));
    }
  }
}

}  // namespace shiftadd

#endif  // SHIFTADD_ADDITION_H_
