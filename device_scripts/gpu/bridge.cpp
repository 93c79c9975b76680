#include "bridge.h"

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <vector>

#include "convolution.h"
#include "plain_adder.h"

namespace {

using namespace shiftadd;

template <size_t kCount>
std::vector<int64_t> list(const int64_t (&values)[kCount]) {
  return std::vector<int64_t>(values, values + kCount);
}

// Throws ContractError for what breaks the contract.
cuda::Problem checked_problem(const ShiftaddCall& call) {
  const OperatorKind kind = call.adder ? OperatorKind::kAdderConv : OperatorKind::kShiftConv;
  ConvAttributes a;
  a.kernel_shape = list(call.kernel_shape);
  a.strides = list(call.strides);
  a.pads = list(call.pads);
  a.dilations = list(call.dilations);
  a.group = call.group;
  a.weight_bits = call.weight_bits;
  a.activation = static_cast<Activation>(call.activation);
  validate_attributes(kind, "call", a);
  const std::vector<int64_t> x_shape = list(call.x_shape);
  const int64_t group_channels = x_shape[1] / a.group;
  const int64_t terms = detail::checked_product(
      "call", "kernel_shape", {group_channels, a.kernel_shape[0], a.kernel_shape[1]});
  const std::vector<int64_t> w_shape =
      call.adder ? std::vector<int64_t>{call.out_channels, group_channels, a.kernel_shape[0],
                                        a.kernel_shape[1]}
                 : std::vector<int64_t>{call.out_channels, packed_columns(terms, a.weight_bits)};
  const cuda::Problem problem = {kind, a.activation,
                                 call.half ? cuda::DataType::kHalf : cuda::DataType::kFloat,
                                 a.weight_bits,
                                 resolve_geometry(kind, "call", a, x_shape, w_shape)};
  cuda::validate_limits("call", problem);
  return problem;
}

// What body(problem) answers; -1, with the reason in `error`, where it throws or the call is refused.
template <typename Body>
auto answer(const ShiftaddCall* call, char* error, size_t error_bytes, const Body& body)
    -> decltype(body(checked_problem(*call))) {
  try {
    return body(checked_problem(*call));
  } catch (const std::exception& exception) {
    std::snprintf(error, error_bytes, "%s", exception.what());
    return -1;
  }
}

int succeeded(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
  return 0;
}

cuda::Tensors tensors(const ShiftaddCall& call) {
  return {call.x, call.w, call.scale, call.bias, call.y};
}

}  // namespace

int64_t shiftadd_workspace_bytes(const ShiftaddCall* call, char* error, size_t error_bytes) {
  return answer(call, error, error_bytes, [&](const cuda::Problem& problem) {
    return static_cast<int64_t>(
        cuda::workspace_bytes(problem, static_cast<int>(call->multiprocessors)));
  });
}

int shiftadd_convolve(const ShiftaddCall* call, char* error, size_t error_bytes) {
  return answer(call, error, error_bytes, [&](const cuda::Problem& problem) {
    return succeeded(cuda::run(problem, tensors(*call), static_cast<int>(call->multiprocessors),
                               call->workspace, static_cast<cudaStream_t>(call->stream)));
  });
}

int shiftadd_plain_adder(const ShiftaddCall* call, char* error, size_t error_bytes) {
  return answer(call, error, error_bytes, [&](const cuda::Problem& problem) {
    return succeeded(cuda::run_plain_adder(problem, tensors(*call),
                                           static_cast<cudaStream_t>(call->stream)));
  });
}
