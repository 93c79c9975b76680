// Fields of a node as a parser of TensorRT hands them over: any names, types, lengths and entries;
// then what TensorRT does with the plugin, if there is one.
#include <string>

#include "plugin_drive.h"
#include "tensorrt_fields.h"

namespace {

using namespace shiftadd;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

const char* const kNames[] = {"kernel_shape", "strides",     "pads",     "dilations",      "group",
                              "activation",   "weight_bits", "auto_pad", "shiftadd_plugin"};

size_t entry_bytes(PluginFieldType type) {
  switch (type) {
    case PluginFieldType::kCHAR:
    case PluginFieldType::kINT8: return 1;
    case PluginFieldType::kFLOAT16:
    case PluginFieldType::kINT16: return 2;
    case PluginFieldType::kFLOAT64: return 8;
#if NV_TENSORRT_MAJOR >= 10
    case PluginFieldType::kINT64: return 8;
#endif
    case PluginFieldType::kDIMS: return sizeof(nvinfer1::Dims);
    default: return 4;
  }
}

// One field becomes another: of a type and a length of its own, with as many entries behind it.
void damage(FuzzedDataProvider& bytes, tensorrt_test::Fields& fields) {
  const std::string name = bytes.PickValueInArray(kNames);
  const auto type = static_cast<PluginFieldType>(bytes.ConsumeIntegralInRange(-1, 14));
  const int32_t length = bytes.ConsumeIntegralInRange(-2, 12);
  const size_t size = length > 0 ? static_cast<size_t>(length) * entry_bytes(type) : 0;
  std::vector<uint8_t> entries = bytes.ConsumeBytes<uint8_t>(size);
  entries.resize(size);
  switch (bytes.ConsumeIntegralInRange(0, 4)) {
    case 0: fields.remove(name); return;
    case 1: fields.add(name); return;
    case 2: fields.get(name).data = nullptr; return;
    case 3: fields.text("activation", bytes.ConsumeRandomLengthString(12)); return;
    default: break;
  }
  fields.set(name, entries.data(), size, type, 0);
  fields.get(name).length = length;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider bytes(data, size);
  const auto& operators = fuzz::operators();
  const fuzz::Operator& op =
      operators[bytes.ConsumeIntegralInRange<size_t>(0, operators.size() - 1)];
  tensorrt_test::Fields fields(op.kind, fuzz::attributes(bytes, op.kind));
  for (int count = bytes.ConsumeIntegralInRange(0, 3); count > 0; --count) damage(bytes, fields);
  tensorrt_test::library().logger.lines.clear();
  const auto plugin = op.factory->create("node", fields.collection());
  fuzz::require((plugin == nullptr) == !tensorrt_test::library().logger.lines.empty(),
                "a refusal, and nothing else, is told");
  if (plugin != nullptr) fuzz::drive(bytes, op.kind, *plugin);
  return 0;
}
