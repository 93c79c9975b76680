// The operator QLinearAdd on the CPU.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_ADDITION_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_ADDITION_H_

#include "common/parallel.h"
#include "integer/micro_kernels.h"
#include "shiftadd/addition.h"

namespace shiftadd {
namespace cpu {

// y[i] = the code of what a[i] and b[i] stand for together, for `count` elements, with the
// instruction set of `kernels`. The quantization is one that validate_addition accepted.
void add(const IntegerKernels& kernels, const AdditionQuantization& quantization, const uint8_t* a,
         const uint8_t* b, size_t count, uint8_t* y, ParallelRunner& threads);

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_ADDITION_H_
