// Stands for the contract's header of that name, which needs a C++ library: it has what the
// kernels' host code refers to.
#pragma once

#include "shiftadd/activations.h"

namespace shiftadd {

enum class OperatorKind { kShiftConv, kAdderConv };
struct ConvGeometry {};

inline bool is_shift(OperatorKind kind) { return kind == OperatorKind::kShiftConv; }

}  // namespace shiftadd
