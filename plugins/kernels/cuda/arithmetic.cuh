// What one term of a sum is, how its weight is stored, and what is made of a sum: the device side
// of the operator contract. It includes CUDA's half type and a header without includes, so that
// NVRTC takes it, too.
#ifndef SHIFTADD_KERNELS_CUDA_ARITHMETIC_CUH_
#define SHIFTADD_KERNELS_CUDA_ARITHMETIC_CUH_

#include <cuda_fp16.h>

#include "shiftadd/activations.h"

namespace shiftadd {
namespace cuda {

// N values that are loaded and stored at once.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T values[kCount];
};

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }

__device__ inline void store(float* to, float value) { *to = value; }
__device__ inline void store(__half* to, float value) { *to = __float2half_rn(value); }

// An operation reads W as rows of 32-bit words: kWordTerms weights a word, lowest bits first. A
// word of 0 holds weights of 0, which add nothing to a sum where x is 0.

template <int kBits>
struct Shift {
  static constexpr int kWordTerms = 32 / kBits;

  // Weight `term` of a word: k = 0 is 0, else 2^(1-k), made from its exponent field.
  static __device__ float weight(unsigned word, int term) {
    const unsigned code = word >> (term * kBits);
    const unsigned k = code & ((1u << (kBits - 1)) - 1u);
    const unsigned sign = (code << (32 - kBits)) & 0x80000000u;
    return k == 0 ? 0.0f : __uint_as_float(sign | ((128u - k) << 23));
  }
  static __device__ float add(float sum, float x, float w) { return fmaf(x, w, sum); }
  static __device__ float finish(float sum) { return sum; }
};

struct Adder {
  static constexpr int kWordTerms = 1;

  static __device__ float weight(unsigned word, int) { return __uint_as_float(word); }
  // |x| and -x are free operand modifiers of FADD: two additions a term.
  static __device__ float add(float sum, float x, float w) { return sum + fabsf(x - w); }
  static __device__ float finish(float sum) { return -sum; }
};

// NaN stays NaN, as in PyTorch.
__device__ inline float activate(float v, Activation activation) {
  switch (activation) {
    case Activation::kNone: return v;
    case Activation::kRelu: return v < 0.0f ? 0.0f : v;
    case Activation::kRelu6: {
      const float positive = v < 0.0f ? 0.0f : v;
      return positive > 6.0f ? 6.0f : positive;
    }
    case Activation::kHardswish: return v * (fminf(fmaxf(v + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f));
  }
  return v;
}

// What turns channel m's sum into an output: act(scale[m] * sum + bias[m]).
struct Epilogue {
  const float* scale;
  const float* bias;
  Activation activation;
};

__device__ inline float apply(const Epilogue& epilogue, int channel, float sum) {
  return activate(fmaf(sum, epilogue.scale[channel], epilogue.bias[channel]), epilogue.activation);
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_ARITHMETIC_CUH_
