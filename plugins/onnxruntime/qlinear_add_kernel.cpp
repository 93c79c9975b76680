#include "qlinear_add_kernel.h"

#include "common/thread_pool.h"
#include "integer/addition.h"

namespace shiftadd {
namespace ort {
namespace {

template <typename Get>
AdditionQuantization read_quantization(const Get& get) {
  return {*tensor_data<float>(get(kAdditionInputAScale)),
          *tensor_data<uint8_t>(get(kAdditionInputAZeroPoint)),
          *tensor_data<float>(get(kAdditionInputBScale)),
          *tensor_data<uint8_t>(get(kAdditionInputBZeroPoint)),
          *tensor_data<float>(get(kAdditionInputYScale)),
          *tensor_data<uint8_t>(get(kAdditionInputYZeroPoint))};
}

}  // namespace

QLinearAddKernel::QLinearAddKernel(const OrtKernelInfo* info)
    : node_(node_label(OperatorKind::kQLinearAdd, node_name(info))),
      threads_(cpu::wanted_threads()),
      kernels_(cpu::select_integer_kernels()) {
  const auto constant = [&](size_t index) { return constant_input(info, index); };
  check_scalar_shapes(OperatorKind::kQLinearAdd, node_, constant);
  for (const size_t index :
       {kAdditionInputAScale, kAdditionInputAZeroPoint, kAdditionInputBScale,
        kAdditionInputBZeroPoint, kAdditionInputYScale, kAdditionInputYZeroPoint}) {
    if (constant(index) == nullptr) return;
  }
  quantization_ = read_quantization(constant);
  validate_addition(node_, quantization_);
  constant_ = true;
}

void QLinearAddKernel::compute(OrtKernelContext* context) {
  const auto given = [&](size_t index) { return input(context, index); };
  AdditionQuantization quantization = quantization_;
  if (!constant_) {
    check_scalar_shapes(OperatorKind::kQLinearAdd, node_, given);
    quantization = read_quantization(given);
    validate_addition(node_, quantization);
  }
  const OrtValue* a = given(kAdditionInputA);
  const OrtValue* b = given(kAdditionInputB);
  const std::vector<int64_t> shape = addition_shape(node_, tensor_shape(a), tensor_shape(b));
  uint8_t* y = static_cast<uint8_t*>(output(context, shape));
  size_t count = 1;
  for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
  NodeThreads threads(context, threads_);
  cpu::add(kernels_, quantization, tensor_data<uint8_t>(a), tensor_data<uint8_t>(b), count, y,
           threads);
}

}  // namespace ort
}  // namespace shiftadd
