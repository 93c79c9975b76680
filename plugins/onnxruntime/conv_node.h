// What every convolution-like node in ONNX Runtime has: attributes, checked inputs, threads.
#ifndef SHIFTADD_ONNXRUNTIME_CONV_NODE_H_
#define SHIFTADD_ONNXRUNTIME_CONV_NODE_H_

#include <memory>
#include <string>
#include <vector>

#include "ort_api.h"
#include "parallel.h"
#include "shiftadd/contract.h"

namespace shiftadd {
namespace ort {

class ConvNode {
 public:
  virtual ~ConvNode() = default;
  ConvNode(const ConvNode&) = delete;
  ConvNode& operator=(const ConvNode&) = delete;

  // Runs the node once; any number of threads may call it at the same time. Throws ContractError
  // for what breaks the contract and was not known at creation.
  virtual void compute(OrtKernelContext* context) = 0;

 protected:
  // Reads and checks the attributes, and the shapes of the inputs that are initializers. Throws
  // ContractError.
  ConvNode(OperatorKind kind, const OrtKernelInfo* info);

  // Of X's shape as far as shape inference knows it, where W is an initializer: calls
  // use(geometry, W's data). Throws ContractError for shapes that do not agree.
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
  // A shift's weights [M, terms] from its packed rows. Throws ContractError for a bad code.
  void decode(const ConvGeometry& geometry, const void* w, float* decoded) const;
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

const OrtValue* input(const OrtKernelContext* context, size_t index);
// The memory of output 0, of this shape.
void* output(OrtKernelContext* context, const std::vector<int64_t>& shape);

// The session's own threads, which honour its intra-op setting, where the API offers them; else
// ours.
class NodeThreads : public cpu::ParallelRunner {
 public:
  // `threads` are those that a run may take of ours.
  NodeThreads(const OrtKernelContext* context, size_t threads)
      : context_(context), threads_(threads) {}
  void run(size_t count, void (*body)(void*, size_t), void* data) override;

 private:
  const OrtKernelContext* context_;
  const size_t threads_;
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_CONV_NODE_H_
