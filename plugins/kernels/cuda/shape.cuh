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

  // Steps for walking through a window. The spans are the distances that the columns of a row and
  // the rows of a channel cover; the steps lead in X from the last element of a row to the first of
  // the next row, and from the last element of a channel to the first of the next channel.
  int row_span, column_span;
  unsigned row_step, channel_step;
};

// One output position, seen from X: where its window begins, which may be in the padding.
struct Window {
  int top, left;
  unsigned base;  // index in X of the window's first element; wraps where that lies in the padding

  // A position beyond the last has a window that lies wholly in the padding.
  __device__ Window(const Shape& s, int group, int position) {
    const int plane = s.out_height * s.out_width;
    const int image = position / plane;
    top = position % plane / s.out_width * s.stride_height - s.pad_top;
    left = position % s.out_width * s.stride_width - s.pad_left;
    const unsigned first_plane =
        static_cast<unsigned>(image) * s.channels + static_cast<unsigned>(group) * s.group_channels;
    base = (first_plane * s.height + static_cast<unsigned>(top)) * s.width + left;
    if (position >= s.positions) top = kFarAbove;
  }

  // Whether the element so far below and right of the window's first lies in the image. (With `&`:
  // a branch for each term would keep the loads from being under way at the same time.)
  __device__ bool inside(const Shape& s, int below, int right) const {
    return (static_cast<unsigned>(top + below) < static_cast<unsigned>(s.height)) &
           (static_cast<unsigned>(left + right) < static_cast<unsigned>(s.width));
  }

 private:
  // No window reaches this far, because the largest extent is 2^28 (plan.cu).
  static constexpr int kFarAbove = -(1 << 30);
};

// The terms of a sum one after the other, in the order (channel, row, column) of W: how far each
// lies from the window's first element.
class TapWalk {
 public:
  __device__ TapWalk(const Shape& s, const Window&, int term)
      : left_(s.terms - term),
        below_(term % s.taps / s.kernel_width * s.dilation_height),
        right_(term % s.kernel_width * s.dilation_width),
        offset_(static_cast<unsigned>(term / s.taps) * s.height * s.width +
                static_cast<unsigned>(below_) * s.width + right_) {}

  // The term's value for a window: 0 in the padding and behind the last term.
  template <typename Element>
  __device__ Element load(const Shape& s, const Window& window, const Element* x) const {
    const bool real = (left_ > 0) & window.inside(s, below_, right_);
    return real ? x[window.base + offset_] : Element(0.0f);
  }

  __device__ void advance(const Shape& s) {
    --left_;
    right_ += s.dilation_width;
    const bool row_ends = right_ == s.row_span;
    below_ += row_ends ? s.dilation_height : 0;
    const bool channel_ends = below_ == s.column_span;
    offset_ += row_ends ? (channel_ends ? s.channel_step : s.row_step) : s.dilation_width;
    right_ = row_ends ? 0 : right_;
    below_ = channel_ends ? 0 : below_;
  }

 private:
  int left_;  // terms from this one on
  int below_, right_;
  unsigned offset_;
};

// The same where a window is one element: the next term lies a plane further.
class ChannelWalk {
 public:
  __device__ ChannelWalk(const Shape& s, const Window& window, int term)
      : left_(window.inside(s, 0, 0) ? s.terms - term : 0),
        offset_(static_cast<unsigned>(term) * s.height * s.width) {}

  template <typename Element>
  __device__ Element load(const Shape&, const Window& window, const Element* x) const {
    return left_ > 0 ? x[window.base + offset_] : Element(0.0f);
  }

  __device__ void advance(const Shape& s) {
    --left_;
    offset_ += s.channel_step;
  }

 private:
  int left_;  // terms from this one on; none where the window lies in the padding
  unsigned offset_;
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
