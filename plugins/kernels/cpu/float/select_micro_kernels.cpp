#include "common/instruction_sets.h"
#include "float/micro_kernels.h"

namespace shiftadd {
namespace cpu {

const MicroKernels& select_micro_kernels() {
  static const Candidate<const MicroKernels& (*)()> candidates[] = {
#if defined(__x86_64__)
      {kAvx2 | kAvx512F, avx512_micro_kernels},
      {kAvx2, avx2_micro_kernels},
#elif defined(__aarch64__)
      {kNeon, neon_micro_kernels},
#endif
      {kNoFeature, portable_micro_kernels},
  };
  return choose_kernels(candidates)();
}

}  // namespace cpu
}  // namespace shiftadd
