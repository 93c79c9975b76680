#include "integer_panel.h"

#include <algorithm>
#include <cstring>

namespace shiftadd {
namespace cpu {

IntegerPanel::IntegerPanel(const IntegerConvolution::Call& call, const IntegerTile& tile)
    : call_(call), tile_(tile) {
  const int64_t most = static_cast<int64_t>(tile.most_steps * tile.depth);
  row_stride_ = static_cast<size_t>(std::min(packed_terms(tile, call.geometry.terms), most));
  row_.resize(row_stride_);
  panel_.resize(tile.pixels * row_stride_ * (tile.interleaved ? kRepeat : 1));
}

void IntegerPanel::pack(int64_t image, int64_t group, int64_t first, int64_t count, int64_t begin,
                        int64_t end) {
  for (int64_t p = 0; p < static_cast<int64_t>(tile_.pixels); ++p) {
    if (p < count) pack_row(image, group, first + p, begin, end);
    if (tile_.interleaved) {
      interleave(p, end - begin);
    } else {
      std::copy(row_.begin(), row_.begin() + (end - begin), panel_.begin() + p * row_stride_);
    }
  }
}

void IntegerPanel::pack_row(int64_t image, int64_t group, int64_t pixel, int64_t begin,
                            int64_t end) {
  uint8_t* const row = row_.data();
  const ConvGeometry& g = call_.geometry;
  const int64_t inside = std::min(end, g.terms);
  for (int64_t k = begin; k < inside;) {
    const int64_t channel = k % g.group_channels;
    const int64_t length = std::min(g.group_channels - channel, inside - k);
    const uint8_t* from = input_pixel(call_, image, pixel / g.out_width, pixel % g.out_width,
                                      k / g.group_channels);
    if (from != nullptr) {
      std::memcpy(row + (k - begin), from + group * g.group_channels + channel,
                  static_cast<size_t>(length));
    } else {
      std::memset(row + (k - begin), call_.x_zero_point, static_cast<size_t>(length));
    }
    k += length;
  }
  // The weights are 0 there: so a byte of 0 adds nothing, neither as a factor nor as a distance.
  const int64_t written = std::max(inside, begin) - begin;
  std::memset(row + written, 0, static_cast<size_t>(end - begin - written));
  if (tile_.sign_flip == 0) return;
  for (int64_t i = 0; i < end - begin; ++i) row[i] ^= tile_.sign_flip;
}

void IntegerPanel::interleave(int64_t pixel, int64_t length) {
  constexpr uint64_t kFourTimes = 0x0001000100010001;
  uint16_t pair;
  uint64_t repeated[2];
  static_assert(sizeof(repeated) == kRepeat * sizeof(pair), "two words hold all of the repeats");
  uint8_t* to = panel_.data() + static_cast<size_t>(pixel) * sizeof(repeated);
  for (int64_t i = 0; i < length; i += sizeof(pair), to += tile_.pixels * sizeof(repeated)) {
    std::memcpy(&pair, row_.data() + i, sizeof(pair));
    repeated[0] = repeated[1] = pair * kFourTimes;
    std::memcpy(to, repeated, sizeof(repeated));
  }
}

}  // namespace cpu
}  // namespace shiftadd
