// What every convolution-like node in ONNX Runtime has: attributes and checked inputs.
#ifndef SHIFTADD_ONNXRUNTIME_CONV_NODE_H_
#define SHIFTADD_ONNXRUNTIME_CONV_NODE_H_

#include <string>
#include <vector>

#include "node.h"
#include "shiftadd/convolution.h"

namespace shiftadd {
namespace ort {

class ConvNode : public Node {
 protected:
  // Reads and checks the attributes, and the shapes of the inputs that are initializers. Throws
  // ContractError.
  ConvNode(OperatorKind kind, const OrtKernelInfo* info);

  // Calls use(geometry, W's data) if W is an initializer and shape inference knows enough of X's
  // shape. Throws ContractError for shapes that do not agree.
  template <typename Use>
  void with_constant_weights(const OrtKernelInfo* info, const Use& use) const {
    const OrtValue* w = constant_input(info, inputs().w);
    const std::vector<int64_t> x_shape = plausible_shape(info);
    if (w == nullptr || x_shape.empty()) return;
    use(resolve_geometry(kind_, node_, attributes_, x_shape, tensor_shape(w)),
        tensor_data<void>(w));
  }

  // The run's geometry from its inputs' shapes. Throws ContractError.
  ConvGeometry run_geometry(const OrtKernelContext* context) const;
  InputPositions inputs() const { return input_positions(kind_); }
  size_t weight_bytes(const ConvGeometry& geometry) const;
  bool constant_weights() const { return constant_weights_; }

  const OperatorKind kind_;
  const std::string node_;
  const size_t threads_;  // wanted at creation, when the session's maker has said how many
  ConvAttributes attributes_;

 private:
  void read_attributes(const OrtKernelInfo* info);
  void check_constants(const OrtKernelInfo* info);
  std::vector<int64_t> plausible_shape(const OrtKernelInfo* info) const;

  bool constant_weights_ = false;
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_CONV_NODE_H_
