#include "common/instruction_sets.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace shiftadd {
namespace cpu {
namespace {

// An instruction set that SHIFTADD_CPU_ISA may name: the features that a processor has to have for
// it, and all the features that its kernels may use.
struct InstructionSet {
  const char* name;
  Features required;
  Features allowed;
};

constexpr Features kEveryAvx512 = kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl | kAvx512Vnni;

// From the widest to the narrowest, as the refusal lists them.
constexpr InstructionSet kInstructionSets[] = {
    {"avx512", kAvx2 | kAvx512F, kAvx2 | kEveryAvx512},
    {"avx2", kAvx2, kAvx2},
    {"neon", kNeon, kNeon},
    {"portable", kNoFeature, kNoFeature},
};

Features processor_features() {
  Features features = kNoFeature;
#if defined(__x86_64__)
  // libgcc's check includes the operating system's support for the wider registers.
  __builtin_cpu_init();
  const auto add = [&](bool supported, Features feature) {
    if (supported) features |= feature;
  };
  add(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), kAvx2);
  add(__builtin_cpu_supports("avx512f"), kAvx512F);
  add(__builtin_cpu_supports("avx512dq"), kAvx512Dq);
  add(__builtin_cpu_supports("avx512bw"), kAvx512Bw);
  add(__builtin_cpu_supports("avx512vl"), kAvx512Vl);
  add(__builtin_cpu_supports("avx512vnni"), kAvx512Vnni);
#elif defined(__aarch64__)
  features |= kNeon;
#endif
  return features;
}

}  // namespace

Features usable_features() {
  const Features features = processor_features();
  const char* wanted = std::getenv("SHIFTADD_CPU_ISA");
  if (wanted == nullptr) return features;
  std::string known;
  for (const InstructionSet& set : kInstructionSets) {
    if ((set.required & ~features) != 0) continue;
    if (wanted == std::string(set.name)) return features & set.allowed;
    known += std::string(known.empty() ? "" : ", ") + set.name;
  }
  throw std::runtime_error("SHIFTADD_CPU_ISA: expected one of " + known +
                           " on this processor, got " + wanted);
}

}  // namespace cpu
}  // namespace shiftadd
