#include "bridge.h"

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "call.h"
#include "convolution.h"
#include "plain_adder.h"

namespace {

using namespace shiftadd;

// Throws ContractError for what breaks the contract.
cuda::Problem checked_problem(const ShiftaddCall& call) {
  const OperatorKind kind = kind_of(call);
  const ConvAttributes a = attributes_of(call);
  validate_attributes(kind, "call", a);
  const cuda::Problem problem = {
      kind, a.activation, call.half ? cuda::DataType::kHalf : cuda::DataType::kFloat, a.weight_bits,
      resolve_geometry(kind, "call", a, list(call.x_shape), weight_shape(call))};
  cuda::validate_limits("call", problem);
  return problem;
}

// What body(problem) answers; -1, with the reason in `error`, where it throws or the call is
// refused.
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
    return succeeded(
        cuda::run_plain_adder(problem, tensors(*call), static_cast<cudaStream_t>(call->stream)));
  });
}
