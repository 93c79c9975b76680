// Dense and grouped integer convolution: register tiles over packed weights.
#include <algorithm>

#include "integer/convolution.h"
#include "integer/panel_packer.h"

namespace shiftadd {
namespace cpu {
namespace {

// Output channels in a task: enough of them make packing a panel cheap compared with using it.
constexpr int64_t kTaskChannels = 256;
// Terms in a task: enough of them make handing out a task cheap compared with the task.
constexpr int64_t kTaskTerms = 1 << 20;

class IntegerTileConvolution {
 public:
  IntegerTileConvolution(const IntegerConvolution::Call& call, const IntegerTile& tile,
                         RequantizeKernel requantize, const uint8_t* panels);

  size_t task_count() const {
    return static_cast<size_t>(g_.batch * g_.group * channel_tasks_ * pixel_tasks_);
  }
  void run_task(size_t task) const;

 private:
  // Weight panels [begin, end) of one group of one image.
  struct Slice {
    int64_t image, group, begin, end;
  };

  // Output pixels [first, first + count), at most as many as the tile takes.
  struct Pixels {
    int64_t first, count;
  };

  void run_pixels(const Slice& slice, const Pixels& pixels, IntegerPanel& panel,
                  int32_t* sums) const;
  void run_block(const Slice& slice, const Pixels& pixels, const uint8_t* x, size_t x_stride,
                 int64_t begin, int64_t steps, int32_t* sums) const;
  void store(const Slice& slice, const Pixels& pixels, const int32_t* sums) const;
  // First pixel of a tile. The pixels are spread evenly over the tiles, because a tile with few of
  // them is less efficient.
  int64_t tile_begin(int64_t tile) const {
    return tile * tile_pixels_ + std::min(tile, larger_tiles_);
  }
  // The distance from one pixel's sums to the next pixel's.
  size_t sums_stride(const Slice& slice) const {
    return static_cast<size_t>((slice.end - slice.begin) * tile_channels_);
  }

  const IntegerConvolution::Call& call_;
  const ConvGeometry& g_;
  const IntegerTile& tile_;
  const RequantizeKernel requantize_;
  const uint8_t* panels_;
  const int64_t pixels_, tiles_, tile_channels_, row_terms_, weight_panels_;
  const int64_t row_steps_;
  const int64_t tile_pixels_, larger_tiles_;  // so many tiles have a pixel more
  const bool in_place_;                       // whether a tile's pixels can be read where they are
  int64_t panels_per_task_, channel_tasks_, tiles_per_task_, pixel_tasks_;
};

IntegerTileConvolution::IntegerTileConvolution(const IntegerConvolution::Call& call,
                                               const IntegerTile& tile, RequantizeKernel requantize,
                                               const uint8_t* panels)
    : call_(call),
      g_(call.geometry),
      tile_(tile),
      requantize_(requantize),
      panels_(panels),
      pixels_(g_.out_height * g_.out_width),
      tiles_(divide_up(pixels_, static_cast<int64_t>(tile.pixels))),
      tile_channels_(static_cast<int64_t>(tile.channels)),
      row_terms_(packed_terms(tile, g_.terms)),
      weight_panels_(divide_up(g_.group_out_channels, tile_channels_)),
      row_steps_(row_terms_ / static_cast<int64_t>(tile.depth)),
      tile_pixels_(pixels_ / tiles_),
      larger_tiles_(pixels_ % tiles_),
      in_place_(keeps_pixels(g_) && !tile.interleave && row_terms_ == g_.terms) {
  panels_per_task_ = divide_up(weight_panels_, divide_up(g_.group_out_channels, kTaskChannels));
  channel_tasks_ = divide_up(weight_panels_, panels_per_task_);
  const int64_t tile_terms =
      panels_per_task_ * tile_channels_ * static_cast<int64_t>(tile.pixels) * row_terms_;
  tiles_per_task_ = std::min(tiles_, divide_up(kTaskTerms, tile_terms));
  pixel_tasks_ = divide_up(tiles_, tiles_per_task_);
}

void IntegerTileConvolution::run_task(size_t task) const {
  // Neighbouring tasks differ in their pixels alone, so that they share their weights.
  int64_t index = static_cast<int64_t>(task);
  const int64_t first = index % pixel_tasks_ * tiles_per_task_;
  index /= pixel_tasks_;
  const int64_t begin = index % channel_tasks_ * panels_per_task_;
  index /= channel_tasks_;
  const Slice slice{index / g_.group, index % g_.group, begin,
                    std::min(begin + panels_per_task_, weight_panels_)};
  IntegerPanel panel(call_, tile_);
  std::vector<int32_t> sums(tile_.pixels * sums_stride(slice));
  const int64_t end = std::min(first + tiles_per_task_, tiles_);
  for (int64_t tile = first; tile < end; ++tile) {
    const int64_t pixel = tile_begin(tile);
    run_pixels(slice, {pixel, tile_begin(tile + 1) - pixel}, panel, sums.data());
  }
}

void IntegerTileConvolution::run_pixels(const Slice& slice, const Pixels& pixels,
                                        IntegerPanel& panel, int32_t* sums) const {
  const int64_t depth = static_cast<int64_t>(tile_.depth);
  const int64_t most = static_cast<int64_t>(tile_.most_steps);
  for (int64_t step = 0; step < row_steps_; step += most) {
    const int64_t steps = std::min(most, row_steps_ - step);
    const int64_t begin = step * depth;
    if (in_place_) {
      const uint8_t* x = call_.x + (slice.image * pixels_ + pixels.first) * g_.channels +
                         slice.group * g_.group_channels;
      run_block(slice, pixels, x + begin, static_cast<size_t>(g_.channels), begin, steps, sums);
    } else {
      panel.pack(slice.image, slice.group, pixels.first, pixels.count, begin,
                 begin + steps * depth);
      run_block(slice, pixels, panel.data(), panel.row_stride(), begin, steps, sums);
    }
  }
  store(slice, pixels, sums);
}

void IntegerTileConvolution::run_block(const Slice& slice, const Pixels& pixels, const uint8_t* x,
                                       size_t x_stride, int64_t begin, int64_t steps,
                                       int32_t* sums) const {
  const size_t count = static_cast<size_t>(pixels.count);
  const int64_t panel_bytes = row_terms_ * tile_channels_;
  const int64_t most = static_cast<int64_t>(tile_.panels);
  for (int64_t i = slice.begin; i < slice.end; i += most) {
    const int64_t panels = std::min(most, slice.end - i);
    const uint8_t* w =
        panels_ + (slice.group * weight_panels_ + i) * panel_bytes + begin * tile_channels_;
    tile_.run[panels - 1][count - 1](
        {x, x_stride, w, static_cast<size_t>(panel_bytes), static_cast<size_t>(steps),
         sums + (i - slice.begin) * tile_channels_, sums_stride(slice), begin != 0});
  }
}

void IntegerTileConvolution::store(const Slice& slice, const Pixels& pixels,
                                   const int32_t* sums) const {
  const int64_t row = slice.begin * tile_channels_;
  const int64_t channel = slice.group * g_.group_out_channels + row;
  const int64_t end = std::min(slice.end * tile_channels_, g_.group_out_channels);
  uint8_t* y = call_.y + (slice.image * pixels_ + pixels.first) * g_.out_channels + channel;
  requantize_({sums, sums_stride(slice), call_.start.data() + channel,
               call_.multiplier.data() + channel, call_.bias + channel,
               static_cast<size_t>(pixels.count), static_cast<size_t>(end - row), y,
               static_cast<size_t>(g_.out_channels), call_.requantization});
}

}  // namespace

void IntegerConvolution::run_tiles(const Call& call, ParallelRunner& runner) const {
  const IntegerTileConvolution convolution(call, tile(), kernels_.requantize, panels_.data());
  parallel_for(runner, convolution.task_count(), [&](size_t task) { convolution.run_task(task); });
}

}  // namespace cpu
}  // namespace shiftadd
