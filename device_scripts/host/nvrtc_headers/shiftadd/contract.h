// Of the operator contract what the kernels' host code refers to; the real one needs a C++ library.
#pragma once
namespace shiftadd {

enum class OperatorKind { kShiftConv, kAdderConv };
enum class Activation { kNone, kRelu, kRelu6, kHardswish };
struct ConvGeometry {};

inline bool is_shift(OperatorKind kind) { return kind == OperatorKind::kShiftConv; }

}  // namespace shiftadd
