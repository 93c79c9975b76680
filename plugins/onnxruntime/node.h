// What every node has in ONNX Runtime: a run, its inputs and its output, and threads.
#ifndef SHIFTADD_ONNXRUNTIME_NODE_H_
#define SHIFTADD_ONNXRUNTIME_NODE_H_

#include <string>
#include <vector>

#include "common/parallel.h"
#include "ort_api.h"
#include "shiftadd/checks.h"

namespace shiftadd {
namespace ort {

class Node {
 public:
  Node() = default;
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Runs the node once; any number of threads may call it at the same time. Throws ContractError
  // for what breaks the contract and was not known at creation.
  virtual void compute(OrtKernelContext* context) = 0;
};

const OrtValue* input(const OrtKernelContext* context, size_t index);

// Checks the shapes of an operator's scales and zero points, as far as get(index) has them: it
// gives null where an input is not known yet. Throws ContractError.
template <typename Get>
void check_scalar_shapes(OperatorKind kind, const std::string& node, const Get& get) {
  const Span<TensorDescription>& inputs = describe(kind).inputs;
  for (size_t index = 0; index < inputs.count; ++index) {
    if (inputs[index].rank != kScalar) continue;
    const OrtValue* value = get(index);
    if (value != nullptr) validate_scalar_input(node, inputs[index].name, tensor_shape(value));
  }
}

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

#endif  // SHIFTADD_ONNXRUNTIME_NODE_H_
