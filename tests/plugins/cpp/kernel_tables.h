// The tables of kernels that this processor runs, one for each instruction set: for the test
// programs and the fuzz target, which run all of them and do not leave the choice to the library.
#ifndef SHIFTADD_TESTS_KERNEL_TABLES_H_
#define SHIFTADD_TESTS_KERNEL_TABLES_H_

#include <vector>

#include "float/micro_kernels.h"
#include "integer/micro_kernels.h"

namespace shiftadd {
namespace test {

inline std::vector<const cpu::MicroKernels*> float_tables() {
  std::vector<const cpu::MicroKernels*> tables = {&cpu::portable_micro_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&cpu::avx2_micro_kernels());
    if (__builtin_cpu_supports("avx512f")) tables.push_back(&cpu::avx512_micro_kernels());
  }
#elif defined(__aarch64__)
  tables.push_back(&cpu::neon_micro_kernels());
#endif
  return tables;
}

inline std::vector<const cpu::IntegerKernels*> integer_tables() {
  std::vector<const cpu::IntegerKernels*> tables = {&cpu::portable_integer_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) tables.push_back(&cpu::avx2_integer_kernels());
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    tables.push_back(&cpu::avx512_integer_kernels());
  }
#elif defined(__aarch64__)
  tables.push_back(&cpu::neon_integer_kernels());
#endif
  return tables;
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_KERNEL_TABLES_H_
