#include "conv_core.h"

#include <algorithm>
#include <stdexcept>

#include "fields.h"

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

std::string label(OperatorKind kind, const char* name) {
  return node_label(kind, name != nullptr ? name : "");
}

std::string type_name(DataType type) {
  switch (type) {
    case DataType::kFLOAT: return "FLOAT";
    case DataType::kHALF: return "HALF";
    case DataType::kINT8: return "INT8";
    case DataType::kINT32: return "INT32";
    default: return "type " + detail::text(static_cast<int32_t>(type));
  }
}

DataType data_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32: return DataType::kFLOAT;
    case ElementType::kInt32: return DataType::kINT32;
    case ElementType::kUint8: break;
  }
  throw std::logic_error("no operator has a plugin that takes codes of 8 bits");
}

void check_cuda(const std::string& node, const char* call, cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(node + ": " + call + ": " + cudaGetErrorString(error));
}

InputDims input_dims(const Descriptions& descriptions) {
  InputDims dims;
  for (size_t input = 0; input < kInputCount; ++input) dims[input] = descriptions[input].dims;
  return dims;
}

bool same_dims(const Dims& first, const Dims& second) {
  return first.nbDims == second.nbDims && first.nbDims >= 0 && first.nbDims <= kMostDims &&
         std::equal(first.d, first.d + first.nbDims, second.d);
}

bool same_tensor(const PluginTensorDesc& first, const PluginTensorDesc& second) {
  return first.type == second.type && first.format == second.format &&
         same_dims(first.dims, second.dims);
}

bool is_known(const PluginTensorDesc& description) {
  const Dims& dims = description.dims;
  return std::none_of(dims.d, dims.d + std::max(0, std::min(dims.nbDims, kMostDims)),
                      [](int64_t extent) { return extent < 0; });
}

}  // namespace

ConvCore::ConvCore(OperatorKind kind, const char* name,
                   const nvinfer1::PluginFieldCollection* fields)
    : node_(label(kind, name)), state_{kind, read_fields(kind, node_, fields), 0} {}

ConvCore::ConvCore(OperatorKind kind, const char* name, const void* blob, size_t length)
    : node_(label(kind, name)), state_(read_blob(kind, node_, blob, length)) {}

std::string ConvCore::summary() const {
  const ConvAttributes& a = state_.attributes;
  return std::string(operator_type()) + " kernel_shape " + detail::text(a.kernel_shape) +
         " strides " + detail::text(a.strides) + " pads " + detail::text(a.pads) + " dilations " +
         detail::text(a.dilations) + " group " + detail::text(a.group) + " weight_bits " +
         detail::text(a.weight_bits) + " activation " +
         kActivationNames[static_cast<int>(a.activation)];
}

void ConvCore::check_counts(int32_t inputs, int32_t outputs) const {
  if (inputs != kInputs || outputs != kOutputs) {
    throw ContractError(node_, "inputs and outputs",
                        detail::text(kInputs) + " and " + detail::text(kOutputs),
                        detail::text(inputs) + " and " + detail::text(outputs));
  }
}

void ConvCore::check_position(int32_t position) const {
  if (position < 0 || position >= kPositions) {
    throw ContractError(node_, "tensor", "a number from 0 to " + detail::text(kPositionY),
                        detail::text(position));
  }
}

void ConvCore::check_type(int32_t position, const PluginTensorDesc& description,
                          DataType x_type) const {
  const std::string name = tensor_name(position);
  if (description.format != TensorFormat::kLINEAR) {
    throw ContractError(node_, name + " format", "LINEAR",
                        "format " + detail::text(static_cast<int32_t>(description.format)));
  }
  const DataType got = description.type;
  if (position == kInputX) {
    if (got == DataType::kFLOAT || got == DataType::kHALF) return;
    throw ContractError(node_, name + " type", "FLOAT or HALF", type_name(got));
  }
  const DataType expected =
      position == kPositionY ? x_type : data_type(describe(state_.kind).inputs[position].type);
  if (got != expected) {
    throw ContractError(node_, name + " type", type_name(expected), type_name(got));
  }
}

void ConvCore::check_types(const Descriptions& descriptions) const {
  for (int32_t position = 0; position < kPositions; ++position) {
    check_type(position, descriptions[position], descriptions[kInputX].type);
  }
}

nvinfer1::DimsExprs ConvCore::output_dimensions(const nvinfer1::DimsExprs* inputs,
                                                nvinfer1::IExprBuilder& builder) const {
  return output_expressions(state_.kind, node_, state_.attributes, inputs, builder);
}

void ConvCore::configure(const Descriptions& descriptions) {
  check_types(descriptions);
  check_partly_known(state_.kind, node_, state_.attributes, input_dims(descriptions));
  ask_device();
  if (std::all_of(descriptions.begin(), descriptions.end(), is_known)) prepare(descriptions);
}

int ConvCore::multiprocessors() const {
  if (state_.multiprocessors != 0) return static_cast<int>(state_.multiprocessors);
  int count = 0;
  check_cuda(node_, "asking the device for its multiprocessors", cuda::multiprocessors(&count));
  return count;
}

void ConvCore::ask_device() { state_.multiprocessors = multiprocessors(); }

cuda::Problem ConvCore::problem(const InputDims& dims, DataType x_type) const {
  const cuda::Problem problem = {
      state_.kind, state_.attributes.activation,
      x_type == DataType::kHALF ? cuda::DataType::kHalf : cuda::DataType::kFloat,
      state_.attributes.weight_bits, resolve(state_.kind, node_, state_.attributes, dims)};
  cuda::validate_limits(node_, problem);
  return problem;
}

size_t ConvCore::workspace_bytes(const InputDims& dims, DataType x_type) const {
  return cuda::workspace_bytes(problem(dims, x_type), multiprocessors());
}

void ConvCore::prepare(const Descriptions& descriptions) {
  prepared_ = false;
  check_types(descriptions);
  ask_device();
  problem_ = problem(input_dims(descriptions), descriptions[kInputX].type);
  if (!is_output(problem_.geometry, descriptions[kPositionY].dims)) {
    const ConvGeometry& g = problem_.geometry;
    throw ContractError(node_, "Y shape",
                        detail::text({g.batch, g.out_channels, g.out_height, g.out_width}),
                        detail::text(extents(node_, "Y", descriptions[kPositionY].dims)));
  }
  workspace_bytes_ = cuda::workspace_bytes(problem_, multiprocessors());
  descriptions_ = descriptions;
  prepared_ = true;
}

bool ConvCore::is_prepared(const Descriptions& descriptions) const {
  return prepared_ &&
         std::equal(descriptions.begin(), descriptions.end(), descriptions_.begin(), same_tensor);
}

void ConvCore::check_memory(const Memory& memory) const {
  const bool handed =
      memory.inputs != nullptr && memory.outputs != nullptr &&
      std::find(memory.inputs, memory.inputs + kInputs, nullptr) == memory.inputs + kInputs &&
      memory.outputs[0] != nullptr && (memory.workspace != nullptr || workspace_bytes_ == 0);
  if (!handed && problem_.geometry.batch != 0) {
    throw ContractError(node_, "memory of the tensors and the workspace", "all of it",
                        "a null pointer");
  }
}

void ConvCore::enqueue(const Descriptions& descriptions, const Memory& memory) {
  if (!is_prepared(descriptions)) prepare(descriptions);
  check_memory(memory);
  if (problem_.geometry.batch == 0) return;
  const cuda::Tensors tensors = {memory.inputs[kInputX], memory.inputs[kInputW],
                                 static_cast<const float*>(memory.inputs[kInputScale]),
                                 static_cast<const float*>(memory.inputs[kInputBias]),
                                 memory.outputs[0]};
  check_cuda(node_, "running the kernels",
             cuda::run(problem_, tensors, multiprocessors(), memory.workspace, memory.stream));
}

}  // namespace tensorrt
}  // namespace shiftadd
