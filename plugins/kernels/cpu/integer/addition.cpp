#include "integer/addition.h"

#include <algorithm>

namespace shiftadd {
namespace cpu {
namespace {

// Elements in a task: enough of them make handing out a task cheap compared with the task.
constexpr size_t kTaskElements = 32768;

}  // namespace

void add(const IntegerKernels& kernels, const AdditionQuantization& quantization, const uint8_t* a,
         const uint8_t* b, size_t count, uint8_t* y, ParallelRunner& threads) {
  if (count == 0) return;
  AddArguments call = {};
  call.a_zero_point = quantization.a_zero_point;
  call.b_zero_point = quantization.b_zero_point;
  call.a_multiplier = addition_multiplier(quantization.a_scale, quantization.y_scale);
  call.b_multiplier = addition_multiplier(quantization.b_scale, quantization.y_scale);
  call.y_zero_point = quantization.y_zero_point;
  const size_t tasks = count / kTaskElements + (count % kTaskElements != 0);
  parallel_for(threads, tasks, [&](size_t task) {
    AddArguments part = call;
    const size_t begin = task * kTaskElements;
    part.a = a + begin;
    part.b = b + begin;
    part.y = y + begin;
    part.count = std::min(kTaskElements, count - begin);
    kernels.add(part);
  });
}

}  // namespace cpu
}  // namespace shiftadd
