// The plugins as TensorRT 8 knows them; newer ones still do.
#ifndef SHIFTADD_TENSORRT_PLUGIN_V2_H_
#define SHIFTADD_TENSORRT_PLUGIN_V2_H_

#include <string>

#include "conv_core.h"
#include "logger.h"
#include "tensorrt_api.h"

#if NV_TENSORRT_MAJOR >= 10
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

namespace shiftadd {
namespace tensorrt {

class ConvPluginV2 : public nvinfer1::IPluginV2DynamicExt {
 public:
  ConvPluginV2(const ConvCore& core, const std::string& plugin_namespace)
      : core_(core), namespace_(plugin_namespace) {}

  const char* getPluginType() const noexcept override { return core_.operator_type(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  int32_t getNbOutputs() const noexcept override { return kOutputs; }
  int32_t initialize() noexcept override;
  void terminate() noexcept override {}
  size_t getSerializationSize() const noexcept override { return kBlobBytes; }
  void serialize(void* buffer) const noexcept override;
  void destroy() noexcept override { delete this; }
  IPluginV2DynamicExt* clone() const noexcept override;
  void setPluginNamespace(const char* plugin_namespace) noexcept override;
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

  nvinfer1::DataType getOutputDataType(int32_t index, const nvinfer1::DataType* input_types,
                                       int32_t inputs) const noexcept override;
  nvinfer1::DimsExprs getOutputDimensions(int32_t index, const nvinfer1::DimsExprs* dims,
                                          int32_t inputs,
                                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::PluginTensorDesc* tensors,
                                 int32_t inputs, int32_t outputs) noexcept override;
  void configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                       const nvinfer1::DynamicPluginTensorDesc* out,
                       int32_t outputs) noexcept override;
  size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::PluginTensorDesc* out,
                          int32_t outputs) const noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;

 private:
  ConvCore core_;
  std::string namespace_;
  mutable Refusals refusals_;
};

class ConvCreatorV2 : public nvinfer1::IPluginCreator {
 public:
  explicit ConvCreatorV2(OperatorKind kind) : kind_(kind) {}

  const char* getPluginName() const noexcept override { return operator_name(kind_); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  nvinfer1::IPluginV2* createPlugin(
      const char* name, const nvinfer1::PluginFieldCollection* fields) noexcept override;
  nvinfer1::IPluginV2* deserializePlugin(const char* name, const void* data,
                                         size_t length) noexcept override;
  void setPluginNamespace(const char* plugin_namespace) noexcept override;
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

 private:
  const OperatorKind kind_;
  std::string namespace_;
};

}  // namespace tensorrt
}  // namespace shiftadd

#if NV_TENSORRT_MAJOR >= 10
#pragma GCC diagnostic pop
#endif

#endif  // SHIFTADD_TENSORRT_PLUGIN_V2_H_
