// The panels that an integer convolution's register tiles read: of weights, and of pixels.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_

#include <cstdint>
#include <vector>

#include "common/rounding.h"
#include "integer/convolution.h"

namespace shiftadd {
namespace cpu {

// Bytes of a pixel's packed row of `terms` terms: whole steps, in the tile's multiple.
inline int64_t packed_terms(const IntegerTile& tile, int64_t terms) {
  return round_up(terms, static_cast<int64_t>(tile.depth * tile.step_multiple));
}

// im2col of some pixels by a block of the sum's terms.
class IntegerPanel {
 public:
  // Throws std::bad_alloc.
  IntegerPanel(const IntegerConvolution::Call& call, const IntegerTile& tile);

  // Writes the terms [begin, end), in the order (kh, kw, c), of the output pixels
  // [first, first + count) of a group, count at most the tile's; end is a multiple of the tile's
  // depth and may lie behind the terms.
  void pack(int64_t image, int64_t group, int64_t first, int64_t count, int64_t begin, int64_t end);

  const uint8_t* data() const { return panel_.data(); }
  size_t row_stride() const { return row_stride_; }  // of a panel that is not interleaved

 private:
  // A block of the sum's terms, and where its first one lies.
  struct Block {
    int64_t group, begin, end, kernel_row, kernel_column, channel;
  };
  // The image's pixel that an output's first tap reads, or where it would be.
  struct Corner {
    int64_t image, top, left;
  };

  // An output pixel.
  struct Output {
    int64_t index, row, column;
  };

  void seek(int64_t first);
  void pack_row(const Block& block, const Corner& corner, uint8_t* row) const;
  void interleave(const uint8_t* row, int64_t p, int64_t count, int64_t length);
  const uint8_t* find_row(const Block& block, const Corner& corner) const;
  bool is_whole(const Block& block, const Corner& corner) const;
  bool is_inside(const Corner& corner) const;  // none of the window's pixels is padding
  void pack_whole(const uint8_t* from, int64_t row_step, int64_t length, uint8_t* row) const;
  void finish_row(uint8_t* row, int64_t written, int64_t length) const;

  const IntegerConvolution::Call& call_;
  const IntegerTile& tile_;
  const bool whole_rows_;  // whether the taps of a kernel's row lie beside each other
  size_t row_stride_;
  Output first_ = {0, 0, 0}, next_ = {0, 0, 0};  // of the last call, and behind it
  std::vector<uint8_t> row_;  // of a tile that is interleaved: the last packed pixel's
  std::vector<uint8_t> panel_;
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_
