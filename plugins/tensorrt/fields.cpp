#include "fields.h"

#include <cstring>
#include <vector>

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

std::vector<PluginField> list_fields(OperatorKind kind) {
  std::vector<PluginField> fields;
  for (const AttributeDescription& attribute : describe(kind).attributes) {
    const bool text = attribute.type == AttributeType::kString;
    fields.push_back({attribute.name, nullptr,
                      text ? PluginFieldType::kCHAR : PluginFieldType::kINT32,
                      text ? 0 : attribute.length});
  }
  return fields;
}

PluginFieldCollection collect(const std::vector<PluginField>& fields) {
  PluginFieldCollection collection;
  collection.nbFields = static_cast<int32_t>(fields.size());
  collection.fields = fields.data();
  return collection;
}

std::string describe(const PluginField& field) {
  return detail::text(field.length) + " entries of field type " +
         detail::text(static_cast<int32_t>(field.type)) +
         (field.data == nullptr ? " and no data" : "");
}

// A copy of the data's entries: nothing says that they are aligned.
template <typename T>
std::vector<int64_t> copy_entries(const PluginField& field) {
  std::vector<T> entries(static_cast<size_t>(field.length));
  std::memcpy(entries.data(), field.data, entries.size() * sizeof(T));
  return {entries.begin(), entries.end()};
}

bool is_int64(const PluginField& field) {
#if NV_TENSORRT_MAJOR >= 10
  return field.type == PluginFieldType::kINT64;
#else
  static_cast<void>(field);
  return false;
#endif
}

std::vector<int64_t> read_ints(const std::string& node, const PluginFieldCollection* collection,
                               const char* name, int32_t count) {
  const PluginField& field = find_field(node, collection, name);
  const bool wide = is_int64(field);
  const bool integers = wide || field.type == PluginFieldType::kINT32;
  if (!integers || field.length != count || field.data == nullptr) {
    throw ContractError(node, name, detail::text(count) + " entries of field type INT32",
                        describe(field));
  }
  return wide ? copy_entries<int64_t>(field) : copy_entries<int32_t>(field);
}

// TensorRT's parsers have counted the closing NUL, and have not.
std::string read_string(const std::string& node, const PluginFieldCollection* collection,
                        const char* name) {
  const PluginField& field = find_field(node, collection, name);
  if (field.type != PluginFieldType::kCHAR || field.length < 0 || field.data == nullptr) {
    throw ContractError(node, name, "a string of field type CHAR", describe(field));
  }
  std::string text(static_cast<const char*>(field.data), static_cast<size_t>(field.length));
  if (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

}  // namespace

const PluginFieldCollection* field_names(OperatorKind kind) {
  static const std::vector<PluginField> shift = list_fields(OperatorKind::kShiftConv);
  static const std::vector<PluginField> adder = list_fields(OperatorKind::kAdderConv);
  static const PluginFieldCollection shift_collection = collect(shift);
  static const PluginFieldCollection adder_collection = collect(adder);
  return is_shift(kind) ? &shift_collection : &adder_collection;
}

const PluginField& find_field(const std::string& node, const PluginFieldCollection* collection,
                              const char* name) {
  const PluginField* found = nullptr;
  const int32_t count =
      collection != nullptr && collection->fields != nullptr ? collection->nbFields : 0;
  for (int32_t i = 0; i < count; ++i) {
    const PluginField& field = collection->fields[i];
    if (field.name == nullptr || std::strcmp(field.name, name) != 0) continue;
    if (found != nullptr) throw ContractError(node, name, "one field", "two of that name");
    found = &field;
  }
  if (found == nullptr) throw ContractError(node, name, "one field", "none of that name");
  return *found;
}

ConvAttributes read_fields(OperatorKind kind, const std::string& node,
                           const PluginFieldCollection* collection) {
  ConvAttributes attributes;
  for (const ListAttribute& list : kListAttributes) {
    attributes.*list.values =
        read_ints(node, collection, list.name, find_attribute(kind, list.name)->length);
  }
  attributes.group = read_ints(node, collection, kGroup.name, 1)[0];
  if (find_attribute(kind, "weight_bits") != nullptr) {
    attributes.weight_bits = read_ints(node, collection, "weight_bits", 1)[0];
  }
  attributes.activation = parse_activation(node, read_string(node, collection, kActivation.name));
  validate_attributes(kind, node, attributes);
  return attributes;
}

}  // namespace tensorrt
}  // namespace shiftadd
