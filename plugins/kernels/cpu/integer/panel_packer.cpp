#include "integer/panel_packer.h"

#include <algorithm>
#include <cstring>

namespace shiftadd {
namespace cpu {
namespace {

// Copies a word of type T at a time. The last word ends where the bytes end and overwrites a part
// of the one before it. A call of memcpy would take longer than copying a pixel's few bytes. count
// is at least the size of a word.
template <typename Word>
void copy_words(uint8_t* to, const uint8_t* from, int64_t count) {
  constexpr int64_t kBytes = sizeof(Word);
  for (int64_t i = 0; i < count; i += kBytes) {
    const int64_t at = std::min(i, count - kBytes);
    Word word;
    std::memcpy(&word, from + at, sizeof(word));
    std::memcpy(to + at, &word, sizeof(word));
  }
}

struct SixteenBytes {
  uint64_t words[2];
};

void copy_bytes(uint8_t* to, const uint8_t* from, int64_t count) {
  constexpr int64_t kMostInWords = 64;
  if (count > kMostInWords) {
    std::memcpy(to, from, static_cast<size_t>(count));
  } else if (count >= 16) {
    copy_words<SixteenBytes>(to, from, count);
  } else if (count >= 8) {
    copy_words<uint64_t>(to, from, count);
  } else if (count >= 4) {
    copy_words<uint32_t>(to, from, count);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

}  // namespace

IntegerPanel::IntegerPanel(const IntegerConvolution::Call& call, const IntegerTile& tile)
    : call_(call),
      tile_(tile),
      whole_rows_(call.geometry.group == 1 && call.geometry.dilation_width == 1) {
  const int64_t most = static_cast<int64_t>(tile.most_steps * tile.depth);
  row_stride_ = static_cast<size_t>(std::min(packed_terms(tile, call.geometry.terms), most));
  if (tile.interleave) row_.resize(row_stride_);
  panel_.resize(tile.pixels * row_stride_ * (tile.interleave ? kRepeat : 1));
}

void IntegerPanel::pack(int64_t image, int64_t group, int64_t first, int64_t count, int64_t begin,
                        int64_t end) {
  const ConvGeometry& g = call_.geometry;
  if (tile_.interleave && keeps_pixels(g) && g.group == 1 && end <= g.terms) {
    const uint8_t* pixel = call_.x + (image * g.height * g.width + first) * g.channels + begin;
    for (int64_t p = 0; p < count; ++p) interleave(pixel + p * g.channels, p, count, end - begin);
    return;
  }
  Block block{group, begin, end, 0, 0, 0};
  if (begin != 0) {
    const int64_t tap = begin / g.group_channels;
    block.kernel_row = tap / g.kernel_width;
    block.kernel_column = tap % g.kernel_width;
    block.channel = begin % g.group_channels;
  }
  seek(first);
  Output output = first_;
  for (int64_t p = 0; p < count; ++p) {
    const Corner corner{image, output.row * g.stride_height - g.pad_top,
                        output.column * g.stride_width - g.pad_left};
    if (tile_.interleave) {
      const uint8_t* row = find_row(block, corner);
      if (!row) {
        pack_row(block, corner, row_.data());
        row = row_.data();
      }
      interleave(row, p, count, end - begin);
    } else {
      pack_row(block, corner, panel_.data() + static_cast<size_t>(p) * row_stride_);
    }
    ++output.index;
    if (++output.column == g.out_width) {
      output.column = 0;
      ++output.row;
    }
  }
  next_ = output;
}

// Most calls go on where the last one ended, or are for the same pixels; a division takes as long
// as packing a pixel.
void IntegerPanel::seek(int64_t first) {
  if (first == next_.index) {
    first_ = next_;
  } else if (first != first_.index) {
    const int64_t width = call_.geometry.out_width;
    first_ = {first, first / width, first % width};
  }
}

// Puts pixel p of `count` into the panel, from a row of `length` bytes.
void IntegerPanel::interleave(const uint8_t* row, int64_t p, int64_t count, int64_t length) {
  constexpr size_t kRepeated = kRepeat * kPairBytes;
  tile_.interleave(row, static_cast<size_t>(length) / kPairBytes,
                   panel_.data() + static_cast<size_t>(p) * kRepeated,
                   static_cast<size_t>(count) * kRepeated);
}

// The block where it lies in the image, or null where it does not lie there in one piece.
const uint8_t* IntegerPanel::find_row(const Block& block, const Corner& corner) const {
  const ConvGeometry& g = call_.geometry;
  if (!whole_rows_ || g.kernel_height != 1 || block.end > g.terms || !is_inside(corner)) {
    return nullptr;
  }
  const int64_t pixel = (corner.image * g.height + corner.top) * g.width + corner.left;
  return call_.x + pixel * g.channels + block.begin;
}

void IntegerPanel::pack_row(const Block& block, const Corner& corner, uint8_t* row) const {
  const ConvGeometry& g = call_.geometry;
  const int64_t row_bytes = g.width * g.channels;
  if (is_whole(block, corner)) {
    const uint8_t* from =
        call_.x + (corner.image * g.height + corner.top) * row_bytes + corner.left * g.channels;
    pack_whole(from, g.dilation_height * row_bytes, block.end, row);
    return;
  }
  const int64_t inside = std::min(block.end, g.terms);
  int64_t channel = block.channel;
  int64_t kernel_row = block.kernel_row;
  int64_t kernel_column = block.kernel_column;
  uint8_t* to = row;
  const auto fill = [&to](int64_t count, uint8_t byte) {
    if (count == 0) return;
    std::memset(to, byte, static_cast<size_t>(count));
    to += count;
  };
  for (int64_t k = block.begin; k < inside;) {
    // Bytes [start, start + length) of a row of the image; what lies outside of it is padding.
    const int64_t taps = whole_rows_ ? g.kernel_width - kernel_column : 1;
    const int64_t length = std::min(taps * g.group_channels - channel, inside - k);
    const int64_t y = corner.top + kernel_row * g.dilation_height;
    const int64_t start = (corner.left + kernel_column * g.dilation_width) * g.channels +
                          block.group * g.group_channels + channel;
    const bool in_image = y >= 0 && y < g.height;
    const int64_t from = in_image ? std::min(std::max<int64_t>(start, 0), start + length) : start;
    const int64_t copied =
        in_image ? std::max<int64_t>(std::min(start + length, row_bytes) - from, 0) : 0;
    fill(from - start, call_.x_zero_point);
    if (copied != 0) {
      copy_bytes(to, call_.x + (corner.image * g.height + y) * row_bytes + from, copied);
      to += copied;
    }
    fill(start + length - from - copied, call_.x_zero_point);
    k += length;
    channel = 0;
    kernel_column += taps;
    if (kernel_column == g.kernel_width) {
      kernel_column = 0;
      ++kernel_row;
    }
  }
  finish_row(row, to - row, block.end - block.begin);
}

// Whether the block is all of the sum's terms, and none of them lies in the padding.
bool IntegerPanel::is_whole(const Block& block, const Corner& corner) const {
  return whole_rows_ && block.begin == 0 && block.end >= call_.geometry.terms && is_inside(corner);
}

bool IntegerPanel::is_inside(const Corner& corner) const {
  const ConvGeometry& g = call_.geometry;
  return corner.top >= 0 && corner.left >= 0 && corner.left + g.kernel_width <= g.width &&
         corner.top + (g.kernel_height - 1) * g.dilation_height < g.height;
}

// The window from its first byte on, whose rows lie row_step bytes apart.
void IntegerPanel::pack_whole(const uint8_t* from, int64_t row_step, int64_t length,
                              uint8_t* row) const {
  const ConvGeometry& g = call_.geometry;
  const int64_t count = g.kernel_width * g.channels;
  for (int64_t i = 0; i < g.kernel_height; ++i) {
    copy_bytes(row + i * count, from + i * row_step, count);
  }
  finish_row(row, g.terms, length);
}

// Fills the rest of a row behind its `written` bytes with 0. The weights are 0 there, too, so
// neither a product nor a distance adds anything.
void IntegerPanel::finish_row(uint8_t* row, int64_t written, int64_t length) const {
  for (int64_t i = written; i < length; ++i) row[i] = 0;
}

}  // namespace cpu
}  // namespace shiftadd
