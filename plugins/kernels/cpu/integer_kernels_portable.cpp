// Integer micro-kernels for any processor, and the choice among the tables.
#include <string>

#include "integer_kernels_impl.h"
#include "micro_kernels.h"

namespace shiftadd {
namespace cpu {

const IntegerKernels& portable_integer_kernels() {
  constexpr size_t kPixels = 4, kChannels = 8, kDepth = 4;
  constexpr size_t kMostSteps = kPanelBytes / (kPixels * kDepth);
  static const IntegerKernels table = {
      "portable",
      {kPixels, kChannels, kDepth, false, 0, 1, kMostSteps,
       integer_tile<IntegerShiftTerm, kPixels, kChannels, kDepth>},
      {kPixels, kChannels, kDepth, false, 0, 1, kMostSteps,
       integer_tile<IntegerAdderTerm, kPixels, kChannels, kDepth>},
      integer_depthwise<IntegerShiftTerm>,
      integer_depthwise<IntegerAdderTerm>,
      requantize};
  return table;
}

const IntegerKernels& select_integer_kernels() {
  const std::string isa = select_micro_kernels().name;
#if defined(__x86_64__)
  if (isa != "portable") return avx2_integer_kernels();
#elif defined(__aarch64__)
  if (isa == "neon") return neon_integer_kernels();
#endif
  return portable_integer_kernels();
}

}  // namespace cpu
}  // namespace shiftadd
