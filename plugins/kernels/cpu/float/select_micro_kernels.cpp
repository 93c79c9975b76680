// Chooses the micro-kernels that this processor runs best.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "float/micro_kernels.h"

namespace shiftadd {
namespace cpu {
namespace {

struct Candidate {
  const char* name;
  bool runs_here;
  const MicroKernels& (*table)();
};

}  // namespace

const MicroKernels& select_micro_kernels() {
#if defined(__x86_64__)
  // libgcc's check includes the operating system's support for the wider registers.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f");
#endif
  const Candidate candidates[] = {
#if defined(__x86_64__)
      {"avx512", avx512, avx512_micro_kernels},
      {"avx2", avx2, avx2_micro_kernels},
#elif defined(__aarch64__)
      {"neon", true, neon_micro_kernels},
#endif
      {"portable", true, portable_micro_kernels},
  };
  const char* wanted = std::getenv("SHIFTADD_CPU_ISA");
  std::string known;
  for (const Candidate& candidate : candidates) {
    const bool chosen = wanted == nullptr || candidate.name == std::string(wanted);
    if (chosen && candidate.runs_here) return candidate.table();
    if (candidate.runs_here) known += std::string(known.empty() ? "" : ", ") + candidate.name;
  }
  throw std::runtime_error("SHIFTADD_CPU_ISA: expected one of " + known +
                           " on this processor, got " + wanted);
}

}  // namespace cpu
}  // namespace shiftadd
