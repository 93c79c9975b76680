// Launches a kernel on the host: its blocks one after the other, the threads of a block as fibers
// (or, with SHIFTADD_HOST_THREADS, as threads, slowly, for the thread sanitizer).
#ifndef SHIFTADD_TESTS_CPP_CUDA_HOST_LAUNCH_H_
#define SHIFTADD_TESTS_CPP_CUDA_HOST_LAUNCH_H_

#include <functional>
#include <set>
#include <string>

#include "cuda_runtime_api.h"

namespace cuda_host {

// Runs `thread` once for each of a block's threads, whose coordinates().thread are set.
void run_block(unsigned block, unsigned threads, const std::function<void()>& thread);

// Every kernel that was launched, by its address.
inline std::set<const void*>& launched() {
  static std::set<const void*> kernels;
  return kernels;
}

}  // namespace cuda_host

namespace shiftadd {
namespace cuda {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, cudaStream_t,
                   const Arguments&... arguments) {
  const cudaError_t error = cuda_host::take_error();
  if (error != cudaSuccess) return error;
  if (blocks == 0 || threads == 0 || threads > 1024) return cudaErrorInvalidValue;
  cuda_host::launched().insert(reinterpret_cast<const void*>(kernel));
  for (unsigned block = 0; block < blocks; ++block) {
    cuda_host::run_block(block, threads, [&] { kernel(arguments...); });
  }
  return cudaSuccess;
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_CUDA_HOST_LAUNCH_H_
