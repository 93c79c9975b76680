#include "ort_api.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "shiftadd/checks.h"

namespace shiftadd {
namespace ort {
namespace {

Api g_api = {nullptr, 0};

// Text of a failed status, which is released.
std::string release_text(OrtStatus* status) {
  const std::string text = api().table->GetErrorMessage(status);
  api().table->ReleaseStatus(status);
  return text;
}

[[noreturn]] void refuse_attribute(const std::string& node, const char* name, const char* type,
                                   OrtStatus* status) {
  throw ContractError(node, name, type, "no such attribute (" + release_text(status) + ")");
}

// Reads an attribute of unknown length through a getter that fails, but tells the length, where the
// buffer is too short for it.
template <typename T, typename Getter>
OrtStatus* read_sized(std::vector<T>& values, const Getter& get) {
  constexpr size_t kUsualSize = 64;
  values.resize(kUsualSize);
  size_t size = values.size();
  OrtStatus* status = get(values.data(), &size);
  if (status != nullptr && size > kUsualSize) {
    api().table->ReleaseStatus(status);
    values.resize(size);
    status = get(values.data(), &size);
  }
  if (status == nullptr) values.resize(size);
  return status;
}

// ONNX Runtime counts the closing NUL; one within the text is the text's own.
std::string without_nul(const std::vector<char>& text) {
  return std::string(text.data(), text.size() - 1);
}

template <typename T>
using Owned = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

std::vector<int64_t> shape_of(const OrtTensorTypeAndShapeInfo* info) {
  size_t rank = 0;
  check(api().table->GetDimensionsCount(info, &rank));
  std::vector<int64_t> shape(rank);
  check(api().table->GetDimensions(info, shape.data(), rank));
  return shape;
}

}  // namespace

Api find_api(const OrtApiBase* base) {
  char* rest = nullptr;
  const unsigned long major = std::strtoul(base->GetVersionString(), &rest, 10);
  const unsigned long minor = *rest == '.' ? std::strtoul(rest + 1, nullptr, 10) : 0;
  for (const uint32_t version : {kStatusApi, kConstantInputsApi, kOldestApi}) {
    if (major == 1 && minor < version) continue;
    const OrtApi* table = base->GetApi(version);
    if (table != nullptr) return {table, version};
  }
  return {nullptr, 0};
}

const Api& api() { return g_api; }
void set_api(const Api& api) { g_api = api; }

void check(OrtStatus* status) {
  if (status != nullptr) throw std::runtime_error("ONNX Runtime: " + release_text(status));
}

std::vector<int64_t> tensor_shape(const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api().table->GetTensorTypeAndShape(value, &info));
  const Owned<OrtTensorTypeAndShapeInfo> owner(info, api().table->ReleaseTensorTypeAndShapeInfo);
  return shape_of(info);
}

int64_t attribute_int(const OrtKernelInfo* info, const std::string& node, const char* name) {
  int64_t value = 0;
  OrtStatus* status = api().table->KernelInfoGetAttribute_int64(info, name, &value);
  if (status != nullptr) refuse_attribute(node, name, "an integer", status);
  return value;
}

std::vector<int64_t> attribute_ints(const OrtKernelInfo* info, const std::string& node,
                                    const char* name) {
  std::vector<int64_t> values;
  OrtStatus* status = read_sized(values, [&](int64_t* out, size_t* size) {
    return api().table->KernelInfoGetAttributeArray_int64(info, name, out, size);
  });
  if (status != nullptr) refuse_attribute(node, name, "integers", status);
  return values;
}

std::string attribute_string(const OrtKernelInfo* info, const std::string& node,
                             const AttributeDescription& attribute) {
  std::vector<char> text;
  OrtStatus* status = read_sized(text, [&](char* out, size_t* size) {
    return api().table->KernelInfoGetAttribute_string(info, attribute.name, out, size);
  });
  if (status == nullptr) return without_nul(text);
  // Only the text of the status tells a missing attribute from one of another type.
  const bool missing = std::strstr(api().table->GetErrorMessage(status), "No attribute") != nullptr;
  if (attribute.absent == nullptr || !missing) {
    refuse_attribute(node, attribute.name, "a string", status);
  }
  api().table->ReleaseStatus(status);
  return attribute.absent;
}

std::string node_name(const OrtKernelInfo* info) {
  if (api().version < kConstantInputsApi) return "(ONNX Runtime before 1.15 hides its name)";
  std::vector<char> text;
  check(read_sized(text, [&](char* out, size_t* size) {
    return api().table->KernelInfo_GetNodeName(info, out, size);
  }));
  return without_nul(text);
}

const OrtValue* constant_input(const OrtKernelInfo* info, size_t index) {
  if (api().version < kConstantInputsApi) return nullptr;
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(api().table->KernelInfoGetConstantInput_tensor(info, index, &is_constant, &value));
  return is_constant ? value : nullptr;
}

std::vector<int64_t> declared_shape(const OrtKernelInfo* info, size_t index) {
  if (api().version < kConstantInputsApi) return {};
  OrtTypeInfo* type = nullptr;
  check(api().table->KernelInfo_GetInputTypeInfo(info, index, &type));
  const Owned<OrtTypeInfo> owner(type, api().table->ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  check(api().table->CastTypeInfoToTensorInfo(type, &tensor));
  return tensor ? shape_of(tensor) : std::vector<int64_t>();
}

}  // namespace ort
}  // namespace shiftadd
