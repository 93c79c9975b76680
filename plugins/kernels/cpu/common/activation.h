// The activations of every CPU kernel (docs/operators.md, section 1.3), written once over a vector
// type.
#ifndef SHIFTADD_KERNELS_CPU_COMMON_ACTIVATION_H_
#define SHIFTADD_KERNELS_CPU_COMMON_ACTIVATION_H_

#include "common/unroll.h"
#include "shiftadd/activations.h"

namespace shiftadd {
namespace cpu {

// The activation of each lane of v. A Vector offers Register, broadcast(x), at_least(v, bound), the
// larger of both, and at_most(v, bound), the smaller. What these two make of NaN is the Vector's
// choice: the float kernels keep it, the integer kernels take it for the bound. The compiler drops
// the switch where it knows the activation.
template <typename Vector>
SHIFTADD_INLINE typename Vector::Register activate(typename Vector::Register v,
                                                   Activation activation) {
  const auto zero = Vector::broadcast(0.0f);
  const auto six = Vector::broadcast(6.0f);
  switch (activation) {
    case Activation::kNone: break;
    case Activation::kRelu: return Vector::at_least(v, zero);
    case Activation::kRelu6: return Vector::at_most(Vector::at_least(v, zero), six);
    case Activation::kHardswish: {
      const auto raised = Vector::at_least(v + Vector::broadcast(3.0f), zero);
      return v * (Vector::at_most(raised, six) * Vector::broadcast(1.0f / 6.0f));
    }
  }
  return v;
}

// Body<activation>::run(call), with the activation as a constant.
template <template <Activation> class Body, typename Call>
SHIFTADD_INLINE void run_with_activation(Activation activation, const Call& call) {
#define SHIFTADD_CASE(symbol, name) \
  case Activation::symbol: return Body<Activation::symbol>::run(call);
  switch (activation) { SHIFTADD_ACTIVATIONS(SHIFTADD_CASE) }
#undef SHIFTADD_CASE
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_COMMON_ACTIVATION_H_
