// A ShiftConv or AdderConv node in TensorRT, whichever of its plugin interfaces calls.
#ifndef SHIFTADD_TENSORRT_CONV_CORE_H_
#define SHIFTADD_TENSORRT_CONV_CORE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "blob.h"
#include "convolution.h"
#include "shapes.h"
#include "tensorrt_api.h"

namespace shiftadd {
namespace tensorrt {

// The descriptions of X, W, scale, bias and Y.
using Descriptions = std::array<nvinfer1::PluginTensorDesc, kPositions>;

// Memory of one run, as TensorRT hands it over.
struct Memory {
  const void* const* inputs;
  void* const* outputs;
  void* workspace;
  cudaStream_t stream;
};

// A workspace that no device has: the answer where it cannot be told.
constexpr size_t kImpossibleBytes = std::numeric_limits<size_t>::max() / 2;

// Methods throw ContractError for what breaks the contract, std::runtime_error where CUDA fails.
class ConvCore {
 public:
  // From a node's attributes, or from a blob; `name` is the node's in the graph and may be null.
  ConvCore(OperatorKind kind, const char* name, const nvinfer1::PluginFieldCollection* fields);
  ConvCore(OperatorKind kind, const char* name, const void* blob, size_t length);

  const char* operator_type() const noexcept { return operator_name(state_.kind); }
  Blob blob() const { return write_blob(state_); }
  // The attributes in words.
  std::string summary() const;

  void check_counts(int32_t inputs, int32_t outputs) const;
  void check_position(int32_t position) const;
  // Checks the type and the format of the tensor at a position, where X has `x_type`.
  void check_type(int32_t position, const nvinfer1::PluginTensorDesc& description,
                  nvinfer1::DataType x_type) const;
  nvinfer1::DimsExprs output_dimensions(const nvinfer1::DimsExprs* inputs,
                                        nvinfer1::IExprBuilder& builder) const;

  // Checks types, formats and shapes, of which extents of X and Y may be unknown; asks the device.
  void configure(const Descriptions& descriptions);
  // Asks the current device for its multiprocessors, unless that has been done, perhaps by the
  // process that built the engine.
  void ask_device();
  // Enough for these shapes, which are all known, and for smaller ones.
  size_t workspace_bytes(const InputDims& dims, nvinfer1::DataType x_type) const;
  // Checks everything and keeps what runs of exactly these tensors need.
  void prepare(const Descriptions& descriptions);
  // Allocates nothing where the tensors are the last ones that were prepared for.
  void enqueue(const Descriptions& descriptions, const Memory& memory);

 private:
  int multiprocessors() const;
  cuda::Problem problem(const InputDims& dims, nvinfer1::DataType x_type) const;
  void check_types(const Descriptions& descriptions) const;
  bool is_prepared(const Descriptions& descriptions) const;
  void check_memory(const Memory& memory) const;

  const std::string node_;
  PluginState state_;
  bool prepared_ = false;
  Descriptions descriptions_{};
  cuda::Problem problem_{};
  size_t workspace_bytes_ = 0;
};

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_CONV_CORE_H_
