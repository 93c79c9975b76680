// CUDA C++'s keywords and built-in variables and functions, as far as the kernels use them.
#ifndef SHIFTADD_TESTS_CPP_CUDA_BUILTINS_H_
#define SHIFTADD_TESTS_CPP_CUDA_BUILTINS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
// Blocks run one after the other, so one copy is enough; as a static it lies between red zones.
#define __shared__ static

#define threadIdx (cuda_host::coordinates().thread)
#define blockIdx (cuda_host::coordinates().block)

namespace cuda_host {

struct Index {
  unsigned x;
};

struct Coordinates {
  Index thread, block;
};

// Of the CUDA thread that runs now.
inline Coordinates& coordinates() {
  static thread_local Coordinates coordinates;
  return coordinates;
}

// Waits for all threads of the block; whether any of them brought a predicate other than 0.
int barrier(int predicate);

}  // namespace cuda_host

inline void __syncthreads() { cuda_host::barrier(0); }
inline int __syncthreads_or(int predicate) { return cuda_host::barrier(predicate); }

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Four bytes of the eight of y:x, each chosen by a nibble of the selector (below 8).
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned chosen = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned byte = static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7))) & 255u;
    chosen |= byte << (8 * i);
  }
  return chosen;
}

using std::fabs;
inline float fabsf(float x) { return std::fabs(x); }

#endif  // SHIFTADD_TESTS_CPP_CUDA_BUILTINS_H_
