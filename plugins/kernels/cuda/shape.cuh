// A convolution's sizes as the kernels take them, and where its terms lie in X.
#ifndef SHIFTADD_KERNELS_CUDA_SHAPE_CUH_
#define SHIFTADD_KERNELS_CUDA_SHAPE_CUH_

namespace shiftadd {
namespace cuda {

// All sizes are counts of elements; validate_limits made sure that every index fits an int.
struct Shape {
  int channels, height, width;
  int out_channels, out_height, out_width;
  int groups, group_channels, group_rows;  // rows: output channels
  int kernel_height, kernel_width, taps;   // taps = kernel_height * kernel_width
  int stride_height, stride_width;
  int pad_top, pad_left;
  int dilation_height, dilation_width;
  int terms;      // of one sum: group_channels * taps
  int row_words;  // 32-bit words of one row of W
  int positions;  // batch * out_height * out_width
};

// One output position, seen from X.
class Window {
 public:
  // Of a position that is out of range the window lies in the padding entirely.
  __device__ Window(const Shape& s, int group, int position) {
    if (position >= s.positions) return;
    const int plane = s.out_height * s.out_width;
    const int image = position / plane;
    const int row = position % plane / s.out_width;
    const int column = position % s.out_width;
    top_ = row * s.stride_height - s.pad_top;
    left_ = column * s.stride_width - s.pad_left;
    const unsigned first_plane = image * s.channels + group * s.group_channels;
    base_ = (first_plane * s.height + static_cast<unsigned>(top_)) * s.width + left_;
    taps_inside_ = 0;
    int tap = 0;
    for (int y = 0; y < s.kernel_height && tap < kMaskedTaps; ++y) {
      for (int x = 0; x < s.kernel_width && tap < kMaskedTaps; ++x, ++tap) {
        if (covers(s, y, x)) taps_inside_ |= 1u << tap;
      }
    }
    in_range_ = true;
  }

  // Whether the tap at (row, column) of the kernel lies in the image.
  __device__ bool inside(const Shape& s, int row, int column) const {
    const int tap = row * s.kernel_width + column;
    if (tap < kMaskedTaps) return (taps_inside_ >> tap & 1u) != 0;
    return in_range_ && covers(s, row, column);
  }

  // Index of the window's first element in X; wraps where that lies in the padding.
  __device__ unsigned base() const { return base_; }

 private:
  // A kernel of so many taps has its tests made once for all channels.
  static constexpr int kMaskedTaps = 32;

  __device__ bool covers(const Shape& s, int row, int column) const {
    const int y = top_ + row * s.dilation_height;
    const int x = left_ + column * s.dilation_width;
    return y >= 0 && y < s.height && x >= 0 && x < s.width;
  }

  int top_ = 0;
  int left_ = 0;
  unsigned base_ = 0;
  unsigned taps_inside_ = 0;
  bool in_range_ = false;
};

// The terms of a sum one after the other, in the order (channel, row, column) of W.
class TermWalk {
 public:
  __device__ TermWalk(const Shape& s, int term)
      : term_(term),
        row_(term % s.taps / s.kernel_width),
        column_(term % s.kernel_width),
        offset_(static_cast<unsigned>(term / s.taps) * s.height * s.width +
                static_cast<unsigned>(row_) * s.dilation_height * s.width +
                static_cast<unsigned>(column_) * s.dilation_width) {}

  // The term's value for a window: 0 in the padding and behind the last term.
  template <typename Element>
  __device__ Element load(const Shape& s, const Window& window, const Element* x) const {
    if (term_ >= s.terms || !window.inside(s, row_, column_)) return Element(0.0f);
    return x[window.base() + offset_];
  }

  __device__ void advance(const Shape& s) {
    ++term_;
    ++column_;
    offset_ += s.dilation_width;
    if (column_ < s.kernel_width) return;
    column_ = 0;
    ++row_;
    offset_ += static_cast<unsigned>(s.dilation_height) * s.width -
               static_cast<unsigned>(s.kernel_width) * s.dilation_width;
    if (row_ < s.kernel_height) return;
    row_ = 0;
    offset_ += static_cast<unsigned>(s.height) * s.width -
               static_cast<unsigned>(s.kernel_height) * s.dilation_height * s.width;
  }

 private:
  int term_, row_, column_;
  unsigned offset_;  // from the window's base
};

// Index in Y of an output channel at a position.
__device__ inline unsigned output_index(const Shape& s, int channel, int position) {
  const int plane = s.out_height * s.out_width;
  return static_cast<unsigned>(position / plane * s.out_channels + channel) * plane +
         position % plane;
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_SHAPE_CUH_
