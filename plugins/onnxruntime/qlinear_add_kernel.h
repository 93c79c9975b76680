// A QLinearAdd node in ONNX Runtime.
#ifndef SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_
#define SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_

#include <string>

#include "integer/micro_kernels.h"
#include "node.h"
#include "shiftadd/addition.h"

namespace shiftadd {
namespace ort {

class QLinearAddKernel : public Node {
 public:
  explicit QLinearAddKernel(const OrtKernelInfo* info);
  void compute(OrtKernelContext* context) override;

 private:
  const std::string node_;
  const size_t threads_;
  const cpu::IntegerKernels& kernels_;
  // Where all of the scalars are initializers, they are checked and read once: a run of a small sum
  // takes no longer than looking at them.
  bool constant_ = false;
  AdditionQuantization quantization_ = {};
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_
