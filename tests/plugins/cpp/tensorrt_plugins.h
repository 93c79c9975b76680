// A plugin and its creator behind either of TensorRT's interfaces, driven in the same steps.
#ifndef SHIFTADD_TESTS_CPP_TENSORRT_PLUGINS_H_
#define SHIFTADD_TESTS_CPP_TENSORRT_PLUGINS_H_

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensorrt_fields.h"
#include "tensorrt_library.h"

extern "C" {
nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) noexcept;
#if NV_TENSORRT_MAJOR >= 10
nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept;
void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;
#endif
}

namespace tensorrt_test {

using Blob = std::vector<char>;

// X, W, scale, bias and Y.
using Tensors = std::array<nvinfer1::DynamicPluginTensorDesc, 5>;
using PlainTensors = std::array<nvinfer1::PluginTensorDesc, 5>;

inline PlainTensors plain(const Tensors& tensors) {
  PlainTensors all;
  for (size_t i = 0; i < all.size(); ++i) all[i] = tensors[i].desc;
  return all;
}

struct Buffers {
  std::array<const void*, 4> inputs;
  std::array<void*, 1> outputs;
  void* workspace;
};

class Plugin {
 public:
  virtual ~Plugin() = default;
  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual std::string plugin_namespace() const = 0;
  virtual int32_t outputs() const = 0;
  virtual nvinfer1::DataType output_type(nvinfer1::DataType x_type) = 0;
  virtual bool supports(int32_t position, const Tensors& tensors, int32_t inputs,
                        int32_t outputs) = 0;
  // Y's dimensions; of rank -1 where they are refused.
  virtual nvinfer1::DimsExprs output_dims(const std::vector<nvinfer1::DimsExprs>& inputs,
                                          nvinfer1::IExprBuilder& builder) = 0;
  // While an engine is built. V2 cannot answer whether it went well.
  virtual void configure(const Tensors& tensors) = 0;
  virtual size_t workspace(const Tensors& tensors) const = 0;
  virtual Blob serialize() = 0;
  virtual std::unique_ptr<Plugin> clone() = 0;
  // What an execution context does with an engine's plugin before the first run.
  virtual std::unique_ptr<Plugin> attach() = 0;
  virtual void change_shapes(const Tensors& tensors) = 0;
  virtual int32_t enqueue(const PlainTensors& tensors, const Buffers& buffers) = 0;
};

class Factory {
 public:
  virtual ~Factory() = default;
  virtual const char* interface() const = 0;
  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual std::string plugin_namespace() const = 0;
  virtual const nvinfer1::PluginFieldCollection* field_names() const = 0;
  // Null where it is refused.
  virtual std::unique_ptr<Plugin> create(const char* node,
                                         const nvinfer1::PluginFieldCollection* fields) const = 0;
  virtual std::unique_ptr<Plugin> deserialize(const char* node, const Bytes& blob) const = 0;
};

class PluginV2 : public Plugin {
 public:
  explicit PluginV2(nvinfer1::IPluginV2* plugin)
      : plugin_(static_cast<nvinfer1::IPluginV2DynamicExt*>(plugin)) {}
  ~PluginV2() override {
    plugin_->terminate();
    plugin_->destroy();
  }

  std::string name() const override { return plugin_->getPluginType(); }
  std::string version() const override { return plugin_->getPluginVersion(); }
  std::string plugin_namespace() const override { return plugin_->getPluginNamespace(); }
  int32_t outputs() const override { return plugin_->getNbOutputs(); }

  nvinfer1::DataType output_type(nvinfer1::DataType x_type) override {
    const nvinfer1::DataType types[4] = {x_type};
    return plugin_->getOutputDataType(0, types, 4);
  }

  bool supports(int32_t position, const Tensors& tensors, int32_t inputs,
                int32_t outputs) override {
    return plugin_->supportsFormatCombination(position, plain(tensors).data(), inputs, outputs);
  }

  nvinfer1::DimsExprs output_dims(const std::vector<nvinfer1::DimsExprs>& inputs,
                                  nvinfer1::IExprBuilder& builder) override {
    return plugin_->getOutputDimensions(0, inputs.data(), static_cast<int32_t>(inputs.size()),
                                        builder);
  }

  void configure(const Tensors& tensors) override {
    plugin_->configurePlugin(tensors.data(), 4, &tensors[4], 1);
  }

  size_t workspace(const Tensors& tensors) const override {
    PlainTensors largest = plain(tensors);
    for (size_t i = 0; i < largest.size(); ++i) largest[i].dims = tensors[i].max;
    return plugin_->getWorkspaceSize(largest.data(), 4, &largest[4], 1);
  }

  Blob serialize() override {
    const Bytes buffer(Blob(plugin_->getSerializationSize()).data(),
                       plugin_->getSerializationSize());
    plugin_->serialize(const_cast<char*>(buffer.data()));
    return {buffer.data(), buffer.data() + buffer.size()};
  }

  std::unique_ptr<Plugin> clone() override {
    return std::unique_ptr<Plugin>(new PluginV2(plugin_->clone()));
  }

  std::unique_ptr<Plugin> attach() override {
    auto attached = clone();
    auto& own = *static_cast<PluginV2*>(attached.get())->plugin_;
    if (own.initialize() != 0) return nullptr;
    own.attachToContext(nullptr, nullptr, nullptr);
    return attached;
  }

  void change_shapes(const Tensors& tensors) override { configure(tensors); }

  int32_t enqueue(const PlainTensors& tensors, const Buffers& buffers) override {
    return plugin_->enqueue(tensors.data(), &tensors[4], buffers.inputs.data(),
                            buffers.outputs.data(), buffers.workspace, nullptr);
  }

 private:
  nvinfer1::IPluginV2DynamicExt* plugin_;
};

class FactoryV2 : public Factory {
 public:
  explicit FactoryV2(nvinfer1::IPluginCreator* creator) : creator_(creator) {}

  const char* interface() const override { return "IPluginV2DynamicExt"; }
  std::string name() const override { return creator_->getPluginName(); }
  std::string version() const override { return creator_->getPluginVersion(); }
  std::string plugin_namespace() const override { return creator_->getPluginNamespace(); }
  const nvinfer1::PluginFieldCollection* field_names() const override {
    return creator_->getFieldNames();
  }
  std::unique_ptr<Plugin> create(const char* node,
                                 const nvinfer1::PluginFieldCollection* fields) const override {
    return wrap(creator_->createPlugin(node, fields));
  }
  std::unique_ptr<Plugin> deserialize(const char* node, const Bytes& blob) const override {
    return wrap(creator_->deserializePlugin(node, blob.data(), blob.size()));
  }
  nvinfer1::IPluginCreator* creator() const { return creator_; }

 private:
  static std::unique_ptr<Plugin> wrap(nvinfer1::IPluginV2* plugin) {
    return std::unique_ptr<Plugin>(plugin != nullptr ? new PluginV2(plugin) : nullptr);
  }

  nvinfer1::IPluginCreator* creator_;
};

#if NV_TENSORRT_MAJOR >= 10

class PluginV3 : public Plugin {
 public:
  explicit PluginV3(nvinfer1::IPluginV3* plugin)
      : plugin_(plugin),
        core_(capability<nvinfer1::IPluginV3OneCore>(nvinfer1::PluginCapabilityType::kCORE)),
        build_(capability<nvinfer1::IPluginV3OneBuild>(nvinfer1::PluginCapabilityType::kBUILD)),
        runtime_(
            capability<nvinfer1::IPluginV3OneRuntime>(nvinfer1::PluginCapabilityType::kRUNTIME)) {}

  std::string name() const override { return core_->getPluginName(); }
  std::string version() const override { return core_->getPluginVersion(); }
  std::string plugin_namespace() const override { return core_->getPluginNamespace(); }
  int32_t outputs() const override { return build_->getNbOutputs(); }
  std::string timing_cache_id() const { return build_->getTimingCacheID(); }

  nvinfer1::DataType output_type(nvinfer1::DataType x_type) override {
    const nvinfer1::DataType types[4] = {x_type};
    nvinfer1::DataType answer = nvinfer1::DataType::kBOOL;
    return build_->getOutputDataTypes(&answer, 1, types, 4) == 0 ? answer
                                                                 : nvinfer1::DataType::kBOOL;
  }

  bool supports(int32_t position, const Tensors& tensors, int32_t inputs,
                int32_t outputs) override {
    return build_->supportsFormatCombination(position, tensors.data(), inputs, outputs);
  }

  nvinfer1::DimsExprs output_dims(const std::vector<nvinfer1::DimsExprs>& inputs,
                                  nvinfer1::IExprBuilder& builder) override {
    nvinfer1::DimsExprs dims{};
    if (build_->getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0,
                                &dims, 1, builder) != 0) {
      dims.nbDims = -1;
    }
    return dims;
  }

  void configure(const Tensors& tensors) override {
    build_->configurePlugin(tensors.data(), 4, &tensors[4], 1);
  }

  size_t workspace(const Tensors& tensors) const override {
    return build_->getWorkspaceSize(tensors.data(), 4, &tensors[4], 1);
  }

  Blob serialize() override {
    const nvinfer1::PluginFieldCollection* fields = runtime_->getFieldsToSerialize();
    const char* data = static_cast<const char*>(fields->fields[0].data);
    return {data, data + fields->fields[0].length};
  }

  std::unique_ptr<Plugin> clone() override {
    return std::unique_ptr<Plugin>(new PluginV3(plugin_->clone()));
  }

  std::unique_ptr<Plugin> attach() override {
    nvinfer1::IPluginV3* attached = runtime_->attachToContext(nullptr);
    return std::unique_ptr<Plugin>(attached != nullptr ? new PluginV3(attached) : nullptr);
  }

  void change_shapes(const Tensors& tensors) override {
    const PlainTensors all = plain(tensors);
    runtime_->onShapeChange(all.data(), 4, &all[4], 1);
  }

  int32_t enqueue(const PlainTensors& tensors, const Buffers& buffers) override {
    return runtime_->enqueue(tensors.data(), &tensors[4], buffers.inputs.data(),
                             buffers.outputs.data(), buffers.workspace, nullptr);
  }

 private:
  template <typename Capability>
  Capability* capability(nvinfer1::PluginCapabilityType type) {
    return static_cast<Capability*>(plugin_->getCapabilityInterface(type));
  }

  std::unique_ptr<nvinfer1::IPluginV3> plugin_;
  nvinfer1::IPluginV3OneCore* core_;
  nvinfer1::IPluginV3OneBuild* build_;
  nvinfer1::IPluginV3OneRuntime* runtime_;
};

class FactoryV3 : public Factory {
 public:
  explicit FactoryV3(nvinfer1::IPluginCreatorInterface* creator)
      : creator_(static_cast<nvinfer1::IPluginCreatorV3One*>(creator)) {}

  const char* interface() const override { return "IPluginV3"; }
  std::string name() const override { return creator_->getPluginName(); }
  std::string version() const override { return creator_->getPluginVersion(); }
  std::string plugin_namespace() const override { return creator_->getPluginNamespace(); }
  const nvinfer1::PluginFieldCollection* field_names() const override {
    return creator_->getFieldNames();
  }
  std::unique_ptr<Plugin> create(const char* node,
                                 const nvinfer1::PluginFieldCollection* fields) const override {
    return create(node, fields, nvinfer1::TensorRTPhase::kBUILD);
  }
  std::unique_ptr<Plugin> deserialize(const char* node, const Bytes& blob) const override {
    Fields fields;
    fields.set("shiftadd_plugin", blob.data(), blob.size(), nvinfer1::PluginFieldType::kUNKNOWN,
               blob.size());
    return create(node, fields.collection(), nvinfer1::TensorRTPhase::kRUNTIME);
  }
  std::unique_ptr<Plugin> create(const char* node, const nvinfer1::PluginFieldCollection* fields,
                                 nvinfer1::TensorRTPhase phase) const {
    nvinfer1::IPluginV3* plugin = creator_->createPlugin(node, fields, phase);
    return std::unique_ptr<Plugin>(plugin != nullptr ? new PluginV3(plugin) : nullptr);
  }

 private:
  nvinfer1::IPluginCreatorV3One* creator_;
};

#endif

}  // namespace tensorrt_test

#endif  // SHIFTADD_TESTS_CPP_TENSORRT_PLUGINS_H_
