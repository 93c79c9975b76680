// A ShiftConv or AdderConv node in ONNX Runtime.
#ifndef SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_
#define SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_

#include "conv_node.h"
#include "float/convolution.h"
#include "weight_cache.h"

namespace shiftadd {
namespace ort {

class ConvKernel : public ConvNode {
 public:
  // Checks all that is known at creation. Throws ContractError for what breaks the contract.
  ConvKernel(OperatorKind kind, const OrtKernelInfo* info);
  void compute(OrtKernelContext* context) override;

 private:
  std::shared_ptr<const cpu::Convolution> packed(const ConvGeometry& geometry, const void* w);
  cpu::Convolution pack(const ConvGeometry& geometry, const void* w) const;

  const cpu::MicroKernels& micro_kernels_;
  WeightCache<cpu::Convolution> weights_;
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_
