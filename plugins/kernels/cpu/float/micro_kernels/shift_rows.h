// A shift convolution with one output position: dot products of packed codes and pixels.
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_SHIFT_ROWS_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_SHIFT_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "common/activation.h"
#include "common/unroll.h"
#include "float/micro_kernels.h"
#include "float/micro_kernels/terms.h"

namespace shiftadd {
namespace cpu {

// The weights of the 16 codes of 4 bits.
// clang-format off
constexpr float kDecoded[16] = {
    0.0f, 1.0f,  0.5f,  0.25f,  0.125f,  0.0625f,  0.03125f,  0.015625f,
    0.0f, -1.0f, -0.5f, -0.25f, -0.125f, -0.0625f, -0.03125f, -0.015625f};
// clang-format on

// Outputs [first, first + count), count at most kLanes.
template <typename Vector>
SHIFTADD_INLINE void shift_few_rows(const ShiftRowsArguments& call, size_t first, size_t count) {
  using Register = typename Vector::Register;
  constexpr size_t kRowsAtOnce = 4;
  const size_t row_bytes = call.terms / 2;
  const uint8_t* w = reinterpret_cast<const uint8_t*>(call.w) + first * row_bytes;
  float totals[Vector::kLanes] = {};
  for (size_t row = 0; row < count; row += kRowsAtOnce) {
    const size_t left = count - row;
    const uint8_t* rows[kRowsAtOnce];
    Register sums[kRowsAtOnce];
    SHIFTADD_UNROLL(4)
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      rows[r] = w + (row + (r < left ? r : left - 1)) * row_bytes;
      sums[r] = Vector::broadcast(0.0f);
    }
    for (size_t k = 0; k < call.terms; k += Vector::kLanes) {
      const Register x = Vector::load(call.x + k);
      SHIFTADD_UNROLL(4)
      for (size_t r = 0; r < kRowsAtOnce; ++r) {
        sums[r] = Vector::multiply_add(x, Vector::decode(rows[r] + k / 2), sums[r]);
      }
    }
    for (size_t r = 0; r < kRowsAtOnce && r < left; ++r) {
      float lanes[Vector::kLanes];
      Vector::store(lanes, sums[r]);
      for (size_t i = 0; i < Vector::kLanes; ++i) totals[row + r] += lanes[i];
    }
  }
  const bool all = count == Vector::kLanes;
  const float* scale = call.epilogue.scale + first;
  const float* bias = call.epilogue.bias + first;
  const Register y = activate<Vector>(
      Vector::multiply_add(all ? Vector::load(scale) : Vector::load_front(scale, count),
                           Vector::load(totals),
                           all ? Vector::load(bias) : Vector::load_front(bias, count)),
      call.epilogue.activation);
  store_within<Vector>(call.y + first, y, count);
}

template <typename Vector>
void shift_rows(const ShiftRowsArguments& call) {
  for (size_t first = 0; first < call.rows; first += Vector::kLanes) {
    const size_t left = call.rows - first;
    shift_few_rows<Vector>(call, first, left < Vector::kLanes ? left : Vector::kLanes);
  }
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_SHIFT_ROWS_H_
