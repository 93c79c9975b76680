"""The rounding of a shift layer's weights on an NVIDIA GPU, in Triton: one kernel for a dozen.

A training step rounds the weights of every layer, and the kernels that PyTorch needs for that take
longer to launch than to run. Compiled at the first call; see adder_triton.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BIAS = tl.constexpr(127)
_MANTISSA_BITS = tl.constexpr(23)
_MANTISSA = tl.constexpr(0x7FFFFF)
# The mantissa of sqrt(2): where log2 is halfway between two integers. No float32 is sqrt(2).
_HALFWAY = tl.constexpr(0x3504F3)
_LONGEST_ROW = 4096


@triton.jit  # type: ignore[untyped-decorator]
def _round_kernel(  # type: ignore[no-untyped-def]
    w, out, depth, min_exponent, max_exponent, span, block: tl.constexpr
):
    """A row of out [M,K] from w [M,K] float32: sign(w) * 2^round(log2|w|), clipped."""
    columns = tl.arange(0, block)
    mask = columns < depth
    # 64 bits: a row's first element can lie beyond 2^31 of them.
    start = tl.program_id(0).to(tl.int64) * depth
    x = tl.load(w + start + columns, mask=mask, other=0.0)
    bits = tl.abs(x).to(tl.int32, bitcast=True)
    up = ((bits & _MANTISSA) > _HALFWAY).to(tl.int32)
    exponent = (bits >> _MANTISSA_BITS) - _BIAS + up
    exponent = tl.minimum(tl.maximum(exponent, min_exponent), max_exponent)
    top = tl.max(tl.where(mask, exponent, min_exponent), 0)
    exponent = tl.maximum(exponent, top - (span - 1))
    power = ((exponent + _BIAS) << _MANTISSA_BITS).to(tl.float32, bitcast=True)
    rounded = tl.where(x < 0.0, -power, power)
    rounded = tl.where(x == 0.0, 0.0, tl.where(x == x, rounded, x))  # NaN stays NaN
    tl.store(out + start + columns, rounded.to(out.dtype.element_ty), mask=mask)


def serves(weight: Tensor) -> bool:
    """Whether the kernel takes this weight: float32 on a GPU, rows not too long."""
    row = weight.numel() // max(1, weight.shape[0])
    fit = weight.is_cuda and weight.dtype == torch.float32
    return fit and 0 < row <= _LONGEST_ROW


def round_to_power_of_two(
    weight: Tensor, min_exponent: int, max_exponent: int, span: int | None, dtype: torch.dtype
) -> Tensor:
    """shift.round_to_power_of_two of a float32 weight [M, ...], as `dtype`, which has to hold it.

    Exponents are at least -126. The result lies in memory as the weight does.
    """
    w = weight if _has_dense_rows(weight) else weight.contiguous()
    rows = w.shape[0]
    depth = w.numel() // rows
    out = torch.empty_like(w, dtype=dtype)
    reach = span if span is not None else max_exponent - min_exponent + 1
    with torch.cuda.device_of(w):
        _round_kernel[(rows,)](
            w, out, depth, min_exponent, max_exponent, reach, triton.next_power_of_2(depth)
        )
    return out


def _has_dense_rows(weight: Tensor) -> bool:
    """Whether each output channel's weights lie in one piece, in whatever order."""
    if weight.is_contiguous():
        return True
    return weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
