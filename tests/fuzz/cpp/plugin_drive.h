// What TensorRT does with a plugin, with shapes, types and formats from a fuzzer's bytes.
#ifndef SHIFTADD_TESTS_FUZZ_PLUGIN_DRIVE_H_
#define SHIFTADD_TESTS_FUZZ_PLUGIN_DRIVE_H_

#include <memory>
#include <string>
#include <vector>

#include "tensorrt_plugins.h"
#include "values.h"

namespace shiftadd {
namespace fuzz {

struct Operator {
  OperatorKind kind;
  std::shared_ptr<tensorrt_test::Factory> factory;
};

// Either operator behind every interface of this TensorRT.
const std::vector<Operator>& operators();

// A life from the builder to a run; the plugin must outlive every refusal. What it is given of
// memory is exactly what the shapes say.
void drive(FuzzedDataProvider& bytes, OperatorKind kind, tensorrt_test::Plugin& plugin);

}  // namespace fuzz
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_FUZZ_PLUGIN_DRIVE_H_
