// Runs single operators through the plugins, compiled for the host, as an engine does: created from
// fields, written to an engine file and read from it, enqueued. Behind the C functions of the GPU
// bridge (device_scripts/host/gpu/bridge.h), so that Python calls both alike.
#include <cstdio>
#include <stdexcept>
#include <string>

#include "bridge.h"
#include "call.h"
#include "shiftadd/convolution.h"
#include "tensorrt_fields.h"
#include "tensorrt_library.h"
#include "tensorrt_plugins.h"

namespace {

using namespace shiftadd;
using namespace tensorrt_test;

nvinfer1::DynamicPluginTensorDesc tensor(const std::vector<int64_t>& shape,
                                         nvinfer1::DataType type) {
  nvinfer1::DynamicPluginTensorDesc tensor{};
  tensor.desc.type = type;
  tensor.desc.format = nvinfer1::TensorFormat::kLINEAR;
  tensor.desc.dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    tensor.desc.dims.d[i] = static_cast<decltype(+tensor.desc.dims.d[0])>(shape[i]);
  }
  tensor.min = tensor.max = tensor.desc.dims;
  return tensor;
}

Tensors tensors_of(const ShiftaddCall& call) {
  const OperatorKind kind = kind_of(call);
  const ConvAttributes a = attributes_of(call);
  const std::vector<int64_t> x_shape = list(call.x_shape), w_shape = weight_shape(call);
  const int64_t rows = call.out_channels;
  const ConvGeometry g = resolve_geometry(kind, "case", a, x_shape, w_shape);
  const auto type = call.half ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
  const auto w_type = is_shift(kind) ? nvinfer1::DataType::kINT32 : nvinfer1::DataType::kFLOAT;
  return {{tensor(x_shape, type), tensor(w_shape, w_type),
           tensor({rows}, nvinfer1::DataType::kFLOAT), tensor({rows}, nvinfer1::DataType::kFLOAT),
           tensor({g.batch, rows, g.out_height, g.out_width}, type)}};
}

// The newest interface that the headers have.
std::unique_ptr<Factory> factory(const std::string& name) {
  int32_t count = 0;
#if NV_TENSORRT_MAJOR >= 10
  nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
  using NewestFactory = FactoryV3;
#else
  nvinfer1::IPluginCreator* const* creators = getPluginCreators(count);
  using NewestFactory = FactoryV2;
#endif
  for (int32_t i = 0; i < count; ++i) {
    std::unique_ptr<Factory> found(new NewestFactory(creators[i]));
    if (found->name() == name) return found;
  }
  throw std::runtime_error("no creator named " + name);
}

// A plugin that has been through an engine file. Throws what the plugin logged where it is refused.
std::unique_ptr<Plugin> engine_plugin(const ShiftaddCall& call, const Tensors& tensors) {
  library().logger.lines.clear();
  const OperatorKind kind = kind_of(call);
  const std::unique_ptr<Factory> creator = factory(operator_name(kind));
  Fields fields(kind, attributes_of(call));
  const std::unique_ptr<Plugin> built = creator->create("case", fields.collection());
  if (built == nullptr) throw std::runtime_error(library().logger.lines.back().second);
  built->configure(tensors);
  const Blob blob = built->serialize();
  const std::unique_ptr<Plugin> read =
      creator->deserialize("case", Bytes(blob.data(), blob.size()));
  if (read == nullptr) throw std::runtime_error(library().logger.lines.back().second);
  return read->attach();
}

template <typename Body>
int64_t answer(char* error, size_t error_bytes, const Body& body) {
  try {
    return body();
  } catch (const std::exception& exception) {
    std::snprintf(error, error_bytes, "%s", exception.what());
    return -1;
  }
}

}  // namespace

int64_t shiftadd_workspace_bytes(const ShiftaddCall* call, char* error, size_t error_bytes) {
  return answer(error, error_bytes, [&] {
    const Tensors tensors = tensors_of(*call);
    return static_cast<int64_t>(engine_plugin(*call, tensors)->workspace(tensors));
  });
}

int shiftadd_convolve(const ShiftaddCall* call, char* error, size_t error_bytes) {
  return static_cast<int>(answer(error, error_bytes, [&]() -> int64_t {
    const Tensors tensors = tensors_of(*call);
    const std::unique_ptr<Plugin> plugin = engine_plugin(*call, tensors);
    plugin->change_shapes(tensors);
    const Buffers buffers = {
        {{call->x, call->w, call->scale, call->bias}}, {{call->y}}, call->workspace};
    if (plugin->enqueue(plain(tensors), buffers) == 0) return 0;
    throw std::runtime_error(library().logger.lines.back().second);
  }));
}
