// A QLinearAdd node in ONNX Runtime.
#ifndef SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_
#define SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_

#include <string>

#include "integer_kernels.h"
#include "node.h"

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
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_QLINEAR_ADD_KERNEL_H_
