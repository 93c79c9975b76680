// TensorRT's headers, and the functions of its library that this one uses where they are at hand.
#ifndef SHIFTADD_TENSORRT_TENSORRT_API_H_
#define SHIFTADD_TENSORRT_TENSORRT_API_H_

#include <NvInferRuntime.h>

#include <cstdint>

// Weak, for a library that was built without libnvinfer: Python's TensorRT loads its own where no
// other library sees it, and hands this one to the registry all the same.
extern "C" {
__attribute__((weak)) nvinfer1::IPluginRegistry* getPluginRegistry() noexcept;
__attribute__((weak)) nvinfer1::ILogger* getLogger() noexcept;
#if NV_TENSORRT_MAJOR >= 10
__attribute__((weak)) int32_t getInferLibMajorVersion() noexcept;
#else
__attribute__((weak)) int32_t getInferLibVersion() noexcept;
#endif
}

namespace shiftadd {
namespace tensorrt {

// Of plugins and creators. Creators carry no namespace unless they are given one: the parsers look
// for an operator's name, this version and an empty namespace.
constexpr const char* kPluginVersion = "1";

// The numbers that mean success and failure to TensorRT.
constexpr int32_t kSuccess = 0;
constexpr int32_t kFailure = 1;

// Major version of the TensorRT library in reach; 0 where there is none.
inline int32_t library_major() noexcept {
#if NV_TENSORRT_MAJOR >= 10
  return getInferLibMajorVersion != nullptr ? getInferLibMajorVersion() : 0;
#else
  return getInferLibVersion != nullptr ? getInferLibVersion() / 1000 : 0;
#endif
}

// Whether the library in reach is of the headers' major version. Objects of another one must not be
// touched: the virtual tables of ILogger and IPluginRegistry differ between 8, 10 and 11.
inline bool library_fits() noexcept { return library_major() == NV_TENSORRT_MAJOR; }

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_TENSORRT_API_H_
