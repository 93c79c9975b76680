// Depthwise convolution: rows of one channel, from a padded copy of a band of it that stays in
// cache.
#include <algorithm>
#include <cstring>
#include <vector>

#include "common/rounding.h"
#include "float/convolution.h"

namespace shiftadd {
namespace cpu {
namespace {

// Floats in a band: together with the outputs it fits a level-1 cache of 32 KiB.
constexpr int64_t kBandFloats = 6144;
// Terms in a task: enough of them make handing out a task cheap compared with the task.
constexpr int64_t kTaskTerms = 1 << 17;

// The padded copy keeps each row as stride_width phases, phase p holding the padded columns
// p, p + stride_width, ..: so the pixels that one tap reads for neighbouring outputs are
// neighbours.
class DepthwiseConvolution {
 public:
  DepthwiseConvolution(const MicroKernels& kernels, OperatorKind kind, const ConvGeometry& geometry,
                       const float* weights, const ConvTensors& tensors, Activation activation);

  size_t task_count() const {
    return static_cast<size_t>(divide_up(g_.batch * g_.out_channels, planes_per_task_));
  }
  void run_task(size_t task) const;

 private:
  void run_plane(int64_t plane, float* band) const;
  void copy_band(const float* x_plane, int64_t first_row, int64_t rows, float* band) const;
  void run_rows(int64_t channel, const float* band, int64_t rows, float* y) const;

  const DepthwiseKernel kernel_;
  const CopyKernel copy_rows_;
  const ConvGeometry& g_;
  const float* weights_;
  const ConvTensors& tensors_;
  const Activation activation_;
  int64_t phase_width_, row_floats_, band_rows_, band_out_rows_, band_floats_, planes_per_task_;
  std::vector<ptrdiff_t> offsets_;
};

DepthwiseConvolution::DepthwiseConvolution(const MicroKernels& kernels, OperatorKind kind,
                                           const ConvGeometry& geometry, const float* weights,
                                           const ConvTensors& tensors, Activation activation)
    : kernel_(kind == OperatorKind::kShiftConv ? kernels.shift_depthwise : kernels.adder_depthwise),
      copy_rows_(kernels.copy_rows),
      g_(geometry),
      weights_(weights),
      tensors_(tensors),
      activation_(activation) {
  const int64_t lanes = static_cast<int64_t>(kernels.lanes);
  const int64_t window = (g_.kernel_width - 1) * g_.dilation_width + 1;
  phase_width_ = divide_up((g_.out_width - 1) * g_.stride_width + window, g_.stride_width);
  row_floats_ = phase_width_ * std::min(g_.stride_width, window);
  const int64_t window_rows = (g_.kernel_height - 1) * g_.dilation_height + 1;
  const int64_t rows_that_fit = kBandFloats / row_floats_ - window_rows;
  band_out_rows_ =
      std::min(g_.out_height, std::max<int64_t>(rows_that_fit / g_.stride_height + 1, 1));
  band_rows_ = (band_out_rows_ - 1) * g_.stride_height + window_rows;
  band_floats_ = band_rows_ * row_floats_ + lanes;
  const int64_t plane_terms = std::max<int64_t>(g_.out_height * g_.out_width * g_.terms, 1);
  planes_per_task_ = divide_up(kTaskTerms, plane_terms);
  for (int64_t kernel_row = 0; kernel_row < g_.kernel_height; ++kernel_row) {
    for (int64_t kernel_column = 0; kernel_column < g_.kernel_width; ++kernel_column) {
      const int64_t column = kernel_column * g_.dilation_width;
      offsets_.push_back(kernel_row * g_.dilation_height * row_floats_ +
                         column % g_.stride_width * phase_width_ + column / g_.stride_width);
    }
  }
}

void DepthwiseConvolution::run_task(size_t task) const {
  AlignedBuffer band(static_cast<size_t>(band_floats_));
  // The band is cleared once for the whole task, because copy_band never writes the padded columns
  // and the slack.
  std::memset(band.data(), 0, static_cast<size_t>(band_floats_) * sizeof(float));
  const int64_t begin = static_cast<int64_t>(task) * planes_per_task_;
  const int64_t end = std::min(begin + planes_per_task_, g_.batch * g_.out_channels);
  for (int64_t plane = begin; plane < end; ++plane) run_plane(plane, band.data());
}

void DepthwiseConvolution::run_plane(int64_t plane, float* band) const {
  const int64_t image = plane / g_.out_channels;
  const int64_t channel = plane % g_.out_channels;
  const float* x =
      tensors_.x + (image * g_.channels + channel / g_.group_out_channels) * g_.height * g_.width;
  float* y = tensors_.y + plane * g_.out_height * g_.out_width;
  for (int64_t out_row = 0; out_row < g_.out_height; out_row += band_out_rows_) {
    const int64_t out_rows = std::min(band_out_rows_, g_.out_height - out_row);
    const int64_t first_row = out_row * g_.stride_height - g_.pad_top;
    const int64_t rows = band_rows_ - (band_out_rows_ - out_rows) * g_.stride_height;
    copy_band(x, first_row, rows, band);
    run_rows(channel, band, out_rows, y + out_row * g_.out_width);
  }
}

void DepthwiseConvolution::copy_band(const float* x_plane, int64_t first_row, int64_t rows,
                                     float* band) const {
  const int64_t begin_row = std::min(std::max<int64_t>(-first_row, 0), rows);
  const int64_t end_row = std::max(std::min(g_.height - first_row, rows), begin_row);
  const auto clear = [&](int64_t begin, int64_t end) {
    const int64_t floats = (end - begin) * row_floats_;
    std::memset(band + begin * row_floats_, 0, static_cast<size_t>(floats) * sizeof(float));
  };
  clear(0, begin_row);
  clear(end_row, rows);
  if (end_row == begin_row) return;
  float* to = band + begin_row * row_floats_;
  const float* x = x_plane + (first_row + begin_row) * g_.width;
  for (int64_t phase = 0; phase * phase_width_ < row_floats_; ++phase, to += phase_width_) {
    // Padded column phase + i * stride_width is column that - pad_left of x.
    const int64_t shift = g_.pad_left - phase;
    const int64_t begin =
        std::min(shift <= 0 ? 0 : divide_up(shift, g_.stride_width), phase_width_);
    const int64_t inside = g_.width + shift;
    const int64_t end =
        std::min(inside <= 0 ? 0 : divide_up(inside, g_.stride_width), phase_width_);
    if (end <= begin) continue;
    copy_rows_({to + begin, static_cast<size_t>(row_floats_), x + begin * g_.stride_width - shift,
                static_cast<size_t>(g_.width), static_cast<size_t>(g_.stride_width),
                static_cast<size_t>(end - begin), static_cast<size_t>(end_row - begin_row)});
  }
}

void DepthwiseConvolution::run_rows(int64_t channel, const float* band, int64_t rows,
                                    float* y) const {
  DepthwiseArguments call;
  call.x = band;
  call.x_stride = static_cast<size_t>(g_.stride_height * row_floats_);
  call.offsets = offsets_.data();
  call.w = weights_ + channel * g_.terms;
  call.taps = offsets_.size();
  call.y = y;
  call.rows = static_cast<size_t>(rows);
  call.columns = static_cast<size_t>(g_.out_width);
  call.epilogue = {tensors_.scale + channel, tensors_.bias + channel, activation_};
  kernel_(call);
}

}  // namespace

void Convolution::run_depthwise(const ConvGeometry& geometry, const ConvTensors& tensors,
                                Activation activation, ParallelRunner& runner) const {
  const DepthwiseConvolution convolution(kernels_, kind_, geometry, weights_.data(), tensors,
                                         activation);
  parallel_for(runner, convolution.task_count(), [&](size_t task) { convolution.run_task(task); });
}

}  // namespace cpu
}  // namespace shiftadd
