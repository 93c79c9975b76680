// What one term adds to a sum, and what is made of a whole sum.
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TERMS_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TERMS_H_

#include <cstddef>

#include "common/activation.h"
#include "common/unroll.h"
#include "float/micro_kernels.h"

namespace shiftadd {
namespace cpu {

// sum + w*x; the operator's output is +sum.
template <typename Vector>
struct ShiftTerm {
  static constexpr float kSign = 1.0f;
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return Vector::multiply_add(x, w, sum);
  }
};

// sum + |x - w|; the operator's output is -sum.
template <typename Vector>
struct AdderTerm {
  static constexpr float kSign = -1.0f;
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return Vector::add_distance(x, w, sum);
  }
};

// sum + max(x, w); see DistanceSums.
template <typename Vector>
struct MaximumTerm {
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return sum + Vector::max(x, w);
  }
};

// Stores as much of a vector as a row of `count` floats takes.
template <typename Vector>
SHIFTADD_INLINE void store_within(float* y, typename Vector::Register v, size_t count) {
  if (count >= Vector::kLanes) {
    Vector::store(y, v);
  } else {
    Vector::store_front(y, v, count);
  }
}

template <typename Vector, typename Term>
SHIFTADD_INLINE typename Vector::Register finish(typename Vector::Register sum,
                                                 const Epilogue& epilogue, size_t row) {
  const auto scale = Vector::broadcast(Term::kSign * epilogue.scale[row]);
  const auto bias = Vector::broadcast(epilogue.bias[row]);
  return activate<Vector>(Vector::multiply_add(scale, sum, bias), epilogue.activation);
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TERMS_H_
