// The operator table: every operator of the domain with its inputs and attributes. The bindings
// take their lists from here; export/operator_table.py holds the same table for Python, and a test
// compares the two (tests/plugins/test_operator_table.py). What the operators mean is in
// docs/operators.md.
#ifndef SHIFTADD_OPERATORS_H_
#define SHIFTADD_OPERATORS_H_

#include <cstddef>
#include <cstdint>
#include <limits>

#include "shiftadd/activations.h"

namespace shiftadd {

constexpr char kDomain[] = "shiftadd";
constexpr int kContractVersion = 1;

// The operators, in the order of the table below.
enum class OperatorKind {
  kShiftConv,
  kAdderConv,
  kQLinearShiftConv,
  kQLinearAdderConv,
  kQLinearAdd
};
constexpr int kOperatorCount = 5;

// Order of the axes of an integer convolution's X and Y.
enum class Layout { kNchw, kNhwc };

enum class ElementType { kFloat32, kUint8, kInt32 };

// An input or the output. A tensor of rank kScalar may have the shape [] or [1].
struct TensorDescription {
  const char* name;
  ElementType type;
  int rank;
};
constexpr int kScalar = 0;
constexpr int kAnyRank = -1;

// A list whose length the array's own size tells.
template <typename T>
struct Span {
  const T* values = nullptr;
  size_t count = 0;

  constexpr Span() = default;
  template <size_t kCount>
  constexpr Span(const T (&array)[kCount]) : values(array), count(kCount) {}
  constexpr const T* begin() const { return values; }
  constexpr const T* end() const { return values + count; }
  constexpr const T& operator[](size_t index) const { return values[index]; }
};

enum class AttributeType { kInts, kInt, kString };

// The greatest value of an integer attribute that has no choices; a larger one has no use. Sums and
// products of two such values stay below 2^63.
constexpr int64_t kLargestAttribute = std::numeric_limits<int32_t>::max();

struct AttributeDescription {
  const char* name;
  AttributeType type;
  int length;                 // how many integers or strings
  int least;                  // the least value of an integer that has no choices
  Span<const char*> choices;  // the values that are allowed, as text; empty where `least` rules
  const char* absent;         // what a missing attribute means; null where none may be missing
};

struct OperatorDescription {
  const char* name;
  Span<TensorDescription> inputs;  // all of them are always present
  TensorDescription output;
  Span<AttributeDescription> attributes;
};

#define SHIFTADD_NAME(symbol, name) name,
constexpr const char* kActivationNames[] = {SHIFTADD_ACTIVATIONS(SHIFTADD_NAME)};
#undef SHIFTADD_NAME
constexpr const char* kLayoutNames[] = {"NCHW", "NHWC"};  // in the order of Layout
constexpr const char* kBothCodes[] = {"4", "8"};
constexpr const char* kShortCode[] = {"4"};

constexpr AttributeDescription kKernelShape = {"kernel_shape", AttributeType::kInts, 2, 1, {},
                                               nullptr};
constexpr AttributeDescription kStrides = {"strides", AttributeType::kInts, 2, 1, {}, nullptr};
constexpr AttributeDescription kPads = {"pads", AttributeType::kInts, 4, 0, {}, nullptr};
constexpr AttributeDescription kDilations = {"dilations", AttributeType::kInts, 2, 1, {}, nullptr};
constexpr AttributeDescription kGroup = {"group", AttributeType::kInt, 1, 1, {}, nullptr};
constexpr AttributeDescription kFloatWeightBits = {
    "weight_bits", AttributeType::kInt, 1, 0, kBothCodes, nullptr};
constexpr AttributeDescription kIntegerWeightBits = {
    "weight_bits", AttributeType::kInt, 1, 0, kShortCode, nullptr};
constexpr AttributeDescription kActivation = {
    "activation", AttributeType::kString, 1, 0, kActivationNames, nullptr};
constexpr AttributeDescription kLayout = {"layout", AttributeType::kString, 1,
                                          0,        kLayoutNames,           "NCHW"};

constexpr AttributeDescription kShiftConvAttributes[] = {
    kKernelShape, kStrides, kPads, kDilations, kGroup, kFloatWeightBits, kActivation};
constexpr AttributeDescription kAdderConvAttributes[] = {kKernelShape, kStrides, kPads,
                                                         kDilations,   kGroup,   kActivation};
constexpr AttributeDescription kQLinearShiftConvAttributes[] = {
    kKernelShape, kStrides, kPads, kDilations, kGroup, kIntegerWeightBits, kActivation, kLayout};
constexpr AttributeDescription kQLinearAdderConvAttributes[] = {
    kKernelShape, kStrides, kPads, kDilations, kGroup, kActivation, kLayout};

constexpr TensorDescription kShiftConvInputs[] = {{"X", ElementType::kFloat32, 4},
                                                  {"W", ElementType::kInt32, 2},
                                                  {"scale", ElementType::kFloat32, 1},
                                                  {"bias", ElementType::kFloat32, 1}};
constexpr TensorDescription kAdderConvInputs[] = {{"X", ElementType::kFloat32, 4},
                                                  {"W", ElementType::kFloat32, 4},
                                                  {"scale", ElementType::kFloat32, 1},
                                                  {"bias", ElementType::kFloat32, 1}};
constexpr TensorDescription kQLinearShiftConvInputs[] = {
    {"X", ElementType::kUint8, 4},
    {"x_scale", ElementType::kFloat32, kScalar},
    {"x_zero_point", ElementType::kUint8, kScalar},
    {"W", ElementType::kInt32, 2},
    {"scale", ElementType::kFloat32, 1},
    {"bias", ElementType::kFloat32, 1},
    {"y_scale", ElementType::kFloat32, kScalar},
    {"y_zero_point", ElementType::kUint8, kScalar}};
constexpr TensorDescription kQLinearAdderConvInputs[] = {
    {"X", ElementType::kUint8, 4},
    {"x_scale", ElementType::kFloat32, kScalar},
    {"x_zero_point", ElementType::kUint8, kScalar},
    {"W", ElementType::kUint8, 4},
    {"scale", ElementType::kFloat32, 1},
    {"bias", ElementType::kFloat32, 1},
    {"y_scale", ElementType::kFloat32, kScalar},
    {"y_zero_point", ElementType::kUint8, kScalar}};
constexpr TensorDescription kQLinearAddInputs[] = {
    {"A", ElementType::kUint8, kAnyRank},           {"a_scale", ElementType::kFloat32, kScalar},
    {"a_zero_point", ElementType::kUint8, kScalar}, {"B", ElementType::kUint8, kAnyRank},
    {"b_scale", ElementType::kFloat32, kScalar},    {"b_zero_point", ElementType::kUint8, kScalar},
    {"y_scale", ElementType::kFloat32, kScalar},    {"y_zero_point", ElementType::kUint8, kScalar}};

constexpr OperatorDescription kOperators[kOperatorCount] = {
    {"ShiftConv", kShiftConvInputs, {"Y", ElementType::kFloat32, 4}, kShiftConvAttributes},
    {"AdderConv", kAdderConvInputs, {"Y", ElementType::kFloat32, 4}, kAdderConvAttributes},
    {"QLinearShiftConv",
     kQLinearShiftConvInputs,
     {"Y", ElementType::kUint8, 4},
     kQLinearShiftConvAttributes},
    {"QLinearAdderConv",
     kQLinearAdderConvInputs,
     {"Y", ElementType::kUint8, 4},
     kQLinearAdderConvAttributes},
    {"QLinearAdd", kQLinearAddInputs, {"Y", ElementType::kUint8, kAnyRank}, {}},
};

constexpr const OperatorDescription& describe(OperatorKind kind) {
  return kOperators[static_cast<size_t>(kind)];
}

constexpr const char* operator_name(OperatorKind kind) { return describe(kind).name; }

constexpr bool is_shift(OperatorKind kind) {
  return kind == OperatorKind::kShiftConv || kind == OperatorKind::kQLinearShiftConv;
}

// Whether X and Y are codes.
constexpr bool is_integer(OperatorKind kind) {
  return describe(kind).output.type == ElementType::kUint8;
}

constexpr bool same_text(const char* first, const char* second) {
  while (*first != '\0' && *first == *second) {
    ++first;
    ++second;
  }
  return *first == *second;
}

// Where an input stands; the number of inputs where there is none of that name.
constexpr size_t input_index(OperatorKind kind, const char* name) {
  const Span<TensorDescription>& inputs = describe(kind).inputs;
  size_t index = 0;
  while (index < inputs.count && !same_text(inputs[index].name, name)) ++index;
  return index;
}

// The attribute of that name; null where the operator has none.
constexpr const AttributeDescription* find_attribute(OperatorKind kind, const char* name) {
  for (const AttributeDescription& attribute : describe(kind).attributes) {
    if (same_text(attribute.name, name)) return &attribute;
  }
  return nullptr;
}

}  // namespace shiftadd

#endif  // SHIFTADD_OPERATORS_H_
