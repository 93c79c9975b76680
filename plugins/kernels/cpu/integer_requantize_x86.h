// The integer operators' epilogue for x86-64, written once over a vector type.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_

#include "integer_kernels.h"
#include "unroll.h"

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

// Row<activation>::run(call, sums, y) for each row.
template <template <Activation> class Row>
void requantize_rows(const RequantizeArguments& call) {
  void (*row)(const RequantizeArguments&, const int32_t*, uint8_t*) = nullptr;
  switch (call.requantization.activation) {
    case Activation::kNone: row = Row<Activation::kNone>::run; break;
    case Activation::kRelu: row = Row<Activation::kRelu>::run; break;
    case Activation::kRelu6: row = Row<Activation::kRelu6>::run; break;
    case Activation::kHardswish: row = Row<Activation::kHardswish>::run; break;
  }
  for (size_t i = 0; i < call.rows; ++i) {
    row(call, call.sums + i * call.sums_stride, call.y + i * call.y_stride);
  }
}

}  // namespace
}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_REQUANTIZE_X86_H_
