// A thread pool for runtimes that offer none of theirs (ONNX Runtime before API 17).
#ifndef SHIFTADD_KERNELS_CPU_THREAD_POOL_H_
#define SHIFTADD_KERNELS_CPU_THREAD_POOL_H_

#include "parallel.h"

namespace shiftadd {
namespace cpu {

// The pool of this process: as many threads as SHIFTADD_NUM_THREADS says or, without it, as the
// processor runs at once, the caller's among them. When two callers come at the same time the
// second works alone, so that there are never more busy threads than callers and pool together.
ParallelRunner& process_thread_pool();

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_THREAD_POOL_H_
