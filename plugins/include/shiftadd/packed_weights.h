// The codec of ShiftConv's packed weights: powers of two as 4- or 8-bit codes in int32 rows.
#ifndef SHIFTADD_PACKED_WEIGHTS_H_
#define SHIFTADD_PACKED_WEIGHTS_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "shiftadd/contract.h"

namespace shiftadd {

// A code's top bit is the sign; k, the rest, stands for 0 where k = 0, else for 2^(1-k).
struct ShiftCode {
  uint32_t k;
  bool negative;
};

// Largest k that the contract allows: 2^(1-31) is still far from float's subnormal numbers.
constexpr uint32_t kLargestShift = 31;

// Code `index` of a packed row; codes are stored lowest bits first.
inline ShiftCode extract_code(const int32_t* row, int64_t index, int64_t weight_bits) {
  const int64_t codes_per_word = 32 / weight_bits;
  const uint32_t word = static_cast<uint32_t>(row[index / codes_per_word]);
  const uint32_t code = word >> (index % codes_per_word * weight_bits);
  const uint32_t sign_bit = 1u << (weight_bits - 1);
  return {code & (sign_bit - 1), (code & sign_bit) != 0};
}

// The exact value of a valid code, built from its exponent field.
inline float decode_code(ShiftCode code) {
  if (code.k == 0) return 0.0f;
  const uint32_t bits = (code.negative ? 0x80000000u : 0u) | ((128u - code.k) << 23);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Decodes one row of `terms` codes (weight_bits 4 or 8) from packed_columns(terms, weight_bits)
// words to floats. Throws ContractError, naming W[row, ...], for k = 0 with the sign bit, for
// k > 31 and for a tail that is not 0.
inline void decode_row(const std::string& node, const int32_t* packed, int64_t row_index,
                       int64_t terms, int64_t weight_bits, float* decoded) {
  const auto field = [&](int64_t index) {
    return "W code [" + detail::text(row_index) + ", " + detail::text(index) + "]";
  };
  for (int64_t i = 0; i < terms; ++i) {
    const ShiftCode code = extract_code(packed, i, weight_bits);
    if (code.k == 0 && code.negative) {
      throw ContractError(node, field(i), "no sign bit where k = 0", "k = 0 with the sign bit");
    }
    if (code.k > kLargestShift) {
      throw ContractError(node, field(i), "k <= " + detail::text(kLargestShift),
                          "k = " + detail::text(code.k));
    }
    decoded[i] = decode_code(code);
  }
  const int64_t stored = packed_columns(terms, weight_bits) * (32 / weight_bits);
  for (int64_t i = terms; i < stored; ++i) {
    const ShiftCode code = extract_code(packed, i, weight_bits);
    if (code.k != 0 || code.negative) {
      throw ContractError(
          node, field(i), "0 in the unused tail",
          std::string(code.negative ? "the sign bit and " : "") + "k = " + detail::text(code.k));
    }
  }
}

}  // namespace shiftadd

#endif  // SHIFTADD_PACKED_WEIGHTS_H_
