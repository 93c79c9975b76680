// The codec of ShiftConv's packed weights: powers of two as 4- or 8-bit codes in int32 rows
// (docs/operators.md, section 2.1).
#ifndef SHIFTADD_PACKED_WEIGHTS_H_
#define SHIFTADD_PACKED_WEIGHTS_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "shiftadd/checks.h"

namespace shiftadd {

// int32 words of one packed row of `terms` codes: ceil(terms * weight_bits / 32).
inline int64_t packed_columns(int64_t terms, int64_t weight_bits) {
  const int64_t codes_per_word = 32 / weight_bits;
  return terms / codes_per_word + (terms % codes_per_word != 0);
}

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

// The value of a valid code of 4 bits in units of 1/64, from -64 to 64: what the integer kernels
// multiply by.
inline int8_t decode_units(ShiftCode code) {
  constexpr int kUnits = 64;
  const int magnitude = code.k == 0 ? 0 : kUnits >> (code.k - 1);
  return static_cast<int8_t>(code.negative ? -magnitude : magnitude);
}

namespace detail {

inline std::string code_field(int64_t row, int64_t index) {
  return "W code [" + text(row) + ", " + text(index) + "]";
}

inline void require_code(const std::string& node, int64_t row, int64_t index, ShiftCode code) {
  if (code.k == 0 && code.negative) {
    throw ContractError(node, code_field(row, index), "no sign bit where k = 0",
                        "k = 0 with the sign bit");
  }
  if (code.k > kLargestShift) {
    throw ContractError(node, code_field(row, index), "k <= " + text(kLargestShift),
                        "k = " + text(code.k));
  }
}

inline void require_empty_tail(const std::string& node, const int32_t* packed, int64_t row,
                               int64_t terms, int64_t weight_bits) {
  const int64_t stored = packed_columns(terms, weight_bits) * (32 / weight_bits);
  for (int64_t i = terms; i < stored; ++i) {
    const ShiftCode code = extract_code(packed, i, weight_bits);
    if (code.k != 0 || code.negative) {
      throw ContractError(
          node, code_field(row, i), "0 in the unused tail",
          std::string(code.negative ? "the sign bit and " : "") + "k = " + text(code.k));
    }
  }
}

// decode(code) of each code of a row, after the checks that decode_row documents.
template <typename Value, typename Decode>
void decode_checked_row(const std::string& node, const int32_t* packed, int64_t row_index,
                        int64_t terms, int64_t weight_bits, const Decode& decode, Value* decoded) {
  for (int64_t i = 0; i < terms; ++i) {
    const ShiftCode code = extract_code(packed, i, weight_bits);
    require_code(node, row_index, i, code);
    decoded[i] = decode(code);
  }
  require_empty_tail(node, packed, row_index, terms, weight_bits);
}

}  // namespace detail

// Decodes one row of `terms` codes (weight_bits 4 or 8) from packed_columns(terms, weight_bits)
// words to floats. Throws ContractError, naming W[row, ...], for k = 0 with the sign bit, for
// k > 31 and for a tail that is not 0.
inline void decode_row(const std::string& node, const int32_t* packed, int64_t row_index,
                       int64_t terms, int64_t weight_bits, float* decoded) {
  detail::decode_checked_row(node, packed, row_index, terms, weight_bits, decode_code, decoded);
}

// All rows: [rows, packed_columns] to [rows, terms].
inline void decode_rows(const std::string& node, const int32_t* packed, int64_t rows, int64_t terms,
                        int64_t weight_bits, float* decoded) {
  const int64_t columns = packed_columns(terms, weight_bits);
  for (int64_t row = 0; row < rows; ++row) {
    decode_row(node, packed + row * columns, row, terms, weight_bits, decoded + row * terms);
  }
}

// All rows of codes of 4 bits, to units of 1/64.
inline void decode_rows_to_units(const std::string& node, const int32_t* packed, int64_t rows,
                                 int64_t terms, int8_t* decoded) {
  constexpr int64_t kWeightBits = 4;
  const int64_t columns = packed_columns(terms, kWeightBits);
  for (int64_t row = 0; row < rows; ++row) {
    detail::decode_checked_row(node, packed + row * columns, row, terms, kWeightBits, decode_units,
                               decoded + row * terms);
  }
}

}  // namespace shiftadd

#endif  // SHIFTADD_PACKED_WEIGHTS_H_
