#include "conv_kernel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "shiftadd/packed_weights.h"
#include "thread_pool.h"

namespace shiftadd {
namespace ort {
namespace {

// The session's own threads, which honour its intra-op setting.
class SessionThreads : public cpu::ParallelRunner {
 public:
  explicit SessionThreads(const OrtKernelContext* context) : context_(context) {}
  void run(size_t count, void (*body)(void*, size_t), void* data) override {
    constexpr size_t kLetRuntimeChoose = 0;
    check(api().table->KernelContext_ParallelFor(context_, body, count, kLetRuntimeChoose, data));
  }

 private:
  const OrtKernelContext* context_;
};

const OrtValue* input(const OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  check(api().table->KernelContext_GetInput(context, index, &value));
  return value;
}

// Shape of X as far as shape inference knows it, with each unknown extent replaced by one that
// passes wherever some extent does. Empty where the channels are unknown.
std::vector<int64_t> plausible_shape(const OrtKernelInfo* info, const ConvAttributes& attributes) {
  std::vector<int64_t> shape = declared_shape(info, kInputX);
  if (shape.size() != 4) return shape;
  if (shape[1] < 0) return {};
  if (shape[0] < 0) shape[0] = 1;
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t window = attributes.dilations[axis] * (attributes.kernel_shape[axis] - 1) + 1;
    if (shape[2 + axis] < 0) shape[2 + axis] = std::min(window, detail::kLargestAttribute);
  }
  return shape;
}

}  // namespace

// Packed for a number of input channels, from which the number of terms follows (a short row of
// codes alone does not tell it). Where W is known to be an initializer it is packed once and for
// all. Below API 15 nothing says whether it is: then the bytes that were packed are kept and
// compared at every run, since neither a pointer nor a shape tells whether an allocator handed the
// same memory out with new contents.
struct ConvKernel::PackedWeights {
  PackedWeights(int64_t input_channels, std::vector<char> bytes, cpu::Convolution packed)
      : channels(input_channels), source(std::move(bytes)), convolution(std::move(packed)) {}

  int64_t channels;
  std::vector<char> source;  // empty where W is an initializer
  cpu::Convolution convolution;
};

ConvKernel::ConvKernel(OperatorKind kind, const OrtKernelInfo* info)
    : kind_(kind),
      node_(node_label(kind, node_name(info))),
      micro_kernels_(cpu::select_micro_kernels()) {
  read_attributes(info);
  check_constants(info);
}

void ConvKernel::read_attributes(const OrtKernelInfo* info) {
  attributes_.kernel_shape = attribute_ints(info, node_, "kernel_shape");
  attributes_.strides = attribute_ints(info, node_, "strides");
  attributes_.pads = attribute_ints(info, node_, "pads");
  attributes_.dilations = attribute_ints(info, node_, "dilations");
  attributes_.group = attribute_int(info, node_, "group");
  if (kind_ == OperatorKind::kShiftConv) {
    attributes_.weight_bits = attribute_int(info, node_, "weight_bits");
  }
  attributes_.activation = parse_activation(node_, attribute_string(info, node_, "activation"));
  validate_attributes(kind_, node_, attributes_);
}

void ConvKernel::check_constants(const OrtKernelInfo* info) {
  const OrtValue* w = constant_input(info, kInputW);
  if (w == nullptr) return;
  constant_weights_ = true;
  const std::vector<int64_t> w_shape = tensor_shape(w);
  validate_weight_rank(kind_, node_, w_shape);
  const std::pair<size_t, const char*> channel_inputs[] = {{kInputScale, "scale"},
                                                           {kInputBias, "bias"}};
  for (const auto& channel_input : channel_inputs) {
    const OrtValue* value = constant_input(info, channel_input.first);
    if (value != nullptr) {
      validate_channel_input(node_, channel_input.second, tensor_shape(value), w_shape[0]);
    }
  }
  const std::vector<int64_t> x_shape = plausible_shape(info, attributes_);
  if (x_shape.empty()) return;
  packed_ = pack(resolve_geometry(kind_, node_, attributes_, x_shape, w_shape),
                 tensor_data<void>(w));
}

size_t ConvKernel::weight_bytes(const ConvGeometry& geometry) const {
  const int64_t columns = kind_ == OperatorKind::kShiftConv
                              ? packed_columns(geometry.terms, attributes_.weight_bits)
                              : geometry.terms;
  return static_cast<size_t>(geometry.out_channels * columns) * sizeof(int32_t);
}

std::shared_ptr<const ConvKernel::PackedWeights> ConvKernel::pack(const ConvGeometry& geometry,
                                                                  const void* w) const {
  std::vector<char> source;
  if (!constant_weights_) {
    const char* bytes = static_cast<const char*>(w);
    source.assign(bytes, bytes + weight_bytes(geometry));
  }
  const float* weights = static_cast<const float*>(w);
  cpu::AlignedBuffer decoded;
  if (kind_ == OperatorKind::kShiftConv) {
    decoded = cpu::AlignedBuffer(static_cast<size_t>(geometry.out_channels * geometry.terms));
    const int64_t columns = packed_columns(geometry.terms, attributes_.weight_bits);
    for (int64_t row = 0; row < geometry.out_channels; ++row) {
      decode_row(node_, static_cast<const int32_t*>(w) + row * columns, row, geometry.terms,
                 attributes_.weight_bits, decoded.data() + row * geometry.terms);
    }
    weights = decoded.data();
  }
  return std::make_shared<const PackedWeights>(
      geometry.channels, std::move(source),
      cpu::Convolution(kind_, micro_kernels_, geometry, weights));
}

std::shared_ptr<const ConvKernel::PackedWeights> ConvKernel::packed_weights(
    const ConvGeometry& geometry, const void* w) {
  std::lock_guard<std::mutex> lock(packing_);
  bool current = packed_ != nullptr && packed_->channels == geometry.channels;
  if (current && !constant_weights_) {
    const size_t bytes = weight_bytes(geometry);
    current = packed_->source.size() == bytes && std::memcmp(packed_->source.data(), w, bytes) == 0;
  }
  if (!current) packed_ = pack(geometry, w);
  return packed_;
}

void ConvKernel::compute(OrtKernelContext* context) {
  const OrtValue* x = input(context, kInputX);
  const OrtValue* w = input(context, kInputW);
  const OrtValue* scale = input(context, kInputScale);
  const OrtValue* bias = input(context, kInputBias);
  const ConvGeometry geometry =
      resolve_geometry(kind_, node_, attributes_, tensor_shape(x), tensor_shape(w));
  validate_channel_input(node_, "scale", tensor_shape(scale), geometry.out_channels);
  validate_channel_input(node_, "bias", tensor_shape(bias), geometry.out_channels);
  const auto weights = packed_weights(geometry, tensor_data<void>(w));

  const int64_t y_shape[] = {geometry.batch, geometry.out_channels, geometry.out_height,
                             geometry.out_width};
  OrtValue* y = nullptr;
  check(api().table->KernelContext_GetOutput(context, 0, y_shape, 4, &y));
  void* y_data = nullptr;
  check(api().table->GetTensorMutableData(y, &y_data));
  const cpu::ConvTensors tensors = {tensor_data<float>(x), tensor_data<float>(scale),
                                    tensor_data<float>(bias), static_cast<float*>(y_data)};
  if (api().version >= kStatusApi) {
    SessionThreads threads(context);
    weights->convolution.run(geometry, tensors, attributes_.activation, threads);
  } else {
    weights->convolution.run(geometry, tensors, attributes_.activation,
                             cpu::process_thread_pool());
  }
}

}  // namespace ort
}  // namespace shiftadd
