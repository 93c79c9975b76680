#include "custom_ops.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "conv_kernel.h"
#include "qlinear_add_kernel.h"
#include "qlinear_conv_kernel.h"
#include "shiftadd/checks.h"
#include "shiftadd/operators.h"

namespace shiftadd {
namespace ort {
namespace {

ONNXTensorElementDataType element_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case ElementType::kUint8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case ElementType::kInt32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

std::unique_ptr<Node> make_node(OperatorKind kind, const OrtKernelInfo* info) {
  if (kind == OperatorKind::kQLinearAdd) return std::unique_ptr<Node>(new QLinearAddKernel(info));
  if (is_integer(kind)) return std::unique_ptr<Node>(new QLinearConvKernel(kind, info));
  return std::unique_ptr<Node>(new ConvKernel(kind, info));
}

struct CustomOp : OrtCustomOp {
  OperatorKind kind;
};

OperatorKind kind(const OrtCustomOp* op) { return static_cast<const CustomOp*>(op)->kind; }

OrtStatus* failure(const std::exception& error) {
  const bool contract = dynamic_cast<const ContractError*>(&error) != nullptr;
  return api().table->CreateStatus(contract ? ORT_INVALID_ARGUMENT : ORT_FAIL, error.what());
}

// From API 17 on a kernel reports a failure as a status.
OrtStatus* ORT_API_CALL create_kernel_v2(const OrtCustomOp* op, const OrtApi*,
                                         const OrtKernelInfo* info, void** kernel) {
  try {
    *kernel = make_node(kind(op), info).release();
    return nullptr;
  } catch (const std::exception& error) {
    return failure(error);
  }
}

OrtStatus* ORT_API_CALL compute_v2(void* kernel, OrtKernelContext* context) {
  try {
    static_cast<Node*>(kernel)->compute(context);
    return nullptr;
  } catch (const std::exception& error) {
    return failure(error);
  }
}

// Before API 17 an exception is the one failure that ONNX Runtime turns into an error. A build of
// it on another C++ library catches it without its text, so the text is printed first.
void print_failure(const std::exception& error) { std::fprintf(stderr, "%s\n", error.what()); }

// A kernel before API 17. Before API 15 it is not told its node's name, but ONNX Runtime puts that
// name before whatever a run throws: so there a refusal waits for the first run to be thrown.
struct ThrowingKernel {
  std::unique_ptr<Node> kernel;
  std::string refusal;
};

void* ORT_API_CALL create_kernel(const OrtCustomOp* op, const OrtApi*, const OrtKernelInfo* info) {
  std::unique_ptr<ThrowingKernel> result(new ThrowingKernel);
  try {
    result->kernel = make_node(kind(op), info);
  } catch (const std::exception& error) {
    if (api().version >= kConstantInputsApi) {
      print_failure(error);
      throw;
    }
    result->refusal = error.what();
  }
  return result.release();
}

void ORT_API_CALL compute(void* kernel, OrtKernelContext* context) {
  try {
    auto* self = static_cast<ThrowingKernel*>(kernel);
    if (self->kernel == nullptr) throw std::invalid_argument(self->refusal);
    self->kernel->compute(context);
  } catch (const std::exception& error) {
    print_failure(error);
    throw;
  }
}

void ORT_API_CALL destroy_throwing(void* kernel) { delete static_cast<ThrowingKernel*>(kernel); }

void ORT_API_CALL destroy_kernel(void* kernel) { delete static_cast<Node*>(kernel); }

const char* ORT_API_CALL name(const OrtCustomOp* op) { return operator_name(kind(op)); }

const char* ORT_API_CALL cpu_provider(const OrtCustomOp*) { return nullptr; }

ONNXTensorElementDataType ORT_API_CALL input_type(const OrtCustomOp* op, size_t index) {
  return element_type(describe(kind(op)).inputs[index].type);
}

size_t ORT_API_CALL input_count(const OrtCustomOp* op) { return describe(kind(op)).inputs.count; }

ONNXTensorElementDataType ORT_API_CALL output_type(const OrtCustomOp* op, size_t) {
  return element_type(describe(kind(op)).output.type);
}

size_t ORT_API_CALL output_count(const OrtCustomOp*) { return 1; }

OrtCustomOpInputOutputCharacteristic ORT_API_CALL required(const OrtCustomOp*, size_t) {
  return INPUT_OUTPUT_REQUIRED;
}

// The four callbacks below must be filled in from API 14 and 16 on, though nothing here is
// variadic.
OrtMemType ORT_API_CALL default_memory(const OrtCustomOp*, size_t) { return OrtMemTypeDefault; }
int ORT_API_CALL smallest_arity(const OrtCustomOp*) { return 1; }
int ORT_API_CALL homogeneous(const OrtCustomOp*) { return 1; }

CustomOp make_custom_op(OperatorKind kind) {
  CustomOp op = {};
  op.kind = kind;
  op.version = api().version >= kStatusApi ? kStatusApi : kOldestApi;
  op.GetName = name;
  op.GetExecutionProviderType = cpu_provider;
  op.GetInputType = input_type;
  op.GetInputTypeCount = input_count;
  op.GetOutputType = output_type;
  op.GetOutputTypeCount = output_count;
  op.KernelDestroy = destroy_kernel;
  op.GetInputCharacteristic = required;
  op.GetOutputCharacteristic = required;
  op.GetInputMemoryType = default_memory;
  op.GetVariadicInputMinArity = smallest_arity;
  op.GetVariadicInputHomogeneity = homogeneous;
  op.GetVariadicOutputMinArity = smallest_arity;
  op.GetVariadicOutputHomogeneity = homogeneous;
  if (op.version >= kStatusApi) {
    op.CreateKernelV2 = create_kernel_v2;
    op.KernelComputeV2 = compute_v2;
  } else {
    op.CreateKernel = create_kernel;
    op.KernelCompute = compute;
    op.KernelDestroy = destroy_throwing;
  }
  return op;
}

}  // namespace

const std::vector<OrtCustomOp*>& custom_ops() {
  static const std::vector<OrtCustomOp*> ops = [] {
    static std::vector<CustomOp> made;
    for (int i = 0; i < kOperatorCount; ++i) {
      made.push_back(make_custom_op(static_cast<OperatorKind>(i)));
    }
    std::vector<OrtCustomOp*> pointers;
    for (CustomOp& op : made) pointers.push_back(&op);
    return pointers;
  }();
  return ops;
}

}  // namespace ort
}  // namespace shiftadd
