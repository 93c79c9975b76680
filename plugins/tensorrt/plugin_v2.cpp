#include "plugin_v2.h"

#include <cstring>

#include "descriptions.h"
#include "fields.h"

#if NV_TENSORRT_MAJOR >= 10
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginTensorDesc;
using Severity = nvinfer1::ILogger::Severity;

std::string text_or_empty(const char* text) { return text != nullptr ? text : ""; }

}  // namespace

int32_t ConvPluginV2::initialize() noexcept {
  return guarded(kFailure, [&] {
    core_.ask_device();
    return kSuccess;
  });
}

void ConvPluginV2::serialize(void* buffer) const noexcept {
  guarded([&] {
    const Blob blob = core_.blob();
    std::memcpy(buffer, blob.data(), blob.size());
  });
}

nvinfer1::IPluginV2DynamicExt* ConvPluginV2::clone() const noexcept {
  return guarded<ConvPluginV2*>(nullptr, [&] { return new ConvPluginV2(core_, namespace_); });
}

void ConvPluginV2::setPluginNamespace(const char* plugin_namespace) noexcept {
  guarded([&] { namespace_ = text_or_empty(plugin_namespace); });
}

DataType ConvPluginV2::getOutputDataType(int32_t, const DataType* types,
                                         int32_t inputs) const noexcept {
  return inputs > 0 ? types[kInputX] : DataType::kFLOAT;
}

DimsExprs ConvPluginV2::getOutputDimensions(int32_t, const DimsExprs* dims, int32_t inputs,
                                            nvinfer1::IExprBuilder& builder) noexcept {
  DimsExprs invalid{};
  invalid.nbDims = -1;
  return refusals_.guard(Severity::kERROR, invalid, [&] {
    core_.check_counts(inputs, kOutputs);
    return core_.output_dimensions(dims, builder);
  });
}

// A combination that is refused is a step of TensorRT's search and no error.
bool ConvPluginV2::supportsFormatCombination(int32_t position, const PluginTensorDesc* tensors,
                                             int32_t inputs, int32_t outputs) noexcept {
  return refusals_.guard(Severity::kVERBOSE, false, [&] {
    core_.check_counts(inputs, outputs);
    core_.check_position(position);
    core_.check_type(position, tensors[position], tensors[kInputX].type);
    return true;
  });
}

void ConvPluginV2::configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs,
                                   const DynamicPluginTensorDesc* out, int32_t outputs) noexcept {
  refusals_.guard(Severity::kERROR, false, [&] {
    core_.check_counts(inputs, outputs);
    core_.configure(gather(in, out));
    return true;
  });
}

// A refusal is answered by more than any device has: configurePlugin cannot fail, and a plugin
// without its workspace must not be built.
size_t ConvPluginV2::getWorkspaceSize(const PluginTensorDesc* in, int32_t inputs,
                                      const PluginTensorDesc*, int32_t outputs) const noexcept {
  return refusals_.guard(Severity::kERROR, kImpossibleBytes, [&] {
    core_.check_counts(inputs, outputs);
    const auto given = [](const PluginTensorDesc& description) { return description.dims; };
    return core_.workspace_bytes(gather_dims(in, given), in[kInputX].type);
  });
}

int32_t ConvPluginV2::enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out,
                              const void* const* inputs, void* const* outputs, void* workspace,
                              cudaStream_t stream) noexcept {
  return guarded(kFailure, [&] {
    core_.enqueue(gather(in, out), {inputs, outputs, workspace, stream});
    return kSuccess;
  });
}

const PluginFieldCollection* ConvCreatorV2::getFieldNames() noexcept {
  return guarded<const PluginFieldCollection*>(nullptr, [&] { return field_names(kind_); });
}

nvinfer1::IPluginV2* ConvCreatorV2::createPlugin(const char* name,
                                                 const PluginFieldCollection* fields) noexcept {
  return guarded<ConvPluginV2*>(
      nullptr, [&] { return new ConvPluginV2(ConvCore(kind_, name, fields), namespace_); });
}

nvinfer1::IPluginV2* ConvCreatorV2::deserializePlugin(const char* name, const void* data,
                                                      size_t length) noexcept {
  return guarded<ConvPluginV2*>(
      nullptr, [&] { return new ConvPluginV2(ConvCore(kind_, name, data, length), namespace_); });
}

void ConvCreatorV2::setPluginNamespace(const char* plugin_namespace) noexcept {
  guarded([&] { namespace_ = text_or_empty(plugin_namespace); });
}

}  // namespace tensorrt
}  // namespace shiftadd
