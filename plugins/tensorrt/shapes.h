// The contract's shapes in TensorRT's words.
#ifndef SHIFTADD_TENSORRT_SHAPES_H_
#define SHIFTADD_TENSORRT_SHAPES_H_

#include <array>
#include <string>
#include <vector>

#include "shiftadd/convolution.h"
#include "tensorrt_api.h"

namespace shiftadd {
namespace tensorrt {

// One convolution has four inputs and one output, numbered from 0 as TensorRT does it.
constexpr int32_t kInputs = static_cast<int32_t>(kInputCount);
constexpr int32_t kOutputs = 1;
constexpr int32_t kPositionY = kInputs;
constexpr int32_t kPositions = kInputs + kOutputs;
constexpr const char* tensor_name(size_t position) {
  const OperatorDescription& operator_ = describe(OperatorKind::kShiftConv);
  return position < operator_.inputs.count ? operator_.inputs[position].name
                                           : operator_.output.name;
}

// TensorRT declares its constant without defining it.
constexpr int32_t kMostDims = nvinfer1::Dims::MAX_DIMS;

// The dimensions of X, W, scale and bias. An extent that is not known yet is -1.
using InputDims = std::array<nvinfer1::Dims, kInputCount>;

// Throws ContractError for a rank that TensorRT does not have.
std::vector<int64_t> extents(const std::string& node, const char* tensor,
                             const nvinfer1::Dims& dims);

// The convolution of these shapes, all known. Throws ContractError for what breaks the contract.
ConvGeometry resolve(OperatorKind kind, const std::string& node, const ConvAttributes& attributes,
                     const InputDims& dims);

// Throws ContractError where no convolution fits, whatever the extents of X that are -1 turn out
// to be.
void check_partly_known(OperatorKind kind, const std::string& node,
                        const ConvAttributes& attributes, const InputDims& dims);

// Whether Y's dimensions are those of the geometry.
bool is_output(const ConvGeometry& geometry, const nvinfer1::Dims& dims);

// Y's dimensions from those of X and W. Throws ContractError where they cannot fit.
nvinfer1::DimsExprs output_expressions(OperatorKind kind, const std::string& node,
                                       const ConvAttributes& attributes,
                                       const nvinfer1::DimsExprs* inputs,
                                       nvinfer1::IExprBuilder& builder);

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_SHAPES_H_
