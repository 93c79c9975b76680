#include "convolution.h"
#include "dense.cuh"
#include "dense_half.cuh"
#include "depthwise.cuh"
#include "few_positions.cuh"
#include "launch.h"
#include "plan.h"

namespace shiftadd {
namespace cuda {
namespace {

// One call of `run`, with its pointers typed.
template <typename Element>
struct Call {
  Shape shape;
  Plan plan;
  const Element* x;
  const unsigned* w;
  Epilogue epilogue;
  float* partial;
  Element* y;
  cudaStream_t stream;

  unsigned blocks() const { return static_cast<unsigned>(plan.blocks); }
};

template <typename Element>
using DenseKernel = void (*)(Shape, Splits, const Element*, const unsigned*, Epilogue, float*,
                             Element*);

// The dense kernels by a tile's height.
template <typename Operation, typename Element, typename Walk>
struct DenseKernels {
  static DenseKernel<Element> of(int thread_rows) {
    return thread_rows == 8   ? dense<Operation, Element, Walk, 8>
           : thread_rows == 4 ? dense<Operation, Element, Walk, 4>
                              : dense<Operation, Element, Walk, 2>;
  }
};

// The kernels with half2 products, except for the lowest tile, where they cost more than they save.
template <typename Walk>
struct DenseKernels<Shift<4>, __half, Walk> {
  static DenseKernel<__half> of(int thread_rows) {
    return thread_rows == 8   ? dense_half<Walk, 8>
           : thread_rows == 4 ? dense_half<Walk, 4>
                              : dense<Shift<4>, __half, Walk, 2>;
  }
};

template <typename Operation, typename Element>
cudaError_t run_dense(const Call<Element>& c) {
  const DenseKernel<Element> kernel =
      c.shape.taps == 1 ? DenseKernels<Operation, Element, ChannelWalk>::of(c.plan.thread_rows)
                        : DenseKernels<Operation, Element, TapWalk>::of(c.plan.thread_rows);
  const cudaError_t error = launch(kernel, c.blocks(), kDenseThreads, c.stream, c.shape,
                                   c.plan.splits, c.x, c.w, c.epilogue, c.partial, c.y);
  if (error != cudaSuccess || c.plan.splits.count == 1) return error;
  const unsigned outputs = static_cast<unsigned>(c.shape.out_channels) * c.shape.positions;
  return launch(combine_splits<Operation, Element>, (outputs - 1) / kCombineThreads + 1,
                kCombineThreads, c.stream, c.shape, c.plan.splits.count,
                static_cast<const float*>(c.partial), c.epilogue, c.y);
}

template <typename Operation, typename Element>
cudaError_t run_depthwise(const Call<Element>& c) {
  const Shape& s = c.shape;
  const bool square = s.kernel_height == s.kernel_width && s.stride_height == s.stride_width &&
                      s.dilation_height == 1 && s.dilation_width == 1;
  // Kernel and stride are read as two digits, so that every pair has a number of its own.
  const bool small = s.kernel_height <= 5 && s.stride_height <= 2;
  const int variant = square && small ? 10 * s.kernel_height + s.stride_height : 0;
  const auto kernel = variant == 31   ? depthwise_square<Operation, Element, 3, 1>
                      : variant == 32 ? depthwise_square<Operation, Element, 3, 2>
                      : variant == 51 ? depthwise_square<Operation, Element, 5, 1>
                      : variant == 52 ? depthwise_square<Operation, Element, 5, 2>
                                      : depthwise_any<Operation, Element>;
  return launch(kernel, c.blocks(), kDepthwiseThreads, c.stream, s, c.x, c.w, c.epilogue, c.y);
}

template <typename Operation, typename Element>
cudaError_t run_few_positions(const Call<Element>& c) {
  const auto kernel = c.shape.taps == 1 ? few_positions<Operation, Element, ChannelWalk>
                                        : few_positions<Operation, Element, TapWalk>;
  return launch(kernel, c.blocks(), kLanes * kLaneRows, c.stream, c.shape, c.x, c.w, c.epilogue,
                c.y);
}

template <typename Operation, typename Element>
cudaError_t run_operation(const Call<Element>& c) {
  if (c.plan.family == Family::kDepthwise) return run_depthwise<Operation>(c);
  if (c.plan.family == Family::kDense) return run_dense<Operation>(c);
  return run_few_positions<Operation>(c);
}

template <typename Element>
cudaError_t run_typed(const Problem& problem, const Tensors& tensors, int multiprocessors,
                      void* workspace, cudaStream_t stream) {
  const Call<Element> call = {kernel_shape(problem),
                              make_plan(problem, multiprocessors),
                              static_cast<const Element*>(tensors.x),
                              static_cast<const unsigned*>(tensors.w),
                              {tensors.scale, tensors.bias, problem.activation},
                              static_cast<float*>(workspace),
                              static_cast<Element*>(tensors.y),
                              stream};
  if (call.shape.positions == 0) return cudaSuccess;
  if (!is_shift(problem.kind)) return run_operation<Adder>(call);
  return problem.weight_bits == 4 ? run_operation<Shift<4>>(call) : run_operation<Shift<8>>(call);
}

}  // namespace

cudaError_t multiprocessors(int* count) noexcept {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
}

cudaError_t run(const Problem& problem, const Tensors& tensors, int multiprocessors,
                void* workspace, cudaStream_t stream) noexcept {
  return problem.type == DataType::kHalf
             ? run_typed<__half>(problem, tensors, multiprocessors, workspace, stream)
             : run_typed<float>(problem, tensors, multiprocessors, workspace, stream);
}

}  // namespace cuda
}  // namespace shiftadd
