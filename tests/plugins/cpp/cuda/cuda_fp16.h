// float16 on the host: IEEE 754 binary16 with round to nearest even, as the device's instructions.
#ifndef SHIFTADD_TESTS_CPP_CUDA_FP16_H_
#define SHIFTADD_TESTS_CPP_CUDA_FP16_H_

#include <cmath>
#include <cstdint>

#include "builtins.h"

namespace cuda_host {

// The nearest half's code; a double holds every sum and product of halves that is rounded here.
inline uint16_t half_code(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0) return sign | 0x7c00;
  if (magnitude == 0.0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);                         // magnitude < 2^exponent
  const int unit = (exponent < -13 ? -13 : exponent) - 11;  // of the last place: 2^unit
  const auto units = static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, -unit)));
  // Subnormal numbers count units of 2^-24; above, 1024 units raise the exponent by one.
  return static_cast<uint16_t>(sign | (units + (unit + 24) * 1024));
}

inline float half_value(uint16_t code) {
  const int exponent = code >> 10 & 31;
  const int fraction = code & 1023;
  const float magnitude = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                          : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                          : std::ldexp(1024.0f + fraction, exponent - 25);
  return code & 0x8000 ? -magnitude : magnitude;
}

}  // namespace cuda_host

struct __half {
  __half() = default;
  explicit __half(float value) : code(cuda_host::half_code(value)) {}
  uint16_t code;
};

struct alignas(4) __half2 {
  __half x, y;
};

inline float __half2float(__half h) { return cuda_host::half_value(h.code); }
inline __half __float2half_rn(float value) { return __half(value); }
inline __half __ushort_as_half(unsigned short code) {
  __half h;
  h.code = code;
  return h;
}
inline __half2 __half2half2(__half value) { return {value, value}; }
inline unsigned short __half_as_ushort(__half h) { return h.code; }
inline float __low2float(__half2 h) { return __half2float(h.x); }
inline float __high2float(__half2 h) { return __half2float(h.y); }

namespace cuda_host {

inline __half fused(__half a, __half b, double c) {
  __half h;
  h.code = half_code(static_cast<double>(__half2float(a)) * __half2float(b) + c);
  return h;
}

}  // namespace cuda_host

inline __half2 __hmul2(__half2 a, __half2 b) {
  return {cuda_host::fused(a.x, b.x, 0.0), cuda_host::fused(a.y, b.y, 0.0)};
}

inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {cuda_host::fused(a.x, b.x, __half2float(c.x)),
          cuda_host::fused(a.y, b.y, __half2float(c.y))};
}

#endif  // SHIFTADD_TESTS_CPP_CUDA_FP16_H_
