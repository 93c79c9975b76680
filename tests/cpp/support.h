// What the C++ test programs share: counting checks, and naming a convolution.
#ifndef SHIFTADD_TESTS_CPP_SUPPORT_H_
#define SHIFTADD_TESTS_CPP_SUPPORT_H_

#include <cstdio>
#include <string>

#include "shiftadd/contract.h"

namespace shiftadd {
namespace test {

struct Counts {
  int checks = 0;
  int failures = 0;
};

inline Counts& counts() {
  static Counts counts;
  return counts;
}

// Prints `what` unless the condition holds.
inline void expect(bool condition, const std::string& what) {
  ++counts().checks;
  if (condition) return;
  ++counts().failures;
  std::printf("FAILED: %s\n", what.c_str());
}

// Prints the last line, which the Python tests read; the program's exit status.
inline int report(unsigned seed) {
  std::printf("%d checks, %d failures, seed %u\n", counts().checks, counts().failures, seed);
  return counts().failures == 0 ? 0 : 1;
}

inline std::string describe(OperatorKind kind, const ConvGeometry& g) {
  return std::string(operator_name(kind)) + " X " +
         detail::text({g.batch, g.channels, g.height, g.width}) + " kernel " +
         detail::text({g.kernel_height, g.kernel_width}) + " to " +
         detail::text({g.out_channels, g.out_height, g.out_width}) + " group " +
         detail::text(g.group) + " strides " + detail::text({g.stride_height, g.stride_width}) +
         " dilations " + detail::text({g.dilation_height, g.dilation_width});
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_SUPPORT_H_
