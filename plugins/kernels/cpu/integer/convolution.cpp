// Packing, the change of layout, and the choice between register tiles and depthwise pixels.
#include "integer/convolution.h"

#include <algorithm>
#include <cmath>

#include "common/rounding.h"
#include "integer/panel_packer.h"

namespace shiftadd {
namespace cpu {
namespace {

// The weights of the shift are in units of 1/64.
constexpr double kShiftUnits = 64.0;

// Sums of a depthwise row that are kept at a time, few enough for a level-1 cache.
constexpr int64_t kDepthwiseSums = 2048;

int32_t weight_value(OperatorKind kind, uint8_t code) {
  return is_shift(kind) ? static_cast<int8_t>(code) : code;
}

// to[c][r] = from[r][c], both dense, for rows [begin, end); in squares that stay in cache.
void transpose(const uint8_t* from, uint8_t* to, int64_t rows, int64_t columns, int64_t begin,
               int64_t end) {
  constexpr int64_t kSquare = 32;
  for (int64_t top = begin; top < end; top += kSquare) {
    const int64_t bottom = std::min(top + kSquare, end);
    for (int64_t left = 0; left < columns; left += kSquare) {
      const int64_t right = std::min(left + kSquare, columns);
      for (int64_t r = top; r < bottom; ++r) {
        for (int64_t c = left; c < right; ++c) to[c * rows + r] = from[r * columns + c];
      }
    }
  }
}

// The same for each of `images` matrices.
void transpose_images(const uint8_t* from, uint8_t* to, int64_t images, int64_t rows,
                      int64_t columns, ParallelRunner& runner) {
  constexpr int64_t kTaskBytes = 1 << 16;
  const int64_t task_rows = divide_up(kTaskBytes, std::max<int64_t>(columns, 1));
  const int64_t tasks = divide_up(rows, task_rows);
  parallel_for(runner, static_cast<size_t>(images * tasks), [&](size_t task) {
    const int64_t offset = static_cast<int64_t>(task) / tasks * rows * columns;
    const int64_t begin = static_cast<int64_t>(task) % tasks * task_rows;
    transpose(from + offset, to + offset, rows, columns, begin, std::min(begin + task_rows, rows));
  });
}

}  // namespace

IntegerConvolution::IntegerConvolution(OperatorKind kind, const IntegerKernels& kernels,
                                       const ConvGeometry& geometry, const uint8_t* weights)
    : kind_(kind),
      kernels_(kernels),
      depthwise_(geometry.group_channels == 1 && geometry.group_out_channels == 1),
      weight_sums_(static_cast<size_t>(geometry.out_channels)) {
  if (depthwise_) {
    pack_depthwise(geometry, weights);
  } else {
    pack_panels(geometry, weights);
  }
  if (!is_shift(kind)) return;
  for (int64_t m = 0; m < geometry.out_channels; ++m) {
    for (int64_t k = 0; k < geometry.terms; ++k) {
      weight_sums_[m] += weight_value(kind, weights[m * geometry.terms + k]);
    }
  }
}

// Reorders the terms of a sum from (c, kh, kw) to the order of the pixels: (kh, kw, c).
void IntegerConvolution::pack_panels(const ConvGeometry& g, const uint8_t* weights) {
  const IntegerTile& tile = this->tile();
  const int64_t channels = static_cast<int64_t>(tile.channels);
  const int64_t registers = static_cast<int64_t>(tile.registers);
  const int64_t depth = static_cast<int64_t>(tile.depth);
  const int64_t row = packed_terms(tile, g.terms) * channels;
  const int64_t group_bytes = divide_up(g.group_out_channels, channels) * row;
  const int64_t taps = g.kernel_height * g.kernel_width;
  panels_.assign(static_cast<size_t>(g.group * group_bytes), 0);
  for (int64_t m = 0; m < g.out_channels; ++m) {
    const int64_t in_group = m % g.group_out_channels;
    const int64_t channel = in_group % channels;
    const int64_t slot = channel % registers * (channels / registers) + channel / registers;
    uint8_t* panel = panels_.data() + m / g.group_out_channels * group_bytes +
                     in_group / channels * row + slot * depth;
    for (int64_t k = 0; k < g.terms; ++k) {
      const int64_t to = k % taps * g.group_channels + k / taps;
      panel[to / depth * channels * depth + to % depth] = weights[m * g.terms + k];
    }
  }
}

DepthwiseWeights IntegerConvolution::depthwise_form() const {
  return is_shift(kind_) ? kernels_.shift_depthwise_weights : kernels_.adder_depthwise_weights;
}

// The words from one row of weights to the next.
int64_t IntegerConvolution::depthwise_row(const ConvGeometry& g) const {
  const int64_t channels = g.channels + static_cast<int64_t>(kDepthwiseRepeat);
  switch (depthwise_form()) {
    case DepthwiseWeights::kWords: break;
    case DepthwiseWeights::kFours: return 2 * channels;
    case DepthwiseWeights::kBytes: return divide_up(channels, int64_t{2});
  }
  return channels;
}

void IntegerConvolution::pack_depthwise(const ConvGeometry& g, const uint8_t* weights) {
  switch (depthwise_form()) {
    case DepthwiseWeights::kWords: return pack_depthwise_words(g, weights);
    case DepthwiseWeights::kFours: return pack_depthwise_fours(g, weights);
    case DepthwiseWeights::kBytes: return pack_depthwise_bytes(g, weights);
  }
}

void IntegerConvolution::pack_depthwise_words(const ConvGeometry& g, const uint8_t* weights) {
  const int64_t row = depthwise_row(g);
  depthwise_weights_.resize(static_cast<size_t>(g.terms * row));
  for (int64_t k = 0; k < g.terms; ++k) {
    for (int64_t i = 0; i < row; ++i) {
      const uint8_t weight = weights[i % g.out_channels * g.terms + k];
      depthwise_weights_[k * row + i] = static_cast<int16_t>(weight_value(kind_, weight));
    }
  }
}

// Four taps of a channel take, as bytes, the place of two weights. Taps beyond the last have the
// weight 0.
void IntegerConvolution::pack_depthwise_fours(const ConvGeometry& g, const uint8_t* weights) {
  const int64_t row = depthwise_row(g);
  depthwise_weights_.assign(static_cast<size_t>(divide_up(g.terms, int64_t{4}) * row), 0);
  for (int64_t k = 0; k < g.terms; ++k) {
    for (int64_t i = 0; i < row / 2; ++i) {
      const uint32_t weight = weights[i % g.out_channels * g.terms + k];
      int16_t& pair = depthwise_weights_[k / 4 * row + 2 * i + k % 4 / 2];
      pair = static_cast<int16_t>(static_cast<uint16_t>(pair) | weight << (k % 2 * 8));
    }
  }
}

void IntegerConvolution::pack_depthwise_bytes(const ConvGeometry& g, const uint8_t* weights) {
  const int64_t row = depthwise_row(g);
  depthwise_weights_.resize(static_cast<size_t>(g.terms * row));
  uint8_t* bytes = reinterpret_cast<uint8_t*>(depthwise_weights_.data());
  for (int64_t k = 0; k < g.terms; ++k) {
    for (int64_t i = 0; i < 2 * row; ++i) {
      bytes[2 * k * row + i] = weights[i % g.out_channels * g.terms + k];
    }
  }
}

// What the kernels take from each code of x before they multiply.
int32_t IntegerConvolution::x_offset() const {
  if (!is_shift(kind_)) return 0;
  const bool centred = depthwise_ ? depthwise_form() == DepthwiseWeights::kBytes : tile().centred;
  return centred ? 128 : 0;
}

void IntegerConvolution::run(const ConvGeometry& geometry, const IntegerConvTensors& tensors,
                             const Quantization& quantization, Activation activation, Layout layout,
                             ParallelRunner& runner) const {
  const ConvGeometry& g = geometry;
  if (g.batch == 0) return;
  Call call = {
      g,
      tensors.x,
      tensors.y,
      quantization.x_zero_point,
      {},
      {},
      tensors.bias,
      {activation, 1.0f / quantization.y_scale, static_cast<float>(quantization.y_zero_point),
       std::isfinite(1.0f / quantization.y_scale)}};
  const double unit = is_shift(kind_) ? quantization.x_scale / kShiftUnits : -quantization.x_scale;
  call.multiplier.reserve(static_cast<size_t>(g.out_channels));
  call.start.reserve(static_cast<size_t>(g.out_channels));
  for (int64_t m = 0; m < g.out_channels; ++m) {
    call.multiplier.push_back(static_cast<float>(tensors.scale[m] * unit));
    call.requantization.finite &=
        std::isfinite(call.multiplier.back()) && std::isfinite(tensors.bias[m]);
    call.start.push_back((x_offset() - quantization.x_zero_point) * weight_sums_[m]);
  }
  if (layout == Layout::kNhwc) {
    run_channels_last(call, runner);
    return;
  }
  const int64_t pixels = g.height * g.width;
  const int64_t out_pixels = g.out_height * g.out_width;
  std::vector<uint8_t> x(static_cast<size_t>(g.batch * pixels * g.channels));
  std::vector<uint8_t> y(static_cast<size_t>(g.batch * out_pixels * g.out_channels));
  transpose_images(tensors.x, x.data(), g.batch, g.channels, pixels, runner);
  call.x = x.data();
  call.y = y.data();
  run_channels_last(call, runner);
  transpose_images(y.data(), tensors.y, g.batch, out_pixels, g.out_channels, runner);
}

void IntegerConvolution::run_channels_last(const Call& call, ParallelRunner& runner) const {
  if (depthwise_) {
    run_depthwise(call, runner);
  } else {
    run_tiles(call, runner);
  }
}

namespace {

// The pixels that the taps of one row's outputs read, where they are.
class DepthwiseTaps {
 public:
  // `padding` is as long as a row of pixels.
  DepthwiseTaps(const IntegerConvolution::Call& call, int64_t image, int64_t out_row,
                const uint8_t* padding)
      : g_(call.geometry),
        padding_(padding),
        rows_(static_cast<size_t>(g_.kernel_height)),
        taps_(static_cast<size_t>(g_.terms)) {
    int64_t row = out_row * g_.stride_height - g_.pad_top;
    for (const uint8_t*& pixels : rows_) {
      const bool inside = row >= 0 && row < g_.height;
      pixels = inside ? call.x + (image * g_.height + row) * g_.width * g_.channels : padding;
      row += g_.dilation_height;
    }
  }

  // How many outputs from this one on, out_end at the utmost, read taps that lie a stride further
  // from each to the next: those that touch no padding beside the rows, else one.
  int64_t run(int64_t out_column, int64_t out_end) const {
    const int64_t left = out_column * g_.stride_width - g_.pad_left;
    const int64_t right = left + (g_.kernel_width - 1) * g_.dilation_width;
    if (left < 0 || right >= g_.width) return 1;
    return std::min(out_end - out_column, (g_.width - 1 - right) / g_.stride_width + 1);
  }

  const uint8_t* const* of(int64_t out_column) {
    const int64_t left = out_column * g_.stride_width - g_.pad_left;
    const uint8_t** tap = taps_.data();
    for (const uint8_t* row : rows_) {
      int64_t column = left;
      for (int64_t j = 0; j < g_.kernel_width; ++j, column += g_.dilation_width) {
        const bool inside = column >= 0 && column < g_.width;
        *tap++ = inside ? row + column * g_.channels : padding_;
      }
    }
    return taps_.data();
  }

 private:
  const ConvGeometry& g_;
  const uint8_t* padding_;
  std::vector<const uint8_t*> rows_;
  std::vector<const uint8_t*> taps_;
};

}  // namespace

void IntegerConvolution::run_depthwise(const Call& call, ParallelRunner& runner) const {
  const ConvGeometry& g = call.geometry;
  const size_t channels = static_cast<size_t>(g.channels);
  const std::vector<uint8_t> padding(
      static_cast<size_t>(std::max<int64_t>(g.width, 1) * g.channels), call.x_zero_point);
  const IntegerDepthwiseKernel sum =
      is_shift(kind_) ? kernels_.shift_depthwise : kernels_.adder_depthwise;
  const int64_t most =
      std::max<int64_t>(1, std::min<int64_t>(g.out_width, kDepthwiseSums / g.channels));
  const size_t pixel_step = static_cast<size_t>(g.stride_width) * channels;
  parallel_for(runner, static_cast<size_t>(g.batch * g.out_height), [&](size_t task) {
    DepthwiseTaps taps(call, static_cast<int64_t>(task) / g.out_height,
                       static_cast<int64_t>(task) % g.out_height, padding.data());
    std::vector<int32_t> sums(static_cast<size_t>(most) * channels);
    for (int64_t begin = 0; begin < g.out_width; begin += most) {
      const int64_t end = std::min(begin + most, g.out_width);
      for (int64_t column = begin; column < end;) {
        const int64_t run = taps.run(column, end);
        sum({taps.of(column), pixel_step, depthwise_weights_.data(),
             static_cast<size_t>(depthwise_row(g)), static_cast<size_t>(g.terms), channels,
             static_cast<size_t>(run), sums.data() + (column - begin) * g.channels});
        column += run;
      }
      uint8_t* y = call.y + (static_cast<int64_t>(task) * g.out_width + begin) * g.channels;
      kernels_.requantize({sums.data(), channels, call.start.data(), call.multiplier.data(),
                           call.bias, static_cast<size_t>(end - begin), channels, y, channels,
                           call.requantization});
    }
  });
}

}  // namespace cpu
}  // namespace shiftadd
