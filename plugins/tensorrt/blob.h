// What an engine file keeps of a plugin.
#ifndef SHIFTADD_TENSORRT_BLOB_H_
#define SHIFTADD_TENSORRT_BLOB_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "shiftadd/convolution.h"

namespace shiftadd {
namespace tensorrt {

// Everything of a plugin that outlives the process.
struct PluginState {
  OperatorKind kind;
  ConvAttributes attributes;
  // The number that the workspace was computed for; 0 until a device has been asked. An engine may
  // run on a device with another number and then uses the workspace that was computed when it was
  // built.
  int64_t multiprocessors;
};

// Little-endian words of 64 bits: a magic number, the version of the format, the blob's own length,
// the state, and a checksum that no change of one byte keeps.
constexpr size_t kBlobWords = 19;
constexpr size_t kBlobBytes = kBlobWords * sizeof(uint64_t);
using Blob = std::array<uint8_t, kBlobBytes>;

Blob write_blob(const PluginState& state);

// The validated state of a plugin of this kind. Throws ContractError, with `node` as its label, for
// a blob that is truncated, extended, damaged, of another kind or of another library.
PluginState read_blob(OperatorKind kind, const std::string& node, const void* data, size_t length);

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_BLOB_H_
