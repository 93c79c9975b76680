// What the micro-kernels ask of the compiler: inlining and unrolling that -O3 does not decide on.
#ifndef SHIFTADD_KERNELS_CPU_UNROLL_H_
#define SHIFTADD_KERNELS_CPU_UNROLL_H_

#define SHIFTADD_INLINE inline __attribute__((always_inline))

// GCC before version 8, such as the Jetson Nano's own, has no such pragma. There -O3 unrolls loops
// of constant length by itself.
#define SHIFTADD_PRAGMA(text) _Pragma(#text)
#if defined(__clang__) || __GNUC__ >= 8
#define SHIFTADD_UNROLL(count) SHIFTADD_PRAGMA(GCC unroll count)
#else
#define SHIFTADD_UNROLL(count)
#endif

#endif  // SHIFTADD_KERNELS_CPU_UNROLL_H_
