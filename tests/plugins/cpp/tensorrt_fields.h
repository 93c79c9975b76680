// Plugin fields as TensorRT's parsers hand them over, and as they must not be.
#ifndef SHIFTADD_TESTS_CPP_TENSORRT_FIELDS_H_
#define SHIFTADD_TESTS_CPP_TENSORRT_FIELDS_H_

#include <NvInferRuntime.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "shiftadd/convolution.h"

namespace tensorrt_test {

// Memory of just these bytes, so that a read behind them is seen.
class Bytes {
 public:
  Bytes(const void* data, size_t size) : size_(size), data_(new char[size]) {
    if (size != 0) std::memcpy(data_.get(), data, size);
  }
  const char* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  size_t size_;
  std::unique_ptr<char[]> data_;
};

inline const char* activation_name(shiftadd::Activation activation) {
  return shiftadd::kActivationNames[static_cast<int>(activation)];
}

class Fields {
 public:
  Fields() = default;
  // A node's, as the parser of TensorRT 8.2 gives them.
  Fields(shiftadd::OperatorKind kind, const shiftadd::ConvAttributes& a) {
    ints("kernel_shape", a.kernel_shape);
    ints("strides", a.strides);
    ints("pads", a.pads);
    ints("dilations", a.dilations);
    ints("group", {a.group});
    text("activation", activation_name(a.activation));
    if (shiftadd::is_shift(kind)) ints("weight_bits", {a.weight_bits});
  }

  // Sets a field, or puts it at the end. Integers of type T.
  template <typename T = int32_t>
  void ints(const std::string& name, const std::vector<int64_t>& values,
            nvinfer1::PluginFieldType type = nvinfer1::PluginFieldType::kINT32) {
    const std::vector<T> entries(values.begin(), values.end());
    set(name, entries.data(), entries.size() * sizeof(T), type, entries.size());
  }

  void text(const std::string& name, const std::string& value) {
    set(name, value.data(), value.size(), nvinfer1::PluginFieldType::kCHAR, value.size());
  }

  void set(const std::string& name, const void* data, size_t bytes, nvinfer1::PluginFieldType type,
           size_t length) {
    data_.emplace_back(new Bytes(data, bytes));
    nvinfer1::PluginField& field = get(name);
    field.data = data_.back()->data();
    field.type = type;
    field.length = static_cast<int32_t>(length);
  }

  nvinfer1::PluginField& get(const std::string& name) {
    for (nvinfer1::PluginField& field : fields_) {
      if (field.name != nullptr && name == field.name) return field;
    }
    return add(name);
  }

  // One more of the name, with nothing in it.
  nvinfer1::PluginField& add(const std::string& name) {
    names_.emplace_back(new std::string(name));
    fields_.emplace_back(names_.back()->c_str());
    return fields_.back();
  }

  void remove(const std::string& name) {
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (name == fields_[i].name) fields_.erase(fields_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  const nvinfer1::PluginFieldCollection* collection() {
    collection_.nbFields = static_cast<int32_t>(fields_.size());
    collection_.fields = fields_.data();
    return &collection_;
  }

 private:
  std::vector<nvinfer1::PluginField> fields_;
  std::vector<std::unique_ptr<std::string>> names_;
  std::vector<std::unique_ptr<Bytes>> data_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace tensorrt_test

#endif  // SHIFTADD_TESTS_CPP_TENSORRT_FIELDS_H_
