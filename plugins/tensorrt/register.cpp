// The library's entry points, and its registration where nobody calls them.
//
// TensorRT's registry holds one creator of a name, version and namespace, or answers the one listed
// last, so each way of loading brings one kind of creator: on TensorRT 10 and newer the registry
// (getCreators) gets those of IPluginV3; a loader that knows only the older entry point
// (getPluginCreators), as TensorRT 8.5 and 8.6 do, gets those of IPluginV2DynamicExt.
#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "logger.h"
#include "plugin_v2.h"
#include "plugin_v3.h"
#include "tensorrt_api.h"

#if NV_TENSORRT_MAJOR >= 10
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

namespace {

namespace plugins = shiftadd::tensorrt;
using shiftadd::OperatorKind;

// The creators of all operators, as the interface that a registry holds. They are never destroyed,
// because a registry keeps pointers to them and may outlive everything here.
template <typename Creator, typename Interface>
const std::array<Interface*, 2>& creators() {
  static const std::array<Interface*, 2> all = {
      {new Creator(OperatorKind::kShiftConv), new Creator(OperatorKind::kAdderConv)}};
  return all;
}

const std::array<nvinfer1::IPluginCreator*, 2>& v2_creators() {
  return creators<plugins::ConvCreatorV2, nvinfer1::IPluginCreator>();
}

#if NV_TENSORRT_MAJOR >= 10
const std::array<nvinfer1::IPluginCreatorInterface*, 2>& newest_creators() {
  return creators<plugins::ConvCreatorV3, nvinfer1::IPluginCreatorInterface>();
}
#else
const std::array<nvinfer1::IPluginCreator*, 2>& newest_creators() { return v2_creators(); }
#endif

// Registers the creators as soon as the library is loaded, for trtexec's --plugins and
// --staticPlugins and for a plain dlopen.
class SelfRegistration {
 public:
  SelfRegistration() noexcept {
    plugins::guarded([&] { enter(); });
  }

  // Takes the creators out again where the registry loads the library by itself: it opens it, by
  // which they have entered, and refuses it if they are still there when it has asked for them.
  // (So does that of TensorRT for RTX 1.7.1, the one in reach; it may be called from within.)
  void take_back() {
    if (!registered_.exchange(false)) return;
    for (auto* creator : newest_creators()) getPluginRegistry()->deregisterCreator(*creator);
  }

 private:
  void enter() {
    if (getPluginRegistry == nullptr) return;
    if (!plugins::library_fits()) {
      plugins::log_error(("not registered: built for TensorRT " +
                          std::to_string(NV_TENSORRT_MAJOR) + ", loaded beside TensorRT " +
                          std::to_string(plugins::library_major()))
                             .c_str());
      return;
    }
    nvinfer1::IPluginRegistry* registry = getPluginRegistry();
    if (registry == nullptr) return;
    for (auto* creator : newest_creators()) {
      if (!registry->registerCreator(*creator, "")) {
        plugins::log_error("not registered: another plugin has the name and version");
      }
    }
    registered_ = true;
  }

  std::atomic<bool> registered_{false};
};

SelfRegistration g_self_registration;

// Hands a loader all creators of list() and their number.
template <typename Interface>
Interface* const* hand_over(const std::array<Interface*, 2>& (*list)(), int32_t& count) noexcept {
  count = 0;
  return plugins::guarded<Interface* const*>(nullptr, [&] {
    g_self_registration.take_back();
    const auto& creators = list();
    count = static_cast<int32_t>(creators.size());
    return creators.data();
  });
}

}  // namespace

#define SHIFTADD_EXPORT extern "C" __attribute__((visibility("default")))

SHIFTADD_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) noexcept {
  return hand_over(v2_creators, count);
}

#if NV_TENSORRT_MAJOR >= 10
SHIFTADD_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept {
  return hand_over(newest_creators, count);
}

SHIFTADD_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
  plugins::set_logger_finder(finder);
}
#endif
