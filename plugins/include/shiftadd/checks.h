// Refusals (docs/operators.md, section 10), and the checks that several operators need. C++14's
// standard library only, so that every runtime's binding uses the same rules.
#ifndef SHIFTADD_CHECKS_H_
#define SHIFTADD_CHECKS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "shiftadd/operators.h"

namespace shiftadd {

// Thrown for whatever breaks the contract; what() names the node, the field and both values.
class ContractError : public std::invalid_argument {
 public:
  ContractError(const std::string& node, const std::string& field, const std::string& expected,
                const std::string& got)
      : std::invalid_argument(node + ": " + field + ": expected " + expected + ", got " + got) {}
};

namespace detail {

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

// The choices as a refusal names them: "a, b or c".
inline std::string text(const Span<const char*>& choices) {
  std::string joined;
  for (size_t i = 0; i < choices.count; ++i) {
    const bool last = i + 1 == choices.count;
    joined += std::string(i == 0 ? "" : last ? " or " : ", ") + choices[i];
  }
  return joined;
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

// Position of `value` among the choices. `shown` is how the refusal writes it.
inline size_t require_choice(const std::string& node, const AttributeDescription& attribute,
                             const std::string& value, const std::string& shown) {
  for (size_t i = 0; i < attribute.choices.count; ++i) {
    if (value == attribute.choices[i]) return i;
  }
  throw ContractError(node, attribute.name, text(attribute.choices), shown);
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

inline void require_shape(const std::string& node, const char* input,
                          const std::vector<int64_t>& got, const std::vector<int64_t>& expected) {
  if (got != expected) {
    throw ContractError(node, std::string(input) + " shape", text(expected), text(got));
  }
}

}  // namespace detail

// How refusals name a node: by its operator and its name in the graph.
inline std::string node_label(OperatorKind kind, const std::string& name) {
  return std::string(kDomain) + "." + operator_name(kind) + " node '" + name + "'";
}

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

#endif  // SHIFTADD_CHECKS_H_
