// The library's entry point for ONNX Runtime.
#include <exception>
#include <mutex>

#include "custom_ops.h"
#include "ort_api.h"
#include "shiftadd/operators.h"

namespace {

using shiftadd::ort::api;

// A failure, through an API that every version has.
OrtStatus* refuse(const OrtApiBase* base, const char* reason) {
  constexpr uint32_t kAnyApi = 1;
  return base->GetApi(kAnyApi)->CreateStatus(ORT_NOT_IMPLEMENTED, reason);
}

// Creates the operator domain once. A session uses its domain for as long as it lives and nothing
// says when the last one has gone, so domain and library stay for the life of the process (the
// library is linked with -z nodelete).
OrtStatus* find_domain(const OrtApiBase* base, OrtCustomOpDomain** domain) {
  static std::mutex creating;
  static OrtCustomOpDomain* created = nullptr;
  std::lock_guard<std::mutex> lock(creating);
  if (created == nullptr) {
    shiftadd::ort::set_api(shiftadd::ort::find_api(base));
    if (api().table == nullptr) {
      return refuse(base, "shiftadd operators: expected ONNX Runtime 1.10 or newer");
    }
    OrtCustomOpDomain* fresh = nullptr;
    OrtStatus* status = api().table->CreateCustomOpDomain(shiftadd::kDomain, &fresh);
    if (status != nullptr) return status;
    for (OrtCustomOp* op : shiftadd::ort::custom_ops()) {
      status = api().table->CustomOpDomain_Add(fresh, op);
      if (status != nullptr) {
        api().table->ReleaseCustomOpDomain(fresh);
        return status;
      }
    }
    created = fresh;
  }
  const OrtApi* own = base->GetApi(api().version);
  if (own != api().table) {
    return refuse(base,
                  "shiftadd operators: this process has registered them with another ONNX Runtime");
  }
  *domain = created;
  return nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  try {
    OrtCustomOpDomain* domain = nullptr;
    OrtStatus* status = find_domain(base, &domain);
    if (status != nullptr) return status;
    return api().table->AddCustomOpDomain(options, domain);
  } catch (const std::exception& error) {
    return refuse(base, error.what());
  }
}
