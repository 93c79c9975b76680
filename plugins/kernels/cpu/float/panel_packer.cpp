#include "float/panel_packer.h"

#include <algorithm>

#include "common/rounding.h"

namespace shiftadd {
namespace cpu {
namespace {

// Smallest i >= 0 with i * step >= bound.
int64_t first_multiple(int64_t bound, int64_t step) {
  return bound <= 0 ? 0 : divide_up(bound, step);
}

// In wider rows a panel breaks so seldom that copying its runs is cheap, whereas a patch of whole
// rows would be expensive.
constexpr int64_t kWidestPatch = 128;

bool has_patches(const ConvGeometry& g) {
  const int64_t taps = g.kernel_height * g.kernel_width;
  return taps > 1 && taps <= PanelPacker::kMostTerms && g.stride_width == 1 &&
         g.stride_height <= g.kernel_height && g.out_width <= kWidestPatch &&
         (g.kernel_width - 1) * g.dilation_width <= kWidestPatch &&
         (g.kernel_height - 1) * g.dilation_height <= kWidestPatch;
}

}  // namespace

bool PanelPacker::reads_patches() const {
  return has_patches(geometry_) && geometry_.out_width % static_cast<int64_t>(kernels_.lanes) == 0;
}

PanelPacker::PanelPacker(const ConvGeometry& geometry, const MicroKernels& kernels, int64_t terms,
                         bool once)
    : geometry_(geometry),
      kernels_(kernels),
      terms_(static_cast<size_t>(terms)),
      taps_(static_cast<size_t>(geometry.kernel_height * geometry.kernel_width)),
      once_(once),
      rows_(terms_),
      patch_width_(static_cast<size_t>(geometry.out_width +
                                       (geometry.kernel_width - 1) * geometry.dilation_width)) {
  const size_t width = kernels.tile_vectors * kernels.lanes;
  if (!reads_patches()) panel_ = AlignedBuffer(terms_ * width + kernels.lanes);
  if (!has_patches(geometry)) return;
  for (int64_t row = 0; row < geometry.kernel_height; ++row) {
    for (int64_t column = 0; column < geometry.kernel_width; ++column) {
      tap_offsets_.push_back(static_cast<size_t>(row * geometry.dilation_height) * patch_width_ +
                             static_cast<size_t>(column * geometry.dilation_width));
    }
  }
}

PanelPacker::Way PanelPacker::choose_way() const {
  if (once_ && keeps_pixels(geometry_) && columns_ == stride_) return Way::kInPlace;
  if (!has_patches(geometry_)) return Way::kRuns;
  return reads_patches() ? Way::kPatches : Way::kCopiedPatches;
}

void PanelPacker::set_pixels(int64_t first, size_t columns) {
  const size_t lanes = kernels_.lanes;
  first_ = first;
  columns_ = columns;
  stride_ = (columns + lanes - 1) / lanes * lanes;
  way_ = choose_way();
  view_.rows = rows_.data();
  for (size_t v = 0; v < kLargestTileVectors; ++v) {
    view_.vectors[v] = static_cast<ptrdiff_t>(v * lanes);
  }
  switch (way_) {
    case Way::kInPlace: set_rows(static_cast<size_t>(geometry_.height * geometry_.width)); break;
    case Way::kPatches:
      set_patch(divide_up(static_cast<int64_t>(terms_), static_cast<int64_t>(taps_)));
      set_vectors();
      break;
    case Way::kCopiedPatches:
      set_patch(1);
      set_segments();
      set_rows(stride_);
      break;
    case Way::kRuns:
      set_runs();
      set_rows(stride_);
      break;
  }
}

PanelView PanelPacker::pack(const float* x, int64_t begin, int64_t end) {
  PanelView view = view_;
  view.x = panel_.data();
  switch (way_) {
    case Way::kInPlace: view.x = x + begin * geometry_.height * geometry_.width + first_; break;
    case Way::kPatches:
      pack_patches(x, begin, end);
      view.x = patches_.data();
      break;
    case Way::kCopiedPatches: pack_copied_patches(x, begin, end); break;
    case Way::kRuns: pack_runs(x, begin, end); break;
  }
  return view;
}

// Terms that lie `step` floats apart.
void PanelPacker::set_rows(size_t step) {
  for (size_t k = 0; k < terms_; ++k) rows_[k] = static_cast<ptrdiff_t>(k * step);
}

// Makes room for the patches of this many channels, with 0 wherever they lie outside the image.
void PanelPacker::set_patch(int64_t channels) {
  const ConvGeometry& g = geometry_;
  const int64_t width = static_cast<int64_t>(patch_width_);
  const int64_t first_row = first_ / g.out_width;
  const int64_t last_row = (first_ + static_cast<int64_t>(columns_) - 1) / g.out_width;
  const int64_t rows =
      (last_row - first_row) * g.stride_height + (g.kernel_height - 1) * g.dilation_height + 1;
  patch_floats_ = static_cast<size_t>(rows * width);
  patches_.assign(static_cast<size_t>(channels) * patch_floats_ + kernels_.lanes, 0.0f);
  const int64_t top = first_row * g.stride_height - g.pad_top;
  const int64_t row_begin = std::min(std::max<int64_t>(-top, 0), rows);
  const int64_t row_end = std::max(std::min(g.height - top, rows), row_begin);
  const int64_t column_begin = std::min(g.pad_left, width);
  const int64_t column_end = std::max(std::min(g.width + g.pad_left, width), column_begin);
  inside_ = static_cast<size_t>(row_begin * width + column_begin);
  inside_rows_ = static_cast<size_t>(row_end - row_begin);
  inside_columns_ = static_cast<size_t>(column_end - column_begin);
  inside_source_ = (top + row_begin) * g.width + column_begin - g.pad_left;
}

// Offset in a patch of the pixel that an output's first tap reads.
size_t PanelPacker::patch_offset(int64_t pixel) const {
  const int64_t row = pixel / geometry_.out_width - first_ / geometry_.out_width;
  return static_cast<size_t>(row * geometry_.stride_height) * patch_width_ +
         static_cast<size_t>(pixel % geometry_.out_width);
}

void PanelPacker::set_vectors() {
  for (size_t v = 0; v * kernels_.lanes < columns_; ++v) {
    const int64_t pixel = first_ + static_cast<int64_t>(v * kernels_.lanes);
    view_.vectors[v] = static_cast<ptrdiff_t>(patch_offset(pixel));
  }
  ptrdiff_t* row = rows_.data();
  for (size_t patch = 0; row != rows_.data() + terms_; patch += patch_floats_) {
    for (const size_t tap : tap_offsets_) *row++ = static_cast<ptrdiff_t>(patch + tap);
  }
}

void PanelPacker::set_segments() {
  segments_.clear();
  for (size_t column = 0; column < columns_;) {
    const int64_t pixel = first_ + static_cast<int64_t>(column);
    const size_t in_row = static_cast<size_t>(geometry_.out_width - pixel % geometry_.out_width);
    const size_t length = std::min(columns_ - column, in_row);
    segments_.push_back({column, patch_offset(pixel), length});
    column += length;
  }
}

void PanelPacker::copy_patch(const float* x, int64_t channel, float* patch) const {
  if (inside_rows_ == 0 || inside_columns_ == 0) return;
  kernels_.copy_rows({patch + inside_, patch_width_,
                      x + channel * geometry_.height * geometry_.width + inside_source_,
                      static_cast<size_t>(geometry_.width), 1, inside_columns_, inside_rows_});
}

void PanelPacker::pack_patches(const float* x, int64_t begin, int64_t end) {
  float* patch = patches_.data();
  const int64_t taps = static_cast<int64_t>(taps_);
  for (int64_t channel = begin / taps; channel * taps < end; ++channel, patch += patch_floats_) {
    copy_patch(x, channel, patch);
  }
}

void PanelPacker::pack_copied_patches(const float* x, int64_t begin, int64_t end) {
  const int64_t taps = static_cast<int64_t>(taps_);
  for (int64_t k = begin; k < end;) {
    const int64_t tap = k % taps;
    const int64_t count = std::min(taps - tap, end - k);
    copy_patch(x, k / taps, patches_.data());
    kernels_.copy_taps({panel_.data() + static_cast<size_t>(k - begin) * stride_, stride_,
                        patches_.data(), tap_offsets_.data() + tap, static_cast<size_t>(count),
                        segments_.data(), segments_.size(), columns_});
    k += count;
  }
}

void PanelPacker::set_runs() {
  runs_.clear();
  tap_ends_.clear();
  for (int64_t row = 0; row < geometry_.kernel_height; ++row) {
    for (int64_t column = 0; column < geometry_.kernel_width; ++column) {
      add_tap(row, column);
      tap_ends_.push_back(runs_.size());
    }
  }
}

void PanelPacker::add_zeros(size_t column, size_t length) {
  if (length != 0) runs_.push_back({column, length, kZeros});
}

void PanelPacker::add_tap(int64_t kernel_row, int64_t kernel_column) {
  const ConvGeometry& g = geometry_;
  const int64_t top = kernel_row * g.dilation_height - g.pad_top;
  const int64_t left = kernel_column * g.dilation_width - g.pad_left;
  const int64_t inside_begin = first_multiple(-left, g.stride_width);
  const int64_t inside_end = first_multiple(g.width - left, g.stride_width);
  size_t column = 0;
  int64_t out_row = first_ / g.out_width;
  int64_t out_column = first_ % g.out_width;
  for (; column < columns_; ++out_row, out_column = 0) {
    const int64_t left_over = static_cast<int64_t>(columns_ - column);
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
  add_zeros(columns_, stride_ - columns_);
}

// A run is copied for all channels before the next run, so that neighbouring copies have the same
// length and branch alike.
void PanelPacker::pack_runs(const float* x, int64_t begin, int64_t end) {
  const int64_t taps = static_cast<int64_t>(tap_ends_.size());
  const int64_t first_channel = begin / taps;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t channel_begin = first_channel + (begin % taps > tap);
    const int64_t channel_end = end / taps + (end % taps > tap);
    float* rows =
        panel_.data() + (channel_begin * taps + tap - begin) * static_cast<int64_t>(stride_);
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
  kernels_.copy_rows({to, row_step, x + channel_begin * plane + run.source,
                      static_cast<size_t>(plane), static_cast<size_t>(geometry_.stride_width),
                      run.length, count});
}

}  // namespace cpu
}  // namespace shiftadd
