// How kernels spread work: the interface that a runtime's own thread pool, or ours, stands behind.
#ifndef SHIFTADD_KERNELS_CPU_PARALLEL_H_
#define SHIFTADD_KERNELS_CPU_PARALLEL_H_

#include <atomic>
#include <cstddef>
#include <new>

namespace shiftadd {
namespace cpu {

class ParallelRunner {
 public:
  virtual ~ParallelRunner() = default;
  // Calls body(data, i) once for every i < count, in any order and on any thread, and returns when
  // all calls have. body must not throw.
  virtual void run(size_t count, void (*body)(void*, size_t), void* data) = 0;
};

// Calls body(i) for every i < count through `runner`. A std::bad_alloc thrown by body is carried to
// the caller; body throws nothing else.
template <typename Body>
void parallel_for(ParallelRunner& runner, size_t count, const Body& body) {
  if (count == 1) {
    body(0);
    return;
  }
  struct Call {
    const Body& body;
    std::atomic<bool> out_of_memory;
  } call{body, {false}};
  runner.run(
      count,
      [](void* data, size_t index) {
        Call& call = *static_cast<Call*>(data);
        try {
          call.body(index);
        } catch (const std::bad_alloc&) {
          call.out_of_memory = true;
        }
      },
      &call);
  if (call.out_of_memory) throw std::bad_alloc();
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_PARALLEL_H_
