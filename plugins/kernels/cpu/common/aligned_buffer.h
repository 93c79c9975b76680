// Float storage on a cache line's boundary.
#ifndef SHIFTADD_KERNELS_CPU_ALIGNED_BUFFER_H_
#define SHIFTADD_KERNELS_CPU_ALIGNED_BUFFER_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <new>

namespace shiftadd {
namespace cpu {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `count` floats, not initialised; throws std::bad_alloc.
  explicit AlignedBuffer(size_t count) {
    constexpr size_t kSpare = kAlignment / sizeof(float);
    if (count > std::numeric_limits<size_t>::max() / sizeof(float) - kSpare) throw std::bad_alloc();
    storage_.reset(new float[count + kSpare]);
    const auto address = reinterpret_cast<uintptr_t>(storage_.get());
    data_ = storage_.get() + (kAlignment - address % kAlignment) % kAlignment / sizeof(float);
  }
  float* data() { return data_; }
  const float* data() const { return data_; }

 private:
  static constexpr size_t kAlignment = 64;
  std::unique_ptr<float[]> storage_;
  float* data_ = nullptr;
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_ALIGNED_BUFFER_H_
