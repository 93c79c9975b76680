// Where an integer convolution's pixels lie, and the panels that register tiles read.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_

#include <cstdint>
#include <vector>

#include "integer_convolution.h"
#include "integer_math.h"

namespace shiftadd {
namespace cpu {

// Bytes of a pixel's packed row of `terms` terms: whole steps, in the tile's multiple.
inline int64_t packed_terms(const IntegerTile& tile, int64_t terms) {
  return round_up(terms, static_cast<int64_t>(tile.depth * tile.step_multiple));
}

// The channels of the input pixel that tap `tap` of an output position reads; null in the padding.
inline const uint8_t* input_pixel(const IntegerConvolution::Call& call, int64_t image,
                                  int64_t out_row, int64_t out_column, int64_t tap) {
  const ConvGeometry& g = call.geometry;
  const int64_t row = out_row * g.stride_height - g.pad_top +
                      tap / g.kernel_width * g.dilation_height;
  const int64_t column = out_column * g.stride_width - g.pad_left +
                         tap % g.kernel_width * g.dilation_width;
  if (row < 0 || row >= g.height || column < 0 || column >= g.width) return nullptr;
  return call.x + ((image * g.height + row) * g.width + column) * g.channels;
}

// im2col of one tile's pixels by a block of the sum's terms.
class IntegerPanel {
 public:
  // Throws std::bad_alloc.
  IntegerPanel(const IntegerConvolution::Call& call, const IntegerTile& tile);

  // Writes the terms [begin, end), in the order (kh, kw, c), of the output pixels
  // [first, first + count) of a group; end is a multiple of the tile's depth and may lie behind the
  // terms. Rows of pixels that the tile has more are the last one's again.
  void pack(int64_t image, int64_t group, int64_t first, int64_t count, int64_t begin, int64_t end);

  const uint8_t* data() const { return panel_.data(); }
  size_t row_stride() const { return row_stride_; }  // of a panel that is not interleaved

 private:
  void pack_row(int64_t image, int64_t group, int64_t pixel, int64_t begin, int64_t end);
  void interleave(int64_t pixel, int64_t length);

  const IntegerConvolution::Call& call_;
  const IntegerTile& tile_;
  size_t row_stride_;
  std::vector<uint8_t> row_;  // the last packed pixel's
  std::vector<uint8_t> panel_;
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_PANEL_H_
