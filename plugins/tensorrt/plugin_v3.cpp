#include "plugin_v3.h"

#include <algorithm>

#include "descriptions.h"
#include "fields.h"

#if NV_TENSORRT_MAJOR >= 10

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::IPluginV3;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginTensorDesc;
using Severity = nvinfer1::ILogger::Severity;

// The one field of an engine file; TensorRT keeps fields of unknown type byte by byte.
constexpr const char* kBlobField = "shiftadd_plugin";

ConvCore read_serialized(OperatorKind kind, const char* name, const PluginFieldCollection* fields) {
  const std::string node = node_label(kind, name != nullptr ? name : "");
  const nvinfer1::PluginField& field = find_field(node, fields, kBlobField);
  if (field.type != nvinfer1::PluginFieldType::kUNKNOWN) {
    throw ContractError(node, kBlobField, "field type UNKNOWN",
                        "field type " + detail::text(static_cast<int32_t>(field.type)));
  }
  return ConvCore(kind, name, field.data, static_cast<size_t>(std::max(field.length, 0)));
}

}  // namespace

ConvPluginV3::ConvPluginV3(const ConvCore& core) : core_(core), timing_cache_id_(core.summary()) {}

nvinfer1::IPluginCapability* ConvPluginV3::getCapabilityInterface(
    PluginCapabilityType type) noexcept {
  switch (type) {
    case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
    case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
    case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

IPluginV3* ConvPluginV3::clone() noexcept {
  return guarded<IPluginV3*>(nullptr, [&] { return new ConvPluginV3(core_); });
}

int32_t ConvPluginV3::configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs,
                                      const DynamicPluginTensorDesc* out,
                                      int32_t outputs) noexcept {
  return refusals_.guard(Severity::kERROR, kFailure, [&] {
    core_.check_counts(inputs, outputs);
    core_.configure(gather(in, out));
    return kSuccess;
  });
}

int32_t ConvPluginV3::getOutputDataTypes(DataType* output_types, int32_t outputs,
                                         const DataType* input_types,
                                         int32_t inputs) const noexcept {
  return refusals_.guard(Severity::kERROR, kFailure, [&] {
    core_.check_counts(inputs, outputs);
    output_types[0] = input_types[kInputX];
    return kSuccess;
  });
}

int32_t ConvPluginV3::getOutputShapes(const DimsExprs* dims, int32_t inputs, const DimsExprs*,
                                      int32_t, DimsExprs* output_dims, int32_t outputs,
                                      nvinfer1::IExprBuilder& builder) noexcept {
  return refusals_.guard(Severity::kERROR, kFailure, [&] {
    core_.check_counts(inputs, outputs);
    output_dims[0] = core_.output_dimensions(dims, builder);
    return kSuccess;
  });
}

// A combination that is refused is a step of TensorRT's search and no error.
bool ConvPluginV3::supportsFormatCombination(int32_t position,
                                             const DynamicPluginTensorDesc* tensors, int32_t inputs,
                                             int32_t outputs) noexcept {
  return refusals_.guard(Severity::kVERBOSE, false, [&] {
    core_.check_counts(inputs, outputs);
    core_.check_position(position);
    core_.check_type(position, tensors[position].desc, tensors[kInputX].desc.type);
    return true;
  });
}

size_t ConvPluginV3::getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t inputs,
                                      const DynamicPluginTensorDesc*,
                                      int32_t outputs) const noexcept {
  return refusals_.guard(Severity::kERROR, kImpossibleBytes, [&] {
    core_.check_counts(inputs, outputs);
    const auto largest = [](const DynamicPluginTensorDesc& tensor) { return tensor.max; };
    return core_.workspace_bytes(gather_dims(in, largest), in[kInputX].desc.type);
  });
}

int32_t ConvPluginV3::onShapeChange(const PluginTensorDesc* in, int32_t inputs,
                                    const PluginTensorDesc* out, int32_t outputs) noexcept {
  return refusals_.guard(Severity::kERROR, kFailure, [&] {
    core_.check_counts(inputs, outputs);
    core_.prepare(gather(in, out));
    return kSuccess;
  });
}

int32_t ConvPluginV3::enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out,
                              const void* const* inputs, void* const* outputs, void* workspace,
                              cudaStream_t stream) noexcept {
  return guarded(kFailure, [&] {
    core_.enqueue(gather(in, out), {inputs, outputs, workspace, stream});
    return kSuccess;
  });
}

IPluginV3* ConvPluginV3::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded<IPluginV3*>(nullptr, [&] {
    core_.ask_device();
    return new ConvPluginV3(core_);
  });
}

const PluginFieldCollection* ConvPluginV3::getFieldsToSerialize() noexcept {
  return guarded<const PluginFieldCollection*>(nullptr, [&] {
    blob_ = core_.blob();
    blob_field_ = {kBlobField, blob_.data(), nvinfer1::PluginFieldType::kUNKNOWN,
                   static_cast<int32_t>(blob_.size())};
    serialized_ = {1, &blob_field_};
    return &serialized_;
  });
}

IPluginV3* ConvCreatorV3::createPlugin(const char* name, const PluginFieldCollection* fields,
                                       nvinfer1::TensorRTPhase phase) noexcept {
  return guarded<IPluginV3*>(nullptr, [&] {
    return new ConvPluginV3(phase == nvinfer1::TensorRTPhase::kRUNTIME
                                ? read_serialized(kind_, name, fields)
                                : ConvCore(kind_, name, fields));
  });
}

const PluginFieldCollection* ConvCreatorV3::getFieldNames() noexcept {
  return guarded<const PluginFieldCollection*>(nullptr, [&] { return field_names(kind_); });
}

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // NV_TENSORRT_MAJOR
