#include "panel_packer.h"

#include <algorithm>

#include "integer_math.h"

namespace shiftadd {
namespace cpu {
namespace {

// Smallest i >= 0 with i * step >= bound.
int64_t first_multiple(int64_t bound, int64_t step) {
  return bound <= 0 ? 0 : divide_up(bound, step);
}

}  // namespace

void PanelPacker::add_zeros(size_t column, size_t length) {
  if (length != 0) runs_.push_back({column, length, kZeros});
}

void PanelPacker::add_tap(int64_t first, size_t columns, int64_t kernel_row,
                          int64_t kernel_column) {
  const ConvGeometry& g = geometry_;
  const int64_t top = kernel_row * g.dilation_height - g.pad_top;
  const int64_t left = kernel_column * g.dilation_width - g.pad_left;
  const int64_t inside_begin = first_multiple(-left, g.stride_width);
  const int64_t inside_end = first_multiple(g.width - left, g.stride_width);
  size_t column = 0;
  int64_t out_row = first / g.out_width;
  int64_t out_column = first % g.out_width;
  for (; column < columns; ++out_row, out_column = 0) {
    const int64_t left_over = static_cast<int64_t>(columns - column);
    const int64_t out_end = std::min(g.out_width, out_column + left_over);
    const int64_t row = out_row * g.stride_height + top;
    const size_t length = static_cast<size_t>(out_end - out_column);
    int64_t copy_begin = std::min(std::max(inside_begin, out_column), out_end);
    const int64_t copy_end = std::min(std::max(inside_end, copy_begin), out_end);
    if (row < 0 || row >= g.height) copy_begin = copy_end;
    if (copy_begin == copy_end) {
      add_zeros(column, length);
    } else {
      const size_t begin = column + static_cast<size_t>(copy_begin - out_column);
      const size_t end = column + static_cast<size_t>(copy_end - out_column);
      add_zeros(column, begin - column);
      runs_.push_back({begin, end - begin, row * g.width + copy_begin * g.stride_width + left});
      add_zeros(end, column + length - end);
    }
    column += length;
  }
  add_zeros(columns, stride_ - columns);
}

void PanelPacker::set_pixels(int64_t first, size_t columns, size_t stride) {
  stride_ = stride;
  runs_.clear();
  tap_ends_.clear();
  for (int64_t row = 0; row < geometry_.kernel_height; ++row) {
    for (int64_t column = 0; column < geometry_.kernel_width; ++column) {
      add_tap(first, columns, row, column);
      tap_ends_.push_back(runs_.size());
    }
  }
}

// A run is copied for all channels before the next run: its length, on which the copy's course
// depends, then stays the same from copy to copy.
void PanelPacker::pack(const float* x, int64_t begin, int64_t end, float* panel) const {
  const int64_t taps = static_cast<int64_t>(tap_ends_.size());
  const int64_t first_channel = begin / taps;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t channel_begin = first_channel + (begin % taps > tap);
    const int64_t channel_end = end / taps + (end % taps > tap);
    float* rows = panel + (channel_begin * taps + tap - begin) * static_cast<int64_t>(stride_);
    for (size_t i = tap == 0 ? 0 : tap_ends_[tap - 1]; i < tap_ends_[tap]; ++i) {
      pack_run(runs_[i], x, channel_begin, channel_end, rows);
    }
  }
}

void PanelPacker::pack_run(const Run& run, const float* x, int64_t channel_begin,
                           int64_t channel_end, float* rows) const {
  if (channel_end <= channel_begin) return;
  const int64_t plane = geometry_.height * geometry_.width;
  const size_t row_step = tap_ends_.size() * stride_;
  const size_t count = static_cast<size_t>(channel_end - channel_begin);
  float* to = rows + run.column;
  if (run.source == kZeros) {
    for (size_t i = 0; i < count; ++i, to += row_step) std::fill(to, to + run.length, 0.0f);
    return;
  }
  copy_rows_({to, row_step, x + channel_begin * plane + run.source, static_cast<size_t>(plane),
              static_cast<size_t>(geometry_.stride_width), run.length, count});
}

}  // namespace cpu
}  // namespace shiftadd
