// A thread pool for runtimes that offer none of theirs (ONNX Runtime before API 17).
#ifndef SHIFTADD_KERNELS_CPU_THREAD_POOL_H_
#define SHIFTADD_KERNELS_CPU_THREAD_POOL_H_

#include "common/parallel.h"

namespace shiftadd {
namespace cpu {

// Threads that a run may take, its caller's among them: what SHIFTADD_NUM_THREADS says now or,
// without it, as many as the processor runs at once.
size_t wanted_threads();

// Runs on the caller's thread and on up to `threads` - 1 of this process's pool, which grows as far
// as any run asks for. When two callers come at the same time the second works alone, so that there
// are never more busy threads than callers and pool together.
class ProcessThreads : public ParallelRunner {
 public:
  explicit ProcessThreads(size_t threads) : threads_(threads) {}
  void run(size_t count, void (*body)(void*, size_t), void* data) override;

 private:
  const size_t threads_;
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_THREAD_POOL_H_
