// The one choice of an instruction set, for the float, the integer and the training kernels.
#ifndef SHIFTADD_KERNELS_CPU_COMMON_INSTRUCTION_SETS_H_
#define SHIFTADD_KERNELS_CPU_COMMON_INSTRUCTION_SETS_H_

#include <cstddef>

namespace shiftadd {
namespace cpu {

// What a processor may have, each a bit of a mask.
using Features = unsigned;
constexpr Features kNoFeature = 0;
constexpr Features kNeon = 1 << 0;
constexpr Features kAvx2 = 1 << 1;  // and FMA: no processor of interest has one without the other
constexpr Features kAvx512F = 1 << 2;
constexpr Features kAvx512Dq = 1 << 3;
constexpr Features kAvx512Bw = 1 << 4;
constexpr Features kAvx512Vl = 1 << 5;
constexpr Features kAvx512Vnni = 1 << 6;

// The features that kernels may use: the processor's or, where the environment variable
// SHIFTADD_CPU_ISA names an instruction set ("portable", "neon", "avx2", "avx512"), those of the
// processor's that belong to that set. Throws std::runtime_error where the name is unknown or this
// processor lacks the set.
Features usable_features();

// One family's kernels for an instruction set, and the features that they use.
template <typename Kernels>
struct Candidate {
  Features needs;
  Kernels kernels;
};

// The kernels of the first candidate whose features are usable. The last candidate needs none.
template <typename Kernels, size_t kCount>
Kernels choose_kernels(const Candidate<Kernels> (&candidates)[kCount]) {
  const Features usable = usable_features();
  size_t i = 0;
  while (i + 1 < kCount && (candidates[i].needs & ~usable) != 0) ++i;
  return candidates[i].kernels;
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_COMMON_INSTRUCTION_SETS_H_
