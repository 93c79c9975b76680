// The functions of TensorRT's library that the plugins look for.
#include "tensorrt_library.h"

namespace tensorrt_test {

Library& library() {
  static Library library;
  return library;
}

}  // namespace tensorrt_test

extern "C" {
nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
  return &tensorrt_test::library().registry;
}
nvinfer1::ILogger* getLogger() noexcept { return &tensorrt_test::library().logger; }
#if NV_TENSORRT_MAJOR >= 10
int32_t getInferLibMajorVersion() noexcept { return tensorrt_test::library().major; }
#else
int32_t getInferLibVersion() noexcept { return tensorrt_test::library().major * 1000 + 201; }
#endif
}
