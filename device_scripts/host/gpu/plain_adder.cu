#include "arithmetic.cuh"
#include "launch.h"
#include "plain_adder.h"
#include "plan.h"

namespace shiftadd {
namespace cuda {
namespace {

constexpr unsigned kThreads = 256;

__global__ void plain_adder(Shape s, const float* x, const float* w, Epilogue epilogue, float* y) {
  const unsigned outputs = static_cast<unsigned>(s.out_channels) * s.positions;
  const unsigned output = blockIdx.x * kThreads + threadIdx.x;
  if (output >= outputs) return;
  const int column = output % s.out_width;
  const int row = output / s.out_width % s.out_height;
  const int channel = output / (s.out_width * s.out_height) % s.out_channels;
  const int image = output / (s.out_width * s.out_height) / s.out_channels;
  const int first_channel = image * s.channels + channel / s.group_rows * s.group_channels;
  const float* weight = w + static_cast<unsigned>(channel) * s.terms;
  float sum = 0.0f;
  for (int c = 0; c < s.group_channels; ++c) {
    const float* plane = x + static_cast<unsigned>(first_channel + c) * s.height * s.width;
    for (int i = 0; i < s.kernel_height; ++i) {
      for (int j = 0; j < s.kernel_width; ++j) {
        const int h = row * s.stride_height - s.pad_top + i * s.dilation_height;
        const int v = column * s.stride_width - s.pad_left + j * s.dilation_width;
        const bool inside = h >= 0 && h < s.height && v >= 0 && v < s.width;
        sum += fabsf((inside ? plane[h * s.width + v] : 0.0f) - *weight++);
      }
    }
  }
  y[output] = apply(epilogue, channel, -sum);
}

}  // namespace

cudaError_t run_plain_adder(const Problem& problem, const Tensors& tensors, cudaStream_t stream) {
  if (problem.kind != OperatorKind::kAdderConv || problem.type != DataType::kFloat) {
    return cudaErrorInvalidValue;
  }
  const Shape s = kernel_shape(problem);
  if (s.positions == 0) return cudaSuccess;
  const unsigned outputs = static_cast<unsigned>(s.out_channels) * s.positions;
  const Epilogue epilogue = {tensors.scale, tensors.bias, problem.activation};
  return launch(plain_adder, (outputs - 1) / kThreads + 1, kThreads, stream, s,
                static_cast<const float*>(tensors.x), static_cast<const float*>(tensors.w),
                epilogue, static_cast<float*>(tensors.y));
}

}  // namespace cuda
}  // namespace shiftadd
