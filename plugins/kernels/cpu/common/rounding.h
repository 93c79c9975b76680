// Integer division that rounds up.
#ifndef SHIFTADD_KERNELS_CPU_COMMON_ROUNDING_H_
#define SHIFTADD_KERNELS_CPU_COMMON_ROUNDING_H_

#include <cstdint>

namespace shiftadd {
namespace cpu {

// a / b rounded up; a >= 0, b > 0. Does not overflow.
inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0); }

// The smallest multiple of b that is at least a.
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_COMMON_ROUNDING_H_
