// The one table of ONNX Runtime's C API functions that the binding uses, and calls that check.
#ifndef SHIFTADD_ONNXRUNTIME_ORT_API_H_
#define SHIFTADD_ONNXRUNTIME_ORT_API_H_

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include "shiftadd/operators.h"

#if ORT_API_VERSION < 17
#error \
    "ONNX Runtime's headers must be of version 1.17 or newer; older libraries are served all the same"
#endif

namespace shiftadd {
namespace ort {

// Steps of the API at which something that the binding uses appeared.
constexpr uint32_t kOldestApi = 10;          // ONNX Runtime 1.10, the Jetson Nano's
constexpr uint32_t kConstantInputsApi = 15;  // a node's name and its constant inputs at creation
constexpr uint32_t kStatusApi = 17;          // statuses from kernels, the session's thread pool

struct Api {
  const OrtApi* table;
  uint32_t version;  // kOldestApi, kConstantInputsApi or kStatusApi
};

// The newest of the three steps that the running ONNX Runtime has; table is null before 1.10.
// Its version is asked for first, since GetApi of a newer one prints a complaint to stderr.
Api find_api(const OrtApiBase* base);

// Set once by RegisterCustomOps, before any kernel exists.
const Api& api();
void set_api(const Api& api);

// Throws std::runtime_error with the status's text unless it is a success; releases it.
void check(OrtStatus* status);

std::vector<int64_t> tensor_shape(const OrtValue* value);
template <typename T>
const T* tensor_data(const OrtValue* value) {
  void* data = nullptr;
  check(api().table->GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<const T*>(data);
}

// Node attributes. Throw ContractError, with `node` as its label, where one is missing or of
// another type.
int64_t attribute_int(const OrtKernelInfo* info, const std::string& node, const char* name);
std::vector<int64_t> attribute_ints(const OrtKernelInfo* info, const std::string& node,
                                    const char* name);
// A string, or what the description says of a missing one.
std::string attribute_string(const OrtKernelInfo* info, const std::string& node,
                             const AttributeDescription& attribute);

// The node's name in the graph; below API 15 ONNX Runtime does not tell it.
std::string node_name(const OrtKernelInfo* info);
// An initializer, or null where the input is computed or the API cannot tell (below 15).
const OrtValue* constant_input(const OrtKernelInfo* info, size_t index);
// Dimensions of an input as shape inference has them, -1 where unknown; empty where not even the
// rank is known, or the API cannot tell (below 15).
std::vector<int64_t> declared_shape(const OrtKernelInfo* info, size_t index);

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_ORT_API_H_
