#include "common/instruction_sets.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace cpu {

const IntegerKernels& select_integer_kernels() {
  static const Candidate<const IntegerKernels& (*)()> candidates[] = {
#if defined(__x86_64__)
      {kAvx2 | kAvx512F | kAvx512Bw | kAvx512Vl | kAvx512Vnni, avx512_integer_kernels},
      {kAvx2, avx2_integer_kernels},
#elif defined(__aarch64__)
      {kNeon, neon_integer_kernels},
#endif
      {kNoFeature, portable_integer_kernels},
  };
  return choose_kernels(candidates)();
}

}  // namespace cpu
}  // namespace shiftadd
