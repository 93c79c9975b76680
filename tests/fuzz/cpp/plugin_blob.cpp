// Plugin blobs of an engine file, damaged anyhow, or with a checksum that fits the damage; then
// what TensorRT does with the plugin, if there is one.
#include <cstring>

#include "blob.h"
#include "plugin_drive.h"

namespace {

using namespace shiftadd;

void store(std::vector<uint8_t>& blob, size_t word, uint64_t value) {
  for (size_t i = 0; i < 8; ++i) blob[8 * word + i] = static_cast<uint8_t>(value >> (8 * i));
}

// Somebody who knows the checksum, FNV-1a, makes the rest fit.
void sign(std::vector<uint8_t>& blob) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i + 8 < blob.size(); ++i) hash = (hash ^ blob[i]) * 0x100000001b3;
  store(blob, blob.size() / 8 - 1, hash);
}

// A blob as the library writes it, with attributes of any kind.
std::vector<uint8_t> forged(FuzzedDataProvider& bytes, OperatorKind kind) {
  ConvAttributes a = fuzz::attributes(bytes, kind);
  a.kernel_shape.resize(2);
  a.strides.resize(2);
  a.pads.resize(4);
  a.dilations.resize(2);
  const tensorrt::Blob written = tensorrt::write_blob({kind, a, fuzz::integer(bytes, 0, 200)});
  std::vector<uint8_t> blob(written.begin(), written.end());
  if (bytes.ConsumeIntegral<uint8_t>() % 8 == 7) {
    const size_t word = bytes.ConsumeIntegralInRange<size_t>(0, tensorrt::kBlobWords - 2);
    store(blob, word, bytes.ConsumeIntegral<uint64_t>());
    sign(blob);
  }
  return blob;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider bytes(data, size);
  const auto& operators = fuzz::operators();
  const fuzz::Operator& op =
      operators[bytes.ConsumeIntegralInRange<size_t>(0, operators.size() - 1)];
  const std::vector<uint8_t> blob =
      bytes.ConsumeBool()
          ? forged(bytes, op.kind)
          : bytes.ConsumeBytes<uint8_t>(bytes.ConsumeIntegralInRange<size_t>(0, 200));
  const tensorrt_test::Bytes copy(blob.data(), blob.size());
  tensorrt_test::library().logger.lines.clear();
  const auto plugin = op.factory->deserialize("node", copy);
  fuzz::require((plugin == nullptr) == !tensorrt_test::library().logger.lines.empty(),
                "a refusal, and nothing else, is told");
  if (plugin == nullptr) return 0;
  const tensorrt_test::Blob again = plugin->serialize();
  fuzz::require(
      again.size() == blob.size() && std::memcmp(again.data(), blob.data(), blob.size()) == 0,
      "what is read is what is written");
  fuzz::drive(bytes, op.kind, *plugin);
  return 0;
}
