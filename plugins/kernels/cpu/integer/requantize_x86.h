// The integer operators' epilogue for x86-64, written once over a vector type.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_

#include "common/unroll.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace cpu {
namespace {

// The least that is the same as infinity for a code, and fits 16 bits. Conversion makes the most
// negative number of what is less than any, and of NaN, which the contract takes for the least.
constexpr float kBeyondCodes = 32767.0f;

// A Vector offers: Floats, broadcast(x), min(a, b) and max(a, b), both b where one is NaN.
template <typename Vector, Activation kActivation>
SHIFTADD_INLINE typename Vector::Floats activated_vector(typename Vector::Floats v) {
  const auto zero = Vector::broadcast(0.0f);
  const auto six = Vector::broadcast(6.0f);
  switch (kActivation) {
    case Activation::kRelu: return Vector::max(v, zero);
    case Activation::kRelu6: return Vector::min(Vector::max(v, zero), six);
    case Activation::kHardswish: {
      const auto gate = Vector::min(Vector::max(v + Vector::broadcast(3.0f), zero), six);
      return v * (gate * Vector::broadcast(1.0f / 6.0f));
    }
    case Activation::kNone: break;
  }
  return v;
}

// Codes as floats, not yet rounded and without the zero point; to be converted to integers.
template <typename Vector, Activation kActivation>
SHIFTADD_INLINE typename Vector::Floats scaled_codes(typename Vector::Floats sums,
                                                     typename Vector::Floats multiplier,
                                                     typename Vector::Floats bias,
                                                     float y_reciprocal) {
  auto v = activated_vector<Vector, kActivation>(sums * multiplier + bias);
  v = v * Vector::broadcast(y_reciprocal);
  return Vector::min(Vector::broadcast(kBeyondCodes), v);
}

template <typename Row>
void requantize_each_row(const RequantizeArguments& call) {
  // A copy: a byte that is stored through y might be any of the call's own.
  const RequantizeArguments row = call;
  for (size_t i = 0; i < row.rows; ++i) {
    Row::run(row, row.sums + i * row.sums_stride, row.y + i * row.y_stride);
  }
}

// Row<activation>::run(call, sums, y) for each row.
template <template <Activation> class Row>
void requantize_rows(const RequantizeArguments& call) {
  switch (call.requantization.activation) {
    case Activation::kNone: return requantize_each_row<Row<Activation::kNone>>(call);
    case Activation::kRelu: return requantize_each_row<Row<Activation::kRelu>>(call);
    case Activation::kRelu6: return requantize_each_row<Row<Activation::kRelu6>>(call);
    case Activation::kHardswish: return requantize_each_row<Row<Activation::kHardswish>>(call);
  }
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_
