// Dense and grouped integer convolution: register tiles over packed weights.
#include <algorithm>

#include "integer_convolution.h"
#include "integer_panel.h"

namespace shiftadd {
namespace cpu {
namespace {

// Output channels a task: enough to make packing a panel cheap beside its use.
constexpr int64_t kTaskChannels = 256;
// Terms a task: enough to make handing out a task cheap beside the task.
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

  void run_pixels(const Slice& slice, int64_t first, int64_t count, IntegerPanel& panel,
                  int32_t* sums) const;
  void run_block(const Slice& slice, const uint8_t* x, size_t x_stride, int64_t begin,
                 int64_t length, int32_t* sums) const;
  void store(const Slice& slice, int64_t first, int64_t count, const int32_t* sums) const;

  const IntegerConvolution::Call& call_;
  const ConvGeometry& g_;
  const IntegerTile& tile_;
  const RequantizeKernel requantize_;
  const uint8_t* panels_;
  const int64_t pixels_, tile_pixels_, tile_channels_, row_terms_, weight_panels_;
  const bool in_place_;  // whether a full tile's pixels can be read where they are
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
      tile_pixels_(static_cast<int64_t>(tile.pixels)),
      tile_channels_(static_cast<int64_t>(tile.channels)),
      row_terms_(packed_terms(tile, g_.terms)),
      weight_panels_(divide_up(g_.group_out_channels, tile_channels_)),
      in_place_(keeps_pixels(g_) && !tile.interleaved && tile.sign_flip == 0 &&
                row_terms_ == g_.terms) {
  panels_per_task_ = divide_up(weight_panels_, divide_up(g_.group_out_channels, kTaskChannels));
  channel_tasks_ = divide_up(weight_panels_, panels_per_task_);
  const int64_t tiles = divide_up(pixels_, tile_pixels_);
  const int64_t tile_terms = panels_per_task_ * tile_channels_ * tile_pixels_ * row_terms_;
  tiles_per_task_ = std::min(tiles, divide_up(kTaskTerms, tile_terms));
  pixel_tasks_ = divide_up(tiles, tiles_per_task_);
}

void IntegerTileConvolution::run_task(size_t task) const {
  // Tasks beside each other share their weights: only the pixels change.
  int64_t index = static_cast<int64_t>(task);
  const int64_t first = index % pixel_tasks_ * tiles_per_task_ * tile_pixels_;
  index /= pixel_tasks_;
  const int64_t begin = index % channel_tasks_ * panels_per_task_;
  index /= channel_tasks_;
  const Slice slice{index / g_.group, index % g_.group, begin,
                    std::min(begin + panels_per_task_, weight_panels_)};
  IntegerPanel panel(call_, tile_);
  std::vector<int32_t> sums(
      static_cast<size_t>((slice.end - slice.begin) * tile_pixels_ * tile_channels_));
  const int64_t end = std::min(first + tiles_per_task_ * tile_pixels_, pixels_);
  for (int64_t pixel = first; pixel < end; pixel += tile_pixels_) {
    run_pixels(slice, pixel, std::min(tile_pixels_, end - pixel), panel, sums.data());
  }
}

void IntegerTileConvolution::run_pixels(const Slice& slice, int64_t first, int64_t count,
                                        IntegerPanel& panel, int32_t* sums) const {
  const int64_t block = static_cast<int64_t>(tile_.most_steps * tile_.depth);
  const bool direct = in_place_ && count == tile_pixels_;
  for (int64_t begin = 0; begin < row_terms_; begin += block) {
    const int64_t length = std::min(block, row_terms_ - begin);
    if (direct) {
      const uint8_t* pixels = call_.x + (slice.image * pixels_ + first) * g_.channels +
                              slice.group * g_.group_channels;
      run_block(slice, pixels + begin, static_cast<size_t>(g_.channels), begin, length, sums);
    } else {
      panel.pack(slice.image, slice.group, first, count, begin, begin + length);
      run_block(slice, panel.data(), panel.row_stride(), begin, length, sums);
    }
  }
  store(slice, first, count, sums);
}

void IntegerTileConvolution::run_block(const Slice& slice, const uint8_t* x, size_t x_stride,
                                       int64_t begin, int64_t length, int32_t* sums) const {
  const int64_t depth = static_cast<int64_t>(tile_.depth);
  for (int64_t i = slice.begin; i < slice.end; ++i) {
    const uint8_t* w = panels_ + ((slice.group * weight_panels_ + i) * row_terms_ + begin) *
                                     tile_channels_;
    tile_.run({x, x_stride, w, static_cast<size_t>(length / depth),
               sums + (i - slice.begin) * tile_pixels_ * tile_channels_, begin != 0});
  }
}

void IntegerTileConvolution::store(const Slice& slice, int64_t first, int64_t count,
                                   const int32_t* sums) const {
  for (int64_t i = slice.begin; i < slice.end; ++i) {
    const int64_t row = i * tile_channels_;
    const int64_t channel = slice.group * g_.group_out_channels + row;
    const int64_t channels = std::min(tile_channels_, g_.group_out_channels - row);
    uint8_t* y = call_.y + (slice.image * pixels_ + first) * g_.out_channels + channel;
    for (int64_t p = 0; p < count; ++p) {
      requantize_({sums + ((i - slice.begin) * tile_pixels_ + p) * tile_channels_,
                   call_.start.data() + channel, call_.multiplier.data() + channel,
                   call_.bias + channel, static_cast<size_t>(channels), y + p * g_.out_channels,
                   call_.requantization});
    }
  }
}

}  // namespace

void IntegerConvolution::run_tiles(const Call& call, ParallelRunner& runner) const {
  const IntegerTileConvolution convolution(call, tile(), kernels_.requantize, panels_.data());
  parallel_for(runner, convolution.task_count(),
               [&](size_t task) { convolution.run_task(task); });
}

}  // namespace cpu
}  // namespace shiftadd
