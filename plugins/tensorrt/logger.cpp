#include "logger.h"

#include <atomic>
#include <cstdio>

namespace shiftadd {
namespace tensorrt {
namespace {

using nvinfer1::ILogger;

#if NV_TENSORRT_MAJOR >= 10
std::atomic<nvinfer1::ILoggerFinder*> g_finder{nullptr};

ILogger* found_logger() {
  nvinfer1::ILoggerFinder* finder = g_finder.load();
  return finder != nullptr ? finder->findLogger() : nullptr;
}
#else
ILogger* found_logger() { return nullptr; }
#endif

ILogger* current_logger() noexcept {
  if (!library_fits()) return nullptr;
  try {
    ILogger* found = found_logger();
    if (found != nullptr) return found;
  } catch (...) {
    // findLogger, alone in the interface, may throw; the global logger serves as well.
  }
  return getLogger != nullptr ? getLogger() : nullptr;
}

}  // namespace

void log(ILogger::Severity severity, const char* text) noexcept {
  ILogger* logger = current_logger();
  if (logger == nullptr) {
    if (severity <= ILogger::Severity::kWARNING) std::fprintf(stderr, "[shiftadd] %s\n", text);
    return;
  }
  try {
    logger->log(severity, ("[shiftadd] " + std::string(text)).c_str());
  } catch (...) {
    logger->log(severity, text);
  }
}

void log_error(const char* text) noexcept { log(ILogger::Severity::kERROR, text); }

void Refusals::log_once(ILogger::Severity severity, const char* text) noexcept {
  bool fresh = true;
  try {
    std::lock_guard<std::mutex> lock(logging_);
    fresh = logged_.insert(text).second;
  } catch (...) {
    // A refusal that cannot be remembered for want of memory is logged again.
  }
  if (fresh) log(severity, text);
}

#if NV_TENSORRT_MAJOR >= 10
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { g_finder.store(finder); }
#endif

}  // namespace tensorrt
}  // namespace shiftadd
