// The activations that an operator's epilogue computes (docs/operators.md, section 1.3). Includes
// nothing, so that device code takes it, too.
#ifndef SHIFTADD_ACTIVATIONS_H_
#define SHIFTADD_ACTIVATIONS_H_

namespace shiftadd {

// ROW(symbol, name): the value of the enumeration below and of the attribute `activation`. A new
// row goes to the end, because TensorRT engines hold an activation as its number in this list.
#define SHIFTADD_ACTIVATIONS(ROW) \
  ROW(kNone, "none")              \
  ROW(kRelu, "relu")              \
  ROW(kRelu6, "relu6")            \
  ROW(kHardswish, "hardswish")

#define SHIFTADD_SYMBOL(symbol, name) symbol,
enum class Activation { SHIFTADD_ACTIVATIONS(SHIFTADD_SYMBOL) };
#undef SHIFTADD_SYMBOL

#define SHIFTADD_ONE(symbol, name) +1
constexpr int kActivationCount = 0 SHIFTADD_ACTIVATIONS(SHIFTADD_ONE);
#undef SHIFTADD_ONE

}  // namespace shiftadd

#endif  // SHIFTADD_ACTIVATIONS_H_
