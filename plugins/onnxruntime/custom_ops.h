// The operators as ONNX Runtime sees them.
#ifndef SHIFTADD_ONNXRUNTIME_CUSTOM_OPS_H_
#define SHIFTADD_ONNXRUNTIME_CUSTOM_OPS_H_

#include <vector>

#include "ort_api.h"

namespace shiftadd {
namespace ort {

// The operators of domain "shiftadd", declared for the API version in use; they live as long as
// the process. Call after set_api.
const std::vector<OrtCustomOp*>& custom_ops();

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_CUSTOM_OPS_H_
