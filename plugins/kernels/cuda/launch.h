// The one place where a kernel is launched; a test build brings its own, for the host.
#ifndef SHIFTADD_KERNELS_CUDA_LAUNCH_H_
#define SHIFTADD_KERNELS_CUDA_LAUNCH_H_

#ifdef __CUDACC__

#include <cuda_runtime_api.h>

namespace shiftadd {
namespace cuda {

// Enqueues kernel(arguments...) with blocks x 1 x 1 blocks of threads x 1 x 1 threads.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                   cudaStream_t stream, const Arguments&... arguments) {
  kernel<<<blocks, threads, 0, stream>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace shiftadd

#else
#include "host_launch.h"
#endif

#endif  // SHIFTADD_KERNELS_CUDA_LAUNCH_H_
