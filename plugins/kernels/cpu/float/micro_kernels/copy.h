// Copies of pixels: into a padded band of a depthwise channel, and into a panel for the tiles.
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_COPY_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_COPY_H_

#include <cstddef>
#include <cstring>

#include "common/unroll.h"
#include "float/micro_kernels.h"

namespace shiftadd {
namespace cpu {

// `count` floats, kLanes at most, `PixelStep` apart; nothing is read behind the last of them.
template <typename Vector, size_t PixelStep>
SHIFTADD_INLINE typename Vector::Register load_pixels(const float* p, size_t count) {
  constexpr size_t kLanes = Vector::kLanes;
  if (PixelStep == 1) return count == kLanes ? Vector::load(p) : Vector::load_front(p, count);
  const size_t floats = 2 * count - 1;
  const auto low = floats < kLanes ? Vector::load_front(p, floats) : Vector::load(p);
  if (floats < kLanes) return Vector::even(low, low);
  const float* last = p + kLanes - 1;
  const auto high =
      count == kLanes ? Vector::load(last) : Vector::load_front(last, floats - (kLanes - 1));
  return Vector::even(low, high);
}

// Rows of `Vectors` vectors, not all of the last: that one ends where the row does, over some of
// what is copied; a row that does not fill the only one is copied as far as it goes.
template <typename Vector, size_t PixelStep, size_t Vectors>
SHIFTADD_INLINE void copy_vectors(const CopyArguments& call) {
  static_assert(PixelStep <= 2, "load_pixels takes all pixels or every second");
  constexpr size_t kLanes = Vector::kLanes;
  const size_t length = call.length;
  const bool front = length < Vector::kLanes;
  const size_t last = front ? 0 : length - Vector::kLanes;
  float* to = call.to;
  const float* from = call.from;
  for (size_t row = 0; row < call.rows; ++row, to += call.to_step, from += call.from_step) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v + 1 < Vectors; ++v) {
      const size_t i = v * Vector::kLanes;
      Vector::store(to + i, load_pixels<Vector, PixelStep>(from + i * PixelStep, kLanes));
    }
    if (Vectors == 1 && front) {
      Vector::store_front(to, load_pixels<Vector, PixelStep>(from, length), length);
    } else {
      Vector::store(to + last, load_pixels<Vector, PixelStep>(from + last * PixelStep, kLanes));
    }
  }
}

template <typename Vector, size_t PixelStep>
SHIFTADD_INLINE bool copy_few_vectors(const CopyArguments& call) {
  switch ((call.length + Vector::kLanes - 1) / Vector::kLanes) {
    case 1: copy_vectors<Vector, PixelStep, 1>(call); return true;
    case 2: copy_vectors<Vector, PixelStep, 2>(call); return true;
    case 3: copy_vectors<Vector, PixelStep, 3>(call); return true;
    case 4: copy_vectors<Vector, PixelStep, 4>(call); return true;
    default: return false;
  }
}

template <typename Vector>
void copy_rows(const CopyArguments& call) {
  if (call.length == 0) return;
  if (call.pixel_step == 1 && copy_few_vectors<Vector, 1>(call)) return;
  if (call.pixel_step == 2 && copy_few_vectors<Vector, 2>(call)) return;
  for (size_t row = 0; row < call.rows; ++row) {
    float* to = call.to + row * call.to_step;
    const float* from = call.from + row * call.from_step;
    if (call.pixel_step == 1) {
      std::memcpy(to, from, call.length * sizeof(float));
    } else {
      for (size_t i = 0; i < call.length; ++i) to[i] = from[i * call.pixel_step];
    }
  }
}

template <typename Vector>
void copy_taps(const CopyTapsArguments& call) {
  float* to = call.to;
  for (size_t t = 0; t < call.tap_count; ++t, to += call.to_step) {
    const float* from = call.patch + call.taps[t];
    for (size_t s = 0; s < call.segment_count; ++s) {
      const PanelSegment segment = call.segments[s];
      for (size_t i = 0; i < segment.length; i += Vector::kLanes) {
        Vector::store(to + segment.column + i, Vector::load(from + segment.source + i));
      }
    }
    if (call.columns < call.to_step) Vector::store(to + call.columns, Vector::broadcast(0.0f));
  }
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_COPY_H_
