#include "qlinear_conv_kernel.h"

#include <utility>
#include <vector>

#include "shiftadd/packed_weights.h"

namespace shiftadd {
namespace ort {
namespace {

template <typename T>
T scalar(const OrtKernelContext* context, size_t index) {
  return *tensor_data<T>(input(context, index));
}

}  // namespace

QLinearConvKernel::QLinearConvKernel(OperatorKind kind, const OrtKernelInfo* info)
    : ConvNode(kind, info), kernels_(cpu::select_integer_kernels()) {
  check_values([&](size_t index) { return constant_input(info, index); });
  with_constant_weights(info,
                        [&](const ConvGeometry& geometry, const void* w) { packed(geometry, w); });
}

template <typename Get>
void QLinearConvKernel::check_values(const Get& get) const {
  check_scalar_shapes(kind_, node_, get);
  if (const OrtValue* value = get(kIntegerInputXScale)) {
    validate_scale(node_, "x_scale", *tensor_data<float>(value));
  }
  if (const OrtValue* value = get(kIntegerInputYScale)) {
    validate_y_scale(node_, *tensor_data<float>(value));
  }
  const std::pair<size_t, const char*> vectors[] = {{kIntegerInputScale, "scale"},
                                                    {kIntegerInputBias, "bias"}};
  for (const auto& index_and_name : vectors) {
    const OrtValue* value = get(index_and_name.first);
    if (value == nullptr) continue;
    const std::vector<int64_t> shape = tensor_shape(value);
    const int64_t count = shape.size() == 1 ? shape[0] : 0;  // other shapes are refused elsewhere
    validate_finite(node_, index_and_name.second, tensor_data<float>(value), count);
  }
}

std::shared_ptr<const cpu::IntegerConvolution> QLinearConvKernel::packed(
    const ConvGeometry& geometry, const void* w) {
  return weights_.get(geometry, w, weight_bytes(geometry), constant_weights(),
                      [&] { return pack(geometry, w); });
}

cpu::IntegerConvolution QLinearConvKernel::pack(const ConvGeometry& geometry, const void* w) const {
  if (!is_shift(kind_)) {
    return cpu::IntegerConvolution(kind_, kernels_, geometry, static_cast<const uint8_t*>(w));
  }
  std::vector<int8_t> units(static_cast<size_t>(geometry.out_channels * geometry.terms));
  decode_rows_to_units(node_, static_cast<const int32_t*>(w), geometry.out_channels, geometry.terms,
                       units.data());
  return cpu::IntegerConvolution(kind_, kernels_, geometry,
                                 reinterpret_cast<const uint8_t*>(units.data()));
}

void QLinearConvKernel::compute(OrtKernelContext* context) {
  const ConvGeometry g = run_geometry(context);
  check_values([&](size_t index) { return input(context, index); });
  const Quantization quantization = {scalar<float>(context, kIntegerInputXScale),
                                     scalar<uint8_t>(context, kIntegerInputXZeroPoint),
                                     scalar<float>(context, kIntegerInputYScale),
                                     scalar<uint8_t>(context, kIntegerInputYZeroPoint)};
  const auto convolution = packed(g, tensor_data<void>(input(context, kIntegerInputW)));
  const bool channels_last = attributes_.layout == Layout::kNhwc;
  const std::vector<int64_t> y_shape =
      channels_last ? std::vector<int64_t>{g.batch, g.out_height, g.out_width, g.out_channels}
                    : std::vector<int64_t>{g.batch, g.out_channels, g.out_height, g.out_width};
  uint8_t* y = static_cast<uint8_t*>(output(context, y_shape));
  NodeThreads threads(context, threads_);
  convolution->run(g,
                   {tensor_data<uint8_t>(input(context, kIntegerInputX)),
                    tensor_data<float>(input(context, kIntegerInputScale)),
                    tensor_data<float>(input(context, kIntegerInputBias)), y},
                   quantization, attributes_.activation, attributes_.layout, threads);
}

}  // namespace ort
}  // namespace shiftadd
