#include "node.h"

#include "common/thread_pool.h"

namespace shiftadd {
namespace ort {

const OrtValue* input(const OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  check(api().table->KernelContext_GetInput(context, index, &value));
  return value;
}

void* output(OrtKernelContext* context, const std::vector<int64_t>& shape) {
  OrtValue* value = nullptr;
  check(api().table->KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(api().table->GetTensorMutableData(value, &data));
  return data;
}

void NodeThreads::run(size_t count, void (*body)(void*, size_t), void* data) {
  if (api().version < kStatusApi) {
    cpu::ProcessThreads(threads_).run(count, body, data);
    return;
  }
  constexpr size_t kLetRuntimeChoose = 0;
  check(api().table->KernelContext_ParallelFor(context_, body, count, kLetRuntimeChoose, data));
}

}  // namespace ort
}  // namespace shiftadd
