// A ShiftConv or AdderConv node in ONNX Runtime: its attributes and its packed weights.
#ifndef SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_
#define SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "convolution.h"
#include "ort_api.h"
#include "shiftadd/contract.h"

namespace shiftadd {
namespace ort {

class ConvKernel {
 public:
  // Checks all that is known at creation. Throws ContractError for what breaks the contract.
  ConvKernel(OperatorKind kind, const OrtKernelInfo* info);

  // Runs the node once; any number of threads may call it at the same time. Throws ContractError
  // for what breaks the contract and was not known at creation.
  void compute(OrtKernelContext* context);

 private:
  struct PackedWeights;

  void read_attributes(const OrtKernelInfo* info);
  void check_constants(const OrtKernelInfo* info);
  // The weights packed for `geometry`; see PackedWeights for when they are packed again.
  std::shared_ptr<const PackedWeights> packed_weights(const ConvGeometry& geometry, const void* w);
  std::shared_ptr<const PackedWeights> pack(const ConvGeometry& geometry, const void* w) const;
  // W: 32-bit elements of [M, packed columns] or [M, C/group, kH, kW].
  size_t weight_bytes(const ConvGeometry& geometry) const;

  const OperatorKind kind_;
  const std::string node_;
  ConvAttributes attributes_;
  const cpu::MicroKernels& micro_kernels_;
  bool constant_weights_ = false;
  std::mutex packing_;
  std::shared_ptr<const PackedWeights> packed_;
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_CONV_KERNEL_H_
