#include "plugin_drive.h"

#include <array>
#include <cstring>

#include "blob.h"
#include "convolution.h"

namespace shiftadd {
namespace cuda {
namespace {

// Reads every byte, or writes it.
void touch(const void* memory, size_t count) {
  volatile uint8_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum = sum + static_cast<const uint8_t*>(memory)[i];
}

}  // namespace

cudaError_t multiprocessors(int* count) noexcept {
  *count = cuda_host::device().multiprocessors;
  return cuda_host::take_error();
}

// In the place of the kernels, which have tests of their own: the memory that they are handed.
cudaError_t run(const Problem& problem, const Tensors& tensors, int multiprocessors,
                void* workspace, cudaStream_t) noexcept {
  const ConvGeometry& g = problem.geometry;
  const size_t element = problem.type == DataType::kHalf ? 2 : 4;
  const size_t rows = static_cast<size_t>(g.out_channels);
  const int64_t columns =
      is_shift(problem.kind) ? packed_columns(g.terms, problem.weight_bits) : g.terms;
  touch(tensors.x, static_cast<size_t>(g.batch * g.channels * g.height * g.width) * element);
  touch(tensors.w, rows * static_cast<size_t>(columns) * 4);
  touch(tensors.scale, rows * 4);
  touch(tensors.bias, rows * 4);
  std::memset(tensors.y, 1,
              static_cast<size_t>(g.batch * g.out_height * g.out_width) * rows * element);
  const size_t needed = workspace_bytes(problem, multiprocessors);
  if (needed != 0) std::memset(workspace, 1, needed);
  return cudaSuccess;
}

}  // namespace cuda

namespace fuzz {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::TensorFormat;
using tensorrt_test::Plugin;
using tensorrt_test::Tensors;

constexpr int64_t kMostElements = 1 << 14;
constexpr size_t kMostWorkspace = 1 << 24;

Dims make_dims(const Shape& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    dims.d[i] = static_cast<decltype(+dims.d[0])>(shape[i]);
  }
  return dims;
}

// X, W, scale, bias and Y of a convolution, or of something like it.
std::array<Shape, 5> shapes(FuzzedDataProvider& bytes, OperatorKind kind, const ConvAttributes& a) {
  Shape x = integers(bytes, 4, 0, 9);
  if (x.size() == 4 && bytes.ConsumeIntegral<uint8_t>() % 16 != 15) {
    x[1] = a.group * bytes.ConsumeIntegralInRange<int64_t>(1, 40);
  }
  const Shape w = weight_shape(bytes, kind, a, x.size() == 4 ? x[1] : 1);
  Shape channels = {w.empty() ? 1 : w[0]}, y = {1, 1, 1, 1};
  try {
    const ConvGeometry g = resolve_geometry(kind, "node", a, x, w);
    y = {g.batch, g.out_channels, g.out_height, g.out_width};
  } catch (const ContractError&) {
  }
  std::array<Shape, 5> all = {x, w, channels, channels, y};
  if (bytes.ConsumeIntegral<uint8_t>() % 8 == 7) {
    all[bytes.ConsumeIntegralInRange<size_t>(0, 4)] = integers(bytes, 4, -1, 9);
  }
  return all;
}

Tensors describe(FuzzedDataProvider& bytes, OperatorKind kind, const std::array<Shape, 5>& shapes) {
  const DataType x_type = bytes.ConsumeBool() ? DataType::kFLOAT : DataType::kHALF;
  Tensors tensors{};
  for (size_t i = 0; i < tensors.size(); ++i) {
    nvinfer1::DynamicPluginTensorDesc& tensor = tensors[i];
    tensor.desc.dims = tensor.min = tensor.max = make_dims(shapes[i]);
    tensor.desc.format = TensorFormat::kLINEAR;
    tensor.desc.type = i == 0 || i == 4           ? x_type
                       : i == 1 && is_shift(kind) ? DataType::kINT32
                                                  : DataType::kFLOAT;
  }
  nvinfer1::DynamicPluginTensorDesc& any = tensors[bytes.ConsumeIntegralInRange<size_t>(0, 4)];
  switch (bytes.ConsumeIntegral<uint8_t>() % 32) {
    case 28: any.desc.type = static_cast<DataType>(bytes.ConsumeIntegralInRange(0, 12)); break;
    case 29:
      any.desc.format = static_cast<TensorFormat>(bytes.ConsumeIntegralInRange(0, 12));
      break;
    case 30: any.desc.dims.nbDims = bytes.ConsumeIntegral<int32_t>(); break;
    case 31: any.max.nbDims = bytes.ConsumeIntegral<int32_t>(); break;
    default: break;
  }
  return tensors;
}

// Extents are constants, or not known; in a harness they must not overflow where they are added.
DimsExprs expressions(tensorrt_test::Builder& builder, FuzzedDataProvider& bytes,
                      const Shape& shape) {
  DimsExprs dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    dims.d[i] =
        builder.make(bytes.ConsumeIntegral<uint8_t>() % 4 != 3, static_cast<int32_t>(shape[i]));
  }
  return dims;
}

size_t element_bytes(DataType type) { return type == DataType::kHALF ? 2 : 4; }

// Runs on memory of just these sizes, or on none where that would be much.
void enqueue(Plugin& plugin, const Tensors& tensors, const std::array<Shape, 5>& shapes) {
  std::array<std::unique_ptr<char[]>, 5> memory;
  bool all = true;
  for (size_t i = 0; i < memory.size(); ++i) {
    const int64_t count = elements(shapes[i], kMostElements);
    all = all && count <= kMostElements;
    const size_t size = static_cast<size_t>(count) * element_bytes(tensors[i].desc.type);
    if (count <= kMostElements) memory[i].reset(new char[size]());
  }
  const size_t workspace = plugin.workspace(tensors);
  if (!all || workspace > kMostWorkspace) memory = {};
  std::unique_ptr<char[]> scratch(workspace <= kMostWorkspace ? new char[workspace] : nullptr);
  const tensorrt_test::Buffers buffers = {
      {{memory[0].get(), memory[1].get(), memory[2].get(), memory[3].get()}},
      {{memory[4].get()}},
      scratch.get()};
  plugin.enqueue(tensorrt_test::plain(tensors), buffers);
}

}  // namespace

const std::vector<Operator>& operators() {
  static const std::vector<Operator> all = [] {
    std::vector<Operator> found;
    const auto add = [&](std::shared_ptr<tensorrt_test::Factory> factory) {
      const bool shift = factory->name() == operator_name(OperatorKind::kShiftConv);
      found.push_back({shift ? OperatorKind::kShiftConv : OperatorKind::kAdderConv, factory});
    };
    int32_t count = 0;
    nvinfer1::IPluginCreator* const* old = getPluginCreators(count);
    for (int32_t i = 0; i < count; ++i) {
      add(std::make_shared<tensorrt_test::FactoryV2>(old[i]));
    }
#if NV_TENSORRT_MAJOR >= 10
    nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
    for (int32_t i = 0; i < count; ++i) {
      add(std::make_shared<tensorrt_test::FactoryV3>(creators[i]));
    }
#endif
    return found;
  }();
  return all;
}

void drive(FuzzedDataProvider& bytes, OperatorKind kind, Plugin& plugin) {
  tensorrt_test::library().logger.lines.clear();
  cuda_host::device().multiprocessors = bytes.ConsumeIntegralInRange(1, 200);
  const tensorrt_test::Blob blob = plugin.serialize();
  const ConvAttributes a = tensorrt::read_blob(kind, "node", blob.data(), blob.size()).attributes;
  const std::array<Shape, 5> all = shapes(bytes, kind, a);
  for (const Shape& shape : all) {
    if (shape.size() > static_cast<size_t>(Dims::MAX_DIMS)) return;
  }
  const Tensors tensors = describe(bytes, kind, all);
  plugin.output_type(tensors[0].desc.type);
  for (int32_t position = -1; position <= 5; ++position) plugin.supports(position, tensors, 4, 1);
  tensorrt_test::Builder builder;
  std::vector<DimsExprs> inputs;
  for (size_t i = 0; i < 4; ++i) inputs.push_back(expressions(builder, bytes, all[i]));
  plugin.output_dims(inputs, builder);
  plugin.configure(tensors);
  enqueue(plugin, tensors, all);
  const auto attached = plugin.attach();
  require(attached != nullptr, "a context takes the plugin");
  attached->change_shapes(tensors);
  enqueue(*attached, tensors, all);
  const auto clone = plugin.clone();
  require(clone->serialize() == plugin.serialize(), "a clone is the same");
}

}  // namespace fuzz
}  // namespace shiftadd
