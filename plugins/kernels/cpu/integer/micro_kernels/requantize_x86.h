// The integer operators' epilogue for x86-64, written once over a vector type.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_X86_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_X86_H_

#include "common/activation.h"
#include "common/unroll.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace cpu {
namespace {

// A bound that is as good as infinity for a code and fits 16 bits. Below it nothing is needed:
// conversion turns a value that is too small into the most negative integer. It does the same with
// NaN, which counts as the smallest value (docs/operators.md, section 5.2).
constexpr float kBeyondCodes = 32767.0f;

// A Vector offers what activate() needs, where NaN becomes the bound, and min(a, b), which is b
// where one is NaN.

// Codes as floats, not yet rounded and without the zero point; to be converted to integers.
template <typename Vector, Activation kActivation>
SHIFTADD_INLINE typename Vector::Register scaled_codes(typename Vector::Register sums,
                                                       typename Vector::Register multiplier,
                                                       typename Vector::Register bias,
                                                       float y_reciprocal) {
  auto v = activate<Vector>(sums * multiplier + bias, kActivation);
  v = v * Vector::broadcast(y_reciprocal);
  return Vector::min(Vector::broadcast(kBeyondCodes), v);
}

template <typename Row>
void requantize_each_row(const RequantizeArguments& call) {
  // A local copy tells the compiler that storing a byte through y does not change it.
  const RequantizeArguments row = call;
  for (size_t i = 0; i < row.rows; ++i) {
    Row::run(row, row.sums + i * row.sums_stride, row.y + i * row.y_stride);
  }
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_MICRO_KERNELS_REQUANTIZE_X86_H_
