#include "blob.h"

#include <vector>

namespace shiftadd {
namespace tensorrt {
namespace {

constexpr uint64_t kMagic = 0x7472746164666873;  // "shfdatrt"
constexpr uint64_t kFormatVersion = 1;

constexpr uint64_t kMostMultiprocessors = 1 << 16;

uint64_t kind_code(OperatorKind kind) { return is_shift(kind) ? 0 : 1; }

// FNV-1a (Fowler, Noll, Vo), 64 bits. Each step is a bijection of the hash, so blobs that differ in
// one byte differ in the result.
uint64_t checksum(const uint8_t* bytes, size_t count) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

class Writer {
 public:
  void word(uint64_t value) {
    for (size_t i = 0; i < sizeof(value); ++i) {
      blob_.at(used_++) = static_cast<uint8_t>(value >> (8 * i));
    }
  }

  void words(const std::vector<int64_t>& values) {
    for (int64_t value : values) word(static_cast<uint64_t>(value));
  }

  Blob finish() {
    word(checksum(blob_.data(), used_));
    return blob_;
  }

 private:
  Blob blob_{};
  size_t used_ = 0;
};

class Reader {
 public:
  Reader(const std::string& node, const void* data, size_t length)
      : node_(node), bytes_(static_cast<const uint8_t*>(data)), length_(data ? length : 0) {}

  uint64_t word() {
    if (length_ - used_ < sizeof(uint64_t)) refuse("length", kBlobBytes, length_);
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) {
      value |= static_cast<uint64_t>(bytes_[used_++]) << (8 * i);
    }
    return value;
  }

  std::vector<int64_t> words(size_t count) {
    std::vector<int64_t> values;
    while (values.size() < count) values.push_back(static_cast<int64_t>(word()));
    return values;
  }

  void expect_word(const char* field, uint64_t expected) {
    const uint64_t got = word();
    if (got != expected) refuse(field, expected, got);
  }

  // The magic number, the version and the length come first, so that a blob of another format is
  // called by its name.
  void header() {
    expect_word("magic number", kMagic);
    expect_word("format version", kFormatVersion);
    expect_word("length", kBlobBytes);
    if (length_ != kBlobBytes) refuse("length", kBlobBytes, length_);
    Reader tail(node_, bytes_ + length_ - sizeof(uint64_t), sizeof(uint64_t));
    tail.expect_word("checksum", checksum(bytes_, length_ - sizeof(uint64_t)));
  }

  // A word below `limit`.
  uint64_t below(const char* field, uint64_t limit) {
    const uint64_t value = word();
    if (value >= limit) {
      throw ContractError(node_, std::string("serialized ") + field,
                          "a number below " + detail::text(limit), detail::text(value));
    }
    return value;
  }

 private:
  [[noreturn]] void refuse(const char* field, uint64_t expected, uint64_t got) const {
    throw ContractError(node_, std::string("serialized plugin's ") + field, detail::text(expected),
                        detail::text(got));
  }

  const std::string& node_;
  const uint8_t* bytes_;
  size_t length_;
  size_t used_ = 0;
};

}  // namespace

Blob write_blob(const PluginState& state) {
  const ConvAttributes& attributes = state.attributes;
  Writer writer;
  writer.word(kMagic);
  writer.word(kFormatVersion);
  writer.word(kBlobBytes);
  writer.word(kind_code(state.kind));
  writer.words(attributes.kernel_shape);
  writer.words(attributes.strides);
  writer.words(attributes.pads);
  writer.words(attributes.dilations);
  writer.words({attributes.group, attributes.weight_bits});
  writer.word(static_cast<uint64_t>(attributes.activation));
  writer.word(static_cast<uint64_t>(state.multiprocessors));
  return writer.finish();
}

PluginState read_blob(OperatorKind kind, const std::string& node, const void* data, size_t length) {
  Reader reader(node, data, length);
  reader.header();
  reader.expect_word("operator", kind_code(kind));
  PluginState state{kind, {}, 0};
  ConvAttributes& attributes = state.attributes;
  attributes.kernel_shape = reader.words(2);
  attributes.strides = reader.words(2);
  attributes.pads = reader.words(4);
  attributes.dilations = reader.words(2);
  attributes.group = reader.words(1)[0];
  attributes.weight_bits = reader.words(1)[0];
  attributes.activation = static_cast<Activation>(reader.below("activation", kActivationCount));
  state.multiprocessors =
      static_cast<int64_t>(reader.below("multiprocessors", kMostMultiprocessors));
  validate_attributes(kind, node, attributes);
  return state;
}

}  // namespace tensorrt
}  // namespace shiftadd
