// The depthwise convolution, one input channel an output: no product of matrices, so no tiles in
// shared memory. A thread makes kStrip outputs, one below the other.
#ifndef SHIFTADD_KERNELS_CUDA_DEPTHWISE_CUH_
#define SHIFTADD_KERNELS_CUDA_DEPTHWISE_CUH_

#include "arithmetic.cuh"
#include "shape.cuh"

namespace shiftadd {
namespace cuda {

constexpr int kDepthwiseThreads = 128;
constexpr int kStrip = 4;

// The outputs of one thread: of a plane (an image's channel), column, and rows from `row` on.
struct Strip {
  int channel, image, row, column;

  __device__ Strip(const Shape& s, unsigned index) {
    column = index % s.out_width;
    index /= s.out_width;
    const int strips = (s.out_height + kStrip - 1) / kStrip;
    row = static_cast<int>(index % strips) * kStrip;
    index /= strips;
    channel = index % s.out_channels;
    image = index / s.out_channels;
  }
};

// How many strips, and so threads, the output has.
__host__ __device__ inline unsigned strip_count(const Shape& s) {
  const unsigned planes = static_cast<unsigned>(s.positions / (s.out_height * s.out_width)) *
                          static_cast<unsigned>(s.out_channels);
  return planes * static_cast<unsigned>((s.out_height + kStrip - 1) / kStrip) *
         static_cast<unsigned>(s.out_width);
}

// One plane of X that reads as 0 around the image.
template <typename Element>
struct Plane {
  const Element* first;
  int height, width;

  __device__ Plane(const Shape& s, const Element* x, const Strip& strip)
      : first(x + static_cast<unsigned>(strip.image * s.channels + strip.channel / s.group_rows) *
                      s.height * s.width),
        height(s.height),
        width(s.width) {}

  __device__ float at(int row, int column) const {
    const bool inside = (static_cast<unsigned>(row) < static_cast<unsigned>(height)) &
                        (static_cast<unsigned>(column) < static_cast<unsigned>(width));
    return inside ? to_float(first[row * width + column]) : 0.0f;
  }
};

template <typename Operation, typename Element>
__device__ void write_strip(const Shape& s, const Strip& strip, const float (&sums)[kStrip],
                            const Epilogue& epilogue, Element* y) {
  const unsigned plane = strip.image * s.out_channels + strip.channel;
#pragma unroll
  for (int i = 0; i < kStrip; ++i) {
    const int row = strip.row + i;
    if (row >= s.out_height) return;
    store(y + (plane * s.out_height + row) * s.out_width + strip.column,
          apply(epilogue, strip.channel, Operation::finish(sums[i])));
  }
}

// A square kernel and stride, without dilation: a row of the image is read once for all of the
// outputs that it is a part of.
template <typename Operation, typename Element, int kKernel, int kStride>
__global__ void __launch_bounds__(kDepthwiseThreads)
    depthwise_square(Shape s, const Element* __restrict__ x, const unsigned* __restrict__ w,
                     Epilogue epilogue, Element* __restrict__ y) {
  const unsigned index = blockIdx.x * kDepthwiseThreads + threadIdx.x;
  if (index >= strip_count(s)) return;
  const Strip strip(s, index);
  const Plane<Element> plane(s, x, strip);
  float weights[kKernel * kKernel];
  const unsigned* words = w + static_cast<unsigned>(strip.channel) * s.row_words;
#pragma unroll
  for (int tap = 0; tap < kKernel * kKernel; ++tap) {
    weights[tap] =
        Operation::weight(words[tap / Operation::kWordTerms], tap % Operation::kWordTerms);
  }
  const int top = strip.row * kStride - s.pad_top;
  const int left = strip.column * kStride - s.pad_left;
  float sums[kStrip] = {};
#pragma unroll
  for (int row = 0; row < (kStrip - 1) * kStride + kKernel; ++row) {
    float line[kKernel];
#pragma unroll
    for (int column = 0; column < kKernel; ++column) {
      line[column] = plane.at(top + row, left + column);
    }
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      const int kernel_row = row - i * kStride;
      if (kernel_row < 0 || kernel_row >= kKernel) continue;
#pragma unroll
      for (int column = 0; column < kKernel; ++column) {
        sums[i] = Operation::add(sums[i], line[column], weights[kernel_row * kKernel + column]);
      }
    }
  }
  write_strip<Operation>(s, strip, sums, epilogue, y);
}

// Any other kernel.
template <typename Operation, typename Element>
__global__ void __launch_bounds__(kDepthwiseThreads)
    depthwise_any(Shape s, const Element* __restrict__ x, const unsigned* __restrict__ w,
                  Epilogue epilogue, Element* __restrict__ y) {
  const unsigned index = blockIdx.x * kDepthwiseThreads + threadIdx.x;
  if (index >= strip_count(s)) return;
  const Strip strip(s, index);
  const Plane<Element> plane(s, x, strip);
  const unsigned* words = w + static_cast<unsigned>(strip.channel) * s.row_words;
  const int top = strip.row * s.stride_height - s.pad_top;
  const int left = strip.column * s.stride_width - s.pad_left;
  float sums[kStrip] = {};
  int tap = 0;
  for (int row = 0; row < s.kernel_height; ++row) {
    for (int column = 0; column < s.kernel_width; ++column, ++tap) {
      const float weight =
          Operation::weight(words[tap / Operation::kWordTerms], tap % Operation::kWordTerms);
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        const float value = plane.at(top + i * s.stride_height + row * s.dilation_height,
                                     left + column * s.dilation_width);
        sums[i] = Operation::add(sums[i], value, weight);
      }
    }
  }
  write_strip<Operation>(s, strip, sums, epilogue, y);
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_DEPTHWISE_CUH_
