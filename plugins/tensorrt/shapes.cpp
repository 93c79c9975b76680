#include "shapes.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::DimensionOperation;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IDimensionExpr;
using nvinfer1::IExprBuilder;

void check_rank(const std::string& node, const char* tensor, int32_t rank) {
  if (rank < 0 || rank > kMostDims) {
    throw ContractError(node, std::string(tensor) + " rank",
                        "a number from 0 to " + detail::text(kMostDims), detail::text(rank));
  }
}

std::vector<int64_t> extents(const std::string& node, const InputDims& dims, size_t input) {
  return tensorrt::extents(node, tensor_name(input), dims[input]);
}

// X with each unknown extent replaced by one that passes wherever some extent does.
Dims plausible(const ConvAttributes& attributes, Dims x) {
  if (x.d[0] < 0) x.d[0] = 1;
  for (size_t axis = 0; axis < 2; ++axis) {
    auto& extent = x.d[2 + axis];
    const int64_t window = attributes.dilations[axis] * (attributes.kernel_shape[axis] - 1) + 1;
    if (extent < 0) extent = static_cast<int32_t>(std::min(window, kLargestAttribute));
  }
  return x;
}

// The extents that are constants, and -1 for all others.
Dims known_dims(const std::string& node, size_t input, const DimsExprs& expressions) {
  check_rank(node, tensor_name(input), expressions.nbDims);
  Dims dims{};
  dims.nbDims = expressions.nbDims;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    const IDimensionExpr* extent = expressions.d[i];
    dims.d[i] = extent != nullptr && extent->isConstant() ? extent->getConstantValue() : -1;
  }
  return dims;
}

// Sums and products of dimensions, checked.
class Expressions {
 public:
  explicit Expressions(IExprBuilder& builder) : builder_(builder) {}

  // TensorRT 8.2's constants have 32 bits.
  const IDimensionExpr& constant(const std::string& node, const char* field, int64_t value) const {
    if (value > std::numeric_limits<int32_t>::max()) {
      throw ContractError(node, field, "an integer below 2^31", detail::text(value));
    }
    return checked(builder_.constant(static_cast<int32_t>(value)));
  }

  const IDimensionExpr& operator()(DimensionOperation operation, const IDimensionExpr& first,
                                   const IDimensionExpr& second) const {
    return checked(builder_.operation(operation, first, second));
  }

 private:
  static const IDimensionExpr& checked(const IDimensionExpr* expression) {
    if (expression == nullptr) throw std::runtime_error("TensorRT built no dimension expression");
    return *expression;
  }

  IExprBuilder& builder_;
};

// ONNX Conv's: (in + pads - window) / stride + 1.
const IDimensionExpr& out_extent(const Expressions& expressions, const std::string& node,
                                 const ConvAttributes& attributes, size_t axis,
                                 const IDimensionExpr& in) {
  const int64_t pads = attributes.pads[axis] + attributes.pads[axis + 2];
  const int64_t window = attributes.dilations[axis] * (attributes.kernel_shape[axis] - 1) + 1;
  const IDimensionExpr& padded =
      expressions(DimensionOperation::kSUM, in, expressions.constant(node, "sum of pads", pads));
  const IDimensionExpr& room = expressions(DimensionOperation::kSUB, padded,
                                           expressions.constant(node, "dilated kernel", window));
  const IDimensionExpr& steps =
      expressions(DimensionOperation::kFLOOR_DIV, room,
                  expressions.constant(node, "strides", attributes.strides[axis]));
  return expressions(DimensionOperation::kSUM, steps, expressions.constant(node, "one", 1));
}

}  // namespace

std::vector<int64_t> extents(const std::string& node, const char* tensor, const Dims& dims) {
  check_rank(node, tensor, dims.nbDims);
  return {dims.d, dims.d + dims.nbDims};
}

ConvGeometry resolve(OperatorKind kind, const std::string& node, const ConvAttributes& attributes,
                     const InputDims& dims) {
  const ConvGeometry geometry = resolve_geometry(
      kind, node, attributes, extents(node, dims, kInputX), extents(node, dims, kInputW));
  for (size_t input : {kInputScale, kInputBias}) {
    validate_channel_input(node, tensor_name(input), extents(node, dims, input),
                           geometry.out_channels);
  }
  return geometry;
}

void check_partly_known(OperatorKind kind, const std::string& node,
                        const ConvAttributes& attributes, const InputDims& dims) {
  validate_weight_rank(kind, node, extents(node, dims, kInputW));
  InputDims known = dims;
  if (dims[kInputX].nbDims == 4) {
    // The number of terms, by which W is judged, follows from the channels.
    if (dims[kInputX].d[1] < 0) return;
    known[kInputX] = plausible(attributes, dims[kInputX]);
  }
  resolve(kind, node, attributes, known);
}

bool is_output(const ConvGeometry& g, const Dims& dims) {
  return dims.nbDims == 4 && dims.d[0] == g.batch && dims.d[1] == g.out_channels &&
         dims.d[2] == g.out_height && dims.d[3] == g.out_width;
}

DimsExprs output_expressions(OperatorKind kind, const std::string& node,
                             const ConvAttributes& attributes, const DimsExprs* inputs,
                             IExprBuilder& builder) {
  InputDims dims;
  for (size_t input = 0; input < kInputCount; ++input) {
    dims[input] = known_dims(node, input, inputs[input]);
  }
  check_partly_known(kind, node, attributes, dims);
  const DimsExprs& x = inputs[kInputX];
  const Expressions expressions(builder);
  DimsExprs y{};
  y.nbDims = 4;
  y.d[0] = x.d[0];
  y.d[1] = inputs[kInputW].d[0];
  y.d[2] = &out_extent(expressions, node, attributes, 0, *x.d[2]);
  y.d[3] = &out_extent(expressions, node, attributes, 1, *x.d[3]);
  return y;
}

}  // namespace tensorrt
}  // namespace shiftadd
