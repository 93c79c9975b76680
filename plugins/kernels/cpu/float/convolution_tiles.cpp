// Dense and grouped convolution: register tiles over packed weights and one panel of pixels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/rounding.h"
#include "float/convolution.h"
#include "float/panel_packer.h"

namespace shiftadd {
namespace cpu {
namespace {

// The most terms in a block: a longer sum is split, which keeps float32's rounding error from
// growing with its length.
constexpr int64_t kDepthBlock = PanelPacker::kMostTerms;
// The same where distances come from maxima, as nearly as whole channels allow: there a rounding
// error counts twice.
constexpr int64_t kMaximumDepthBlock = 64;
// Output channels in a task: enough of them make packing a panel cheap compared with using it.
constexpr int64_t kTaskChannels = 256;
// Terms in a task: enough of them make handing out a task cheap compared with the task.
constexpr int64_t kTaskTerms = 1 << 19;
// A panel of pixels that no more weight panels than this use is read in place where that is
// possible, and not packed.
constexpr int64_t kDirectWeightPanels = 3;
// With this many weight panels or more, the sums of a panel's pixels cost less than the maxima
// save.
constexpr int64_t kMaximumWeightPanels = 3;

int64_t tile_width(const MicroKernels& kernels) {
  return static_cast<int64_t>(kernels.tile_vectors * kernels.lanes);
}

// Terms in a block, about the same in every block of the sum. A block holds whole channels if one
// fits, as the patches of an image do. Packed weights depend on this number, so it must not depend
// on the size of the image.
int64_t depth_block(const ConvGeometry& g, bool by_maxima) {
  const int64_t most = by_maxima ? kMaximumDepthBlock : kDepthBlock;
  const int64_t taps = g.kernel_height * g.kernel_width;
  const int64_t unit = taps <= kDepthBlock ? taps : 1;
  const int64_t units = g.terms / unit;
  return divide_up(units, divide_up(units, std::max<int64_t>(most / unit, 1))) * unit;
}

// Where output pixel i reads input pixel i alone, the image is treated as one long row, so that the
// ends of rows do not break up a panel.
ConvGeometry flattened(const ConvGeometry& geometry) {
  ConvGeometry g = geometry;
  if (!keeps_pixels(g)) return g;
  g.width = g.out_width = g.height * g.width;
  g.height = g.out_height = 1;
  return g;
}

class TileConvolution {
 public:
  // `weight_sums` is null where maximum_tiles are not to be used.
  TileConvolution(const MicroKernels& kernels, OperatorKind kind, const ConvGeometry& geometry,
                  const float* weights, const float* weight_sums, const ConvTensors& tensors,
                  Activation activation);

  size_t task_count() const {
    return static_cast<size_t>(g_.batch * g_.group * channel_tasks_ * pixel_tasks_);
  }
  void run_task(size_t task) const;

 private:
  // Weight panels [begin, end) of one group of one image.
  struct Slice {
    int64_t image, group, panel_begin, panel_end;
  };
  struct Scratch {
    PanelPacker packer;
    AlignedBuffer partial;
    AlignedBuffer x_sums;
  };

  struct Pixels {
    int64_t first;
    size_t columns;
  };

  void run_pixels(const Slice& slice, const Pixels& pixels, Scratch& scratch) const;
  void run_block(const Slice& slice, const Pixels& pixels, int64_t depth_begin, const PanelView& x,
                 Scratch& scratch) const;
  // First pixel of a tile. The vectors are spread evenly over the tiles: a tile of a single vector
  // is far less efficient than two tiles that each lack one.
  int64_t tile_begin(int64_t tile) const {
    const int64_t vectors = tile * (vectors_ / tiles_) + std::min(tile, vectors_ % tiles_);
    return std::min(vectors * static_cast<int64_t>(kernels_.lanes), pixels_);
  }

  const MicroKernels& kernels_;
  const TileKernel* tile_kernels_;
  const ConvGeometry g_;
  const float* weights_;
  const float* weight_sums_;
  const ConvTensors& tensors_;
  const Activation activation_;
  const int64_t pixels_, tile_rows_, tile_width_, depth_block_;
  const int64_t weight_panels_, vectors_, tiles_;
  int64_t channel_tasks_, pixel_tasks_, panels_per_task_, tiles_per_task_;
};

TileConvolution::TileConvolution(const MicroKernels& kernels, OperatorKind kind,
                                 const ConvGeometry& geometry, const float* weights,
                                 const float* weight_sums, const ConvTensors& tensors,
                                 Activation activation)
    : kernels_(kernels),
      tile_kernels_(kind == OperatorKind::kShiftConv ? kernels.shift_tiles : kernels.adder_tiles),
      g_(flattened(geometry)),
      weights_(weights),
      weight_sums_(weight_sums),
      tensors_(tensors),
      activation_(activation),
      pixels_(g_.out_height * g_.out_width),
      tile_rows_(static_cast<int64_t>(kernels.tile_rows)),
      tile_width_(tile_width(kernels)),
      depth_block_(depth_block(g_, weight_sums != nullptr)),
      weight_panels_(divide_up(g_.group_out_channels, tile_rows_)),
      vectors_(divide_up(pixels_, static_cast<int64_t>(kernels.lanes))),
      tiles_(divide_up(pixels_, tile_width_)) {
  channel_tasks_ = divide_up(g_.group_out_channels, kTaskChannels);
  panels_per_task_ = divide_up(weight_panels_, channel_tasks_);
  channel_tasks_ = divide_up(weight_panels_, panels_per_task_);
  const int64_t tile_terms = panels_per_task_ * tile_rows_ * tile_width_ * g_.terms;
  tiles_per_task_ = std::min(tiles_, divide_up(kTaskTerms, tile_terms));
  pixel_tasks_ = divide_up(tiles_, tiles_per_task_);
}

void TileConvolution::run_task(size_t task) const {
  // Neighbouring tasks differ in their pixels alone, so that they share their weights.
  int64_t index = static_cast<int64_t>(task);
  const int64_t pixel_task = index % pixel_tasks_;
  index /= pixel_tasks_;
  const int64_t channel_task = index % channel_tasks_;
  index /= channel_tasks_;
  const int64_t panel_begin = channel_task * panels_per_task_;
  const Slice slice{index / g_.group, index % g_.group, panel_begin,
                    std::min(panel_begin + panels_per_task_, weight_panels_)};
  const size_t width = static_cast<size_t>(tile_width_);
  const size_t partial =
      g_.terms > depth_block_ ? static_cast<size_t>(panels_per_task_ * tile_rows_) * width : 0;
  const bool once = slice.panel_end - slice.panel_begin <= kDirectWeightPanels;
  Scratch scratch{PanelPacker(g_, kernels_, depth_block_, once), AlignedBuffer(partial),
                  AlignedBuffer(2 * width)};
  const int64_t end = std::min((pixel_task + 1) * tiles_per_task_, tiles_);
  for (int64_t tile = pixel_task * tiles_per_task_; tile < end; ++tile) {
    const int64_t first = tile_begin(tile);
    run_pixels(slice, {first, static_cast<size_t>(tile_begin(tile + 1) - first)}, scratch);
  }
}

void TileConvolution::run_pixels(const Slice& slice, const Pixels& pixels, Scratch& scratch) const {
  const float* x = tensors_.x + (slice.image * g_.channels + slice.group * g_.group_channels) *
                                    g_.height * g_.width;
  scratch.packer.set_pixels(pixels.first, pixels.columns);
  for (int64_t depth = 0; depth < g_.terms; depth += depth_block_) {
    const int64_t depth_end = std::min(depth + depth_block_, g_.terms);
    run_block(slice, pixels, depth, scratch.packer.pack(x, depth, depth_end), scratch);
  }
}

void TileConvolution::run_block(const Slice& slice, const Pixels& pixels, int64_t depth_begin,
                                const PanelView& x, Scratch& scratch) const {
  const int64_t depth = std::min(depth_block_, g_.terms - depth_begin);
  const int64_t padded_rows = weight_panels_ * tile_rows_;
  TileArguments tile;
  tile.x = x;
  tile.depth = static_cast<size_t>(depth);
  tile.load_partial = depth_begin != 0;
  tile.store_partial = depth_begin + depth < g_.terms;
  tile.columns = pixels.columns;
  tile.y_stride = static_cast<size_t>(pixels_);
  tile.epilogue.activation = activation_;
  const size_t vectors = (tile.columns + kernels_.lanes - 1) / kernels_.lanes;
  TileKernel run_tile = tile_kernels_[vectors - 1];
  const bool maxima =
      weight_sums_ != nullptr && slice.panel_end - slice.panel_begin >= kMaximumWeightPanels;
  if (maxima) {
    run_tile = kernels_.maximum_tiles[vectors - 1];
    tile.x_sums = scratch.x_sums.data();
    kernels_.sum_pixels({x, tile.depth, vectors, scratch.x_sums.data(), vectors * kernels_.lanes});
  }
  for (int64_t panel = slice.panel_begin; panel < slice.panel_end; ++panel) {
    const int64_t row = panel * tile_rows_;
    const int64_t channel = slice.group * g_.group_out_channels + row;
    tile.w =
        weights_ + slice.group * padded_rows * g_.terms + depth_begin * padded_rows + row * depth;
    if (maxima) {
      const int64_t blocks = divide_up(g_.terms, depth_block_);
      const int64_t block = slice.group * blocks + depth_begin / depth_block_;
      tile.w_sums = weight_sums_ + (block * weight_panels_ + panel) * 2 * tile_rows_;
    }
    tile.partial = scratch.partial.data() + (row - slice.panel_begin * tile_rows_) * tile_width_;
    tile.rows = static_cast<size_t>(std::min(tile_rows_, g_.group_out_channels - row));
    tile.y = tensors_.y + (slice.image * g_.out_channels + channel) * pixels_ + pixels.first;
    tile.epilogue.scale = tensors_.scale + channel;
    tile.epilogue.bias = tensors_.bias + channel;
    run_tile(tile);
  }
}

}  // namespace

void Convolution::pack_panels(const ConvGeometry& g, const float* weights) {
  const int64_t rows = static_cast<int64_t>(kernels_.tile_rows);
  const int64_t padded_rows = round_up(g.group_out_channels, rows);
  const bool by_maxima = kind_ == OperatorKind::kAdderConv && kernels_.sum_pixels != nullptr;
  const int64_t depth = depth_block(g, by_maxima);
  const size_t count = static_cast<size_t>(g.group * padded_rows * g.terms);
  weights_ = AlignedBuffer(count);
  std::memset(weights_.data(), 0, count * sizeof(float));
  for (int64_t m = 0; m < g.out_channels; ++m) {
    const int64_t row = m % g.group_out_channels;
    float* group = weights_.data() + m / g.group_out_channels * padded_rows * g.terms;
    for (int64_t begin = 0; begin < g.terms; begin += depth) {
      const int64_t terms = std::min(depth, g.terms - begin);
      float* packed = group + begin * padded_rows + row / rows * rows * terms + row % rows;
      const float* from = weights + m * g.terms + begin;
      for (int64_t k = 0; k < terms; ++k) packed[k * rows] = from[k];
    }
  }
  if (by_maxima) sum_weights(g);
}

void Convolution::sum_weights(const ConvGeometry& g) {
  const int64_t rows = static_cast<int64_t>(kernels_.tile_rows);
  const int64_t panels = divide_up(g.group_out_channels, rows);
  const int64_t depth = depth_block(g, true);
  const int64_t blocks = g.group * divide_up(g.terms, depth);
  weight_sums_ = AlignedBuffer(static_cast<size_t>(blocks * panels * 2 * rows));
  float* sums = weight_sums_.data();
  const float* w = weights_.data();
  for (int64_t i = 0; i < blocks * panels; ++i, sums += 2 * rows) {
    const int64_t begin = i / panels * depth % round_up(g.terms, depth);
    const int64_t terms = std::min(depth, g.terms - begin);
    bool all_finite = true;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < terms; ++k) {
        sum += w[k * rows + r];
        magnitude += std::fabs(w[k * rows + r]);
      }
      sums[r] = static_cast<float>(sum);
      sums[rows + r] = DistanceSums::limit(sums[r], static_cast<float>(magnitude));
      all_finite = all_finite && std::isfinite(sums[rows + r]);
    }
    // take_distances looks at the last row alone, so one weight that is not finite marks the whole
    // panel.
    if (!all_finite) std::fill(sums + rows, sums + 2 * rows, HUGE_VALF);
    w += terms * rows;
  }
}

void Convolution::run_tiles(const ConvGeometry& geometry, const ConvTensors& tensors,
                            Activation activation, ParallelRunner& runner) const {
  const TileConvolution convolution(kernels_, kind_, geometry, weights_.data(), weight_sums_.data(),
                                    tensors, activation);
  parallel_for(runner, convolution.task_count(), [&](size_t task) { convolution.run_task(task); });
}

}  // namespace cpu
}  // namespace shiftadd
