// Where the plugins' messages go, and the border that no exception crosses.
#ifndef SHIFTADD_TENSORRT_LOGGER_H_
#define SHIFTADD_TENSORRT_LOGGER_H_

#include <exception>
#include <mutex>
#include <set>
#include <string>

#include "tensorrt_api.h"

namespace shiftadd {
namespace tensorrt {

// One line to TensorRT's logger or, errors and warnings, to stderr where there is none.
void log(nvinfer1::ILogger::Severity severity, const char* text) noexcept;
void log_error(const char* text) noexcept;

#if NV_TENSORRT_MAJOR >= 10
// The registry's way to the logger of the engine whose plugin is called.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;
#endif

// What body() answers, or `failure` where it throws, after report(text).
template <typename Result, typename Body, typename Report>
Result catching(Result failure, const Body& body, const Report& report) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    report(error.what());
  } catch (...) {
    report("an exception of unknown type");
  }
  return failure;
}

// What body() answers, or `failure` where it throws, after a line in the log.
template <typename Result, typename Body>
Result guarded(Result failure, const Body& body) noexcept {
  return catching(failure, body, log_error);
}

// The same where nothing is answered.
template <typename Body>
void guarded(const Body& body) noexcept {
  guarded(false, [&] {
    body();
    return true;
  });
}

// Refusals of questions that TensorRT asks many times: an equal one is logged once. A copy starts
// anew.
class Refusals {
 public:
  Refusals() = default;
  Refusals(const Refusals&) {}
  Refusals& operator=(const Refusals&) = delete;

  // As guarded().
  template <typename Result, typename Body>
  Result guard(nvinfer1::ILogger::Severity severity, Result failure, const Body& body) noexcept {
    return catching(failure, body, [&](const char* text) { log_once(severity, text); });
  }

 private:
  void log_once(nvinfer1::ILogger::Severity severity, const char* text) noexcept;

  std::mutex logging_;
  std::set<std::string> logged_;
};

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_LOGGER_H_
