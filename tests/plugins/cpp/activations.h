// The activations as the C++ tests expect them, written from docs/operators.md, section 1.3.
#ifndef SHIFTADD_TESTS_CPP_ACTIVATIONS_H_
#define SHIFTADD_TESTS_CPP_ACTIVATIONS_H_

#include <algorithm>

#include "shiftadd/activations.h"

namespace shiftadd {
namespace test {

// In float64 it is the exact value; in float32 it takes the steps of the integer operators.
template <typename Real>
Real expected_activation(Activation activation, Real v) {
  switch (activation) {
    case Activation::kNone: return v;
    case Activation::kRelu: return std::max(v, Real(0));
    case Activation::kRelu6: return std::min(std::max(v, Real(0)), Real(6));
    case Activation::kHardswish:
      return v * (std::min(std::max(v + Real(3), Real(0)), Real(6)) * (Real(1) / Real(6)));
  }
  return v;
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_ACTIVATIONS_H_
