#include "conv_kernel.h"

#include "shiftadd/packed_weights.h"

namespace shiftadd {
namespace ort {

ConvKernel::ConvKernel(OperatorKind kind, const OrtKernelInfo* info)
    : ConvNode(kind, info), micro_kernels_(cpu::select_micro_kernels()) {
  with_constant_weights(info,
                        [&](const ConvGeometry& geometry, const void* w) { packed(geometry, w); });
}

std::shared_ptr<const cpu::Convolution> ConvKernel::packed(const ConvGeometry& geometry,
                                                           const void* w) {
  return weights_.get(geometry, w, weight_bytes(geometry), constant_weights(),
                      [&] { return pack(geometry, w); });
}

cpu::Convolution ConvKernel::pack(const ConvGeometry& geometry, const void* w) const {
  if (!is_shift(kind_)) {
    return cpu::Convolution(kind_, micro_kernels_, geometry, static_cast<const float*>(w));
  }
  cpu::AlignedBuffer decoded(static_cast<size_t>(geometry.out_channels * geometry.terms));
  decode_rows(node_, static_cast<const int32_t*>(w), geometry.out_channels, geometry.terms,
              attributes_.weight_bits, decoded.data());
  return cpu::Convolution(kind_, micro_kernels_, geometry, decoded.data());
}

void ConvKernel::compute(OrtKernelContext* context) {
  const ConvGeometry g = run_geometry(context);
  const auto convolution = packed(g, tensor_data<void>(input(context, kInputW)));
  float* y =
      static_cast<float*>(output(context, {g.batch, g.out_channels, g.out_height, g.out_width}));
  NodeThreads threads(context, threads_);
  convolution->run(
      g,
      {tensor_data<float>(input(context, kInputX)), tensor_data<float>(input(context, kInputScale)),
       tensor_data<float>(input(context, kInputBias)), y},
      attributes_.activation, threads);
}

}  // namespace ort
}  // namespace shiftadd
