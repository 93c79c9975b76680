// What the plugins use of TensorRT's library: a registry and a logger that keep what they are
// given, and dimensions that are exact integers.
#ifndef SHIFTADD_TESTS_CPP_TENSORRT_LIBRARY_H_
#define SHIFTADD_TESTS_CPP_TENSORRT_LIBRARY_H_

#include <NvInferRuntime.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace tensorrt_test {

#if NV_TENSORRT_MAJOR >= 10
using Creator = nvinfer1::IPluginCreatorInterface;
#else
using Creator = nvinfer1::IPluginCreator;
#endif

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* text) noexcept override {
    lines.emplace_back(severity, text);
  }

  // Lines of this severity that have every part.
  int count(Severity severity, const std::vector<std::string>& parts) const {
    int found = 0;
    for (const auto& line : lines) {
      bool all = line.first == severity;
      for (const std::string& part : parts) all &= line.second.find(part) != std::string::npos;
      found += all;
    }
    return found;
  }

  std::vector<std::pair<Severity, std::string>> lines;
};

// Keeps one creator of a name and version, as TensorRT's does.
class Registry : public nvinfer1::IPluginRegistry {
 public:
  struct Entry {
    Creator* creator;
    std::string name, version, plugin_namespace;
  };

  bool add(const Entry& entry) {
    for (const Entry& other : entries) {
      if (other.name == entry.name && other.version == entry.version) return false;
    }
    entries.push_back(entry);
    return true;
  }

  bool remove(const Creator& creator) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].creator != &creator) continue;
      entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    }
    return false;
  }

  void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept override {}
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }

#if NV_TENSORRT_MAJOR < 11
  nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override {
    return nullptr;
  }
  nvinfer1::IPluginCreator* getPluginCreator(const char*, const char*,
                                             const char*) noexcept override {
    return nullptr;
  }
  bool registerCreator(nvinfer1::IPluginCreator& creator, const char* text) noexcept override {
    creator.setPluginNamespace(text);
    return add({&creator, creator.getPluginName(), creator.getPluginVersion(), text});
  }
  bool deregisterCreator(const nvinfer1::IPluginCreator& creator) noexcept override {
    return remove(creator);
  }
#endif

#if NV_TENSORRT_MAJOR >= 10
  bool registerCreator(Creator& creator, const char* text) noexcept override {
    auto* newest = dynamic_cast<nvinfer1::IPluginCreatorV3One*>(&creator);
    return newest != nullptr &&
           add({&creator, newest->getPluginName(), newest->getPluginVersion(), text});
  }
  bool deregisterCreator(const Creator& creator) noexcept override { return remove(creator); }
  bool isParentSearchEnabled() const override { return true; }
  void setParentSearchEnabled(bool) override {}
  void* loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(void*) noexcept override {}
  Creator* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
  Creator* getCreator(const char*, const char*, const char*) noexcept override { return nullptr; }
  nvinfer1::IPluginResource* acquirePluginResource(const char*,
                                                   nvinfer1::IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(const char*) noexcept override { return 1; }
  Creator* const* getAllCreatorsRecursive(int32_t*) noexcept override { return nullptr; }
#endif

  std::vector<Entry> entries;
};

// What a test decides about the pretended library.
struct Library {
  Registry registry;
  Logger logger;
  int32_t major = NV_TENSORRT_MAJOR;
};

// Made by the first who asks, which is the plugins' own registration.
Library& library();

// A dimension: a constant, or the extent number `symbol` of what is not known yet, or made of two.
class Dimension : public nvinfer1::IDimensionExpr {
 public:
  using Integer = decltype(std::declval<nvinfer1::IDimensionExpr>().getConstantValue());

  Dimension(bool constant, int64_t value) : impl_(constant, value) { mImpl = &impl_; }
  Dimension(nvinfer1::DimensionOperation operation, const Dimension& first, const Dimension& second)
      : Dimension(first.isConstant() && second.isConstant(), 0) {
    operation_ = operation;
    first_ = &first;
    second_ = &second;
    if (isConstant()) impl_.value = value({});
  }

  // With these values for the symbols.
  int64_t value(const std::vector<int64_t>& symbols) const {
    if (first_ == nullptr) {
      return isConstant() ? impl_.value : symbols.at(static_cast<size_t>(impl_.value));
    }
    const int64_t a = first_->value(symbols), b = second_->value(symbols);
    switch (operation_) {
      case nvinfer1::DimensionOperation::kSUM: return a + b;
      case nvinfer1::DimensionOperation::kSUB: return a - b;
      case nvinfer1::DimensionOperation::kFLOOR_DIV:
        return a / b - (a % b != 0 && (a < 0) != (b < 0));
      default: std::abort();
    }
  }

 private:
  struct Impl : nvinfer1::apiv::VDimensionExpr {
    Impl(bool constant, int64_t v) : is_constant(constant), value(v) {}
    bool isConstant() const override { return is_constant; }
    Integer getConstantValue() const override { return static_cast<Integer>(value); }
#if NV_TENSORRT_MAJOR >= 10
    bool isSizeTensor() const override { return false; }
#endif
    bool is_constant;
    int64_t value;
  };

  Impl impl_;
  nvinfer1::DimensionOperation operation_{};
  const Dimension* first_ = nullptr;
  const Dimension* second_ = nullptr;
};

// Owns the dimensions that it makes.
class Builder : public nvinfer1::IExprBuilder {
 public:
  Builder() : impl_(*this) { mImpl = &impl_; }

  const Dimension* make(bool constant, int64_t value) {
    made_.emplace_back(new Dimension(constant, value));
    return made_.back().get();
  }

  bool failing = false;  // whether operations answer null

 private:
  struct Impl : nvinfer1::apiv::VExprBuilder {
    explicit Impl(Builder& builder) : owner(builder) {}
    const nvinfer1::IDimensionExpr* constant(Dimension::Integer value) override {
      return owner.make(true, value);
    }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation operation,
                                              const nvinfer1::IDimensionExpr& first,
                                              const nvinfer1::IDimensionExpr& second) override {
      if (owner.failing) return nullptr;
      owner.made_.emplace_back(new Dimension(operation, static_cast<const Dimension&>(first),
                                             static_cast<const Dimension&>(second)));
      return owner.made_.back().get();
    }
#if NV_TENSORRT_MAJOR >= 10
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      return nullptr;
    }
#endif
    Builder& owner;
  };

  Impl impl_;
  std::vector<std::unique_ptr<Dimension>> made_;
};

}  // namespace tensorrt_test

#endif  // SHIFTADD_TESTS_CPP_TENSORRT_LIBRARY_H_
