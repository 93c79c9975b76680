// The plugins as TensorRT 10 and newer want them.
#ifndef SHIFTADD_TENSORRT_PLUGIN_V3_H_
#define SHIFTADD_TENSORRT_PLUGIN_V3_H_

#include <string>

#include "conv_core.h"
#include "logger.h"
#include "tensorrt_api.h"

#if NV_TENSORRT_MAJOR >= 10

namespace shiftadd {
namespace tensorrt {

class ConvPluginV3 : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit ConvPluginV3(const ConvCore& core);

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return core_.operator_type(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return ""; }

  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out,
                          int32_t outputs) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* output_types, int32_t outputs,
                             const nvinfer1::DataType* input_types,
                             int32_t inputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* dims, int32_t inputs,
                          const nvinfer1::DimsExprs* shape_inputs, int32_t shape_input_count,
                          nvinfer1::DimsExprs* output_dims, int32_t outputs,
                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t inputs, int32_t outputs) noexcept override;
  int32_t getNbOutputs() const noexcept override { return kOutputs; }
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out,
                          int32_t outputs) const noexcept override;
  const char* getTimingCacheID() noexcept override { return timing_cache_id_.c_str(); }

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t inputs,
                        const nvinfer1::PluginTensorDesc* out, int32_t outputs) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  ConvCore core_;
  const std::string timing_cache_id_;
  mutable Refusals refusals_;
  // What getFieldsToSerialize hands out pointers to.
  Blob blob_{};
  nvinfer1::PluginField blob_field_;
  nvinfer1::PluginFieldCollection serialized_;
};

class ConvCreatorV3 : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit ConvCreatorV3(OperatorKind kind) : kind_(kind) {}

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  const char* getPluginName() const noexcept override { return operator_name(kind_); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return ""; }

 private:
  const OperatorKind kind_;
};

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // NV_TENSORRT_MAJOR

#endif  // SHIFTADD_TENSORRT_PLUGIN_V3_H_
