// Rows of a depthwise convolution.
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_DEPTHWISE_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_DEPTHWISE_H_

#include <cstddef>

#include "common/unroll.h"
#include "float/micro_kernels.h"
#include "float/micro_kernels/terms.h"

namespace shiftadd {
namespace cpu {

// `Vectors` output vectors of `Rows` depthwise rows. Taps is the number of taps where it is known
// to the compiler, which then keeps the weights in registers from row to row; 0 where it is not.
template <typename Vector, typename Term, size_t Taps, size_t Rows, size_t Vectors>
SHIFTADD_INLINE void depthwise_step(const DepthwiseArguments& call, const float* x, float* y,
                                    size_t columns) {
  using Register = typename Vector::Register;
  const size_t taps = Taps == 0 ? call.taps : Taps;
  Register sums[Rows][Vectors];
  SHIFTADD_UNROLL(4)
  for (size_t r = 0; r < Rows; ++r) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) sums[r][v] = Vector::broadcast(0.0f);
  }
  SHIFTADD_UNROLL(9)
  for (size_t t = 0; t < taps; ++t) {
    const Register weight = Vector::broadcast(call.w[t]);
    const float* pixels = x + call.offsets[t];
    SHIFTADD_UNROLL(4)
    for (size_t r = 0; r < Rows; ++r) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < Vectors; ++v) {
        const float* from = pixels + r * call.x_stride + v * Vector::kLanes;
        sums[r][v] = Term::accumulate(Vector::load(from), weight, sums[r][v]);
      }
    }
  }
  SHIFTADD_UNROLL(4)
  for (size_t r = 0; r < Rows; ++r) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) {
      const size_t begin = v * Vector::kLanes;
      store_within<Vector>(y + r * call.columns + begin,
                           finish<Vector, Term>(sums[r][v], call.epilogue, 0), columns - begin);
    }
  }
}

// All rows of `Vectors` vectors of columns, in fours of vectors: one sum after the other would wait
// for itself.
template <typename Vector, typename Term, size_t Taps, size_t Vectors>
SHIFTADD_INLINE void depthwise_columns(const DepthwiseArguments& call, size_t begin) {
  constexpr size_t kRows = 4 / Vectors;
  const size_t columns = call.columns - begin;
  const float* x = call.x + begin;
  float* y = call.y + begin;
  size_t row = 0;
  for (; row + kRows <= call.rows; row += kRows) {
    depthwise_step<Vector, Term, Taps, kRows, Vectors>(call, x, y, columns);
    x += kRows * call.x_stride;
    y += kRows * call.columns;
  }
  for (; row < call.rows; ++row, x += call.x_stride, y += call.columns) {
    depthwise_step<Vector, Term, Taps, 1, Vectors>(call, x, y, columns);
  }
}

template <typename Vector, typename Term, size_t Taps>
void depthwise_all_columns(const DepthwiseArguments& call) {
  size_t column = 0;
  while (column < call.columns) {
    const size_t vectors = (call.columns - column + Vector::kLanes - 1) / Vector::kLanes;
    if (vectors >= 4) {
      depthwise_columns<Vector, Term, Taps, 4>(call, column);
      column += 4 * Vector::kLanes;
    } else if (vectors >= 2) {
      depthwise_columns<Vector, Term, Taps, 2>(call, column);
      column += 2 * Vector::kLanes;
    } else {
      depthwise_columns<Vector, Term, Taps, 1>(call, column);
      column += Vector::kLanes;
    }
  }
}

template <typename Vector, typename Term>
void depthwise_rows(const DepthwiseArguments& call) {
  constexpr size_t kUsualTaps = 9;
  if (call.taps == kUsualTaps) {
    depthwise_all_columns<Vector, Term, kUsualTaps>(call);
  } else {
    depthwise_all_columns<Vector, Term, 0>(call);
  }
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_DEPTHWISE_H_
