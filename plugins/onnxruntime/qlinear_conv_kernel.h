// A QLinearShiftConv or QLinearAdderConv node in ONNX Runtime.
#ifndef SHIFTADD_ONNXRUNTIME_QLINEAR_CONV_KERNEL_H_
#define SHIFTADD_ONNXRUNTIME_QLINEAR_CONV_KERNEL_H_

#include "conv_node.h"
#include "integer/convolution.h"
#include "weight_cache.h"

namespace shiftadd {
namespace ort {

class QLinearConvKernel : public ConvNode {
 public:
  // Checks all that is known at creation. Throws ContractError for what breaks the contract.
  QLinearConvKernel(OperatorKind kind, const OrtKernelInfo* info);
  void compute(OrtKernelContext* context) override;

 private:
  // Checks the inputs beside X and W, where get(index) has them: it gives null where they are not
  // known yet. Throws ContractError.
  template <typename Get>
  void check_values(const Get& get) const;
  std::shared_ptr<const cpu::IntegerConvolution> packed(const ConvGeometry& geometry,
                                                        const void* w);
  cpu::IntegerConvolution pack(const ConvGeometry& geometry, const void* w) const;

  const cpu::IntegerKernels& kernels_;
  WeightCache<cpu::IntegerConvolution> weights_;
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_QLINEAR_CONV_KERNEL_H_
