// Values from a fuzzer's bytes: mostly such as a sound file has, now and then any at all.
#ifndef SHIFTADD_TESTS_FUZZ_VALUES_H_
#define SHIFTADD_TESTS_FUZZ_VALUES_H_

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "shiftadd/convolution.h"

namespace shiftadd {
namespace fuzz {

using Shape = std::vector<int64_t>;

// What must hold whatever the bytes are. A failure is the fuzzer's to report, with the input.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::abort();
}

// An integer between the bounds; one time in 32 one at a limit, one in 32 any.
inline int64_t integer(FuzzedDataProvider& bytes, int64_t low, int64_t high) {
  constexpr int64_t k32 = std::numeric_limits<int32_t>::max();
  constexpr int64_t kLimits[] = {0,
                                 -1,
                                 k32,
                                 k32 - 1,
                                 k32 + 1,
                                 -k32 - 1,
                                 int64_t{1} << 62,
                                 std::numeric_limits<int64_t>::max(),
                                 std::numeric_limits<int64_t>::min()};
  switch (bytes.ConsumeIntegral<uint8_t>() % 32) {
    case 31: return bytes.PickValueInArray(kLimits);
    case 30: return bytes.ConsumeIntegral<int64_t>();
    default: return bytes.ConsumeIntegralInRange<int64_t>(low, high);
  }
}

// `count` of them; one time in 32 of another number.
inline Shape integers(FuzzedDataProvider& bytes, size_t count, int64_t low, int64_t high) {
  if (bytes.ConsumeIntegral<uint8_t>() % 32 == 31) {
    count = bytes.ConsumeIntegralInRange<size_t>(0, 6);
  }
  Shape values;
  while (values.size() < count) values.push_back(integer(bytes, low, high));
  return values;
}

inline OperatorKind kind(FuzzedDataProvider& bytes, OperatorKind last) {
  return static_cast<OperatorKind>(bytes.ConsumeIntegralInRange<int>(0, static_cast<int>(last)));
}

inline ConvAttributes attributes(FuzzedDataProvider& bytes, OperatorKind kind) {
  ConvAttributes a;
  a.kernel_shape = integers(bytes, 2, 1, 4);
  a.strides = integers(bytes, 2, 1, 3);
  a.pads = integers(bytes, 4, 0, 4);
  a.dilations = integers(bytes, 2, 1, 3);
  a.group = integer(bytes, 1, 4);
  if (is_shift(kind)) {
    const int64_t bits = is_integer(kind) || bytes.ConsumeBool() ? 4 : 8;
    a.weight_bits = integer(bytes, bits, bits);
  }
  a.activation =
      static_cast<Activation>(bytes.ConsumeIntegralInRange<int>(0, kActivationCount - 1));
  return a;
}

// W's shape for these channels and rows; any other where there is none, and one time in 16.
inline Shape weight_shape(FuzzedDataProvider& bytes, OperatorKind kind, const ConvAttributes& a,
                          int64_t channels) {
  const int64_t rows = a.group * bytes.ConsumeIntegralInRange<int64_t>(1, 9);
  const int64_t kernel = a.kernel_shape[0] * a.kernel_shape[1];
  const bool fits = channels % a.group == 0 && a.group < 1 << 10 && channels > 0 &&
                    a.kernel_shape[0] < 1 << 10 && a.kernel_shape[1] < 1 << 10 &&
                    channels < 1 << 16;
  if (!fits || bytes.ConsumeIntegral<uint8_t>() % 16 == 15) {
    return integers(bytes, is_shift(kind) ? 2 : 4, 1, 12);
  }
  const int64_t group_channels = channels / a.group;
  if (is_shift(kind)) return {rows, packed_columns(group_channels * kernel, a.weight_bits)};
  return {rows, group_channels, a.kernel_shape[0], a.kernel_shape[1]};
}

// The product of the extents, or `most` + 1 where it is larger or one is negative.
inline int64_t elements(const Shape& shape, int64_t most) {
  int64_t product = 1;
  for (int64_t extent : shape) {
    if (extent == 0) return 0;
  }
  for (int64_t extent : shape) {
    if (extent < 0 || extent > most / product) return most + 1;
    product *= extent;
  }
  return product;
}

}  // namespace fuzz
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_FUZZ_VALUES_H_
