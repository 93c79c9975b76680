"""The adder's training kernels for an NVIDIA GPU, in Triton (arXiv 1912.13200, eq. 1 and 6).

PyTorch's CUDA builds bring Triton along, which compiles these kernels at their first call. So there
is no build step and no CUDA toolkit, but a C compiler has to be there for Triton's launcher. With
TRITON_INTERPRET=1, set before Triton is imported, they run on CPU tensors.

Both kernels hold a block of the result in registers and go along the summed axis one step at a
time, each step adding the broadcast difference of two vectors. A three-dimensional block of
differences would have to be summed across threads, by shuffles that cost more than the differences.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_ROWS = 64
_BLOCK_COLUMNS = 64
_UNROLL = tl.constexpr(4)
_CHUNK = tl.constexpr(32)
"""The number of terms that go into one partial sum; a single long float32 sum would lose a
digit."""

_PROPAGATE_NAN = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    x,
    w,
    y,
    row_count,
    outputs,
    depth,
    x_stride,
    block_rows: tl.constexpr,
    block_outputs: tl.constexpr,
):
    """A block of y [R,M] = -sum_k |x [R,K] - w [K,M]|."""
    # The offsets have 64 bits, since the patches of a batch can have more than 2^31 elements.
    rows = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    columns = tl.program_id(1).to(tl.int64) * block_outputs + tl.arange(0, block_outputs)
    # Positions beyond the edge read the last one again, so only the store needs a mask.
    x += tl.minimum(rows, row_count - 1) * x_stride
    w += tl.minimum(columns, outputs - 1)
    total = tl.zeros((block_rows, block_outputs), tl.float32)
    for start in range(0, depth, _CHUNK):
        part = tl.zeros((block_rows, block_outputs), tl.float32)
        for _ in tl.range(start, tl.minimum(start + _CHUNK, depth), loop_unroll_factor=_UNROLL):
            a = tl.load(x)
            b = tl.load(w)
            part += tl.abs(a[:, None] - b[None, :])
            x += 1
            w += outputs
        total += part
    mask = (rows < row_count)[:, None] & (columns < outputs)[None, :]
    tl.store(y + rows[:, None] * outputs + columns[None, :], -total, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _input_grad_kernel(  # type: ignore[no-untyped-def]
    x,
    w,
    grad,
    out,
    row_count,
    outputs,
    depth,
    x_stride,
    grad_stride,
    block_rows: tl.constexpr,
    block_depth: tl.constexpr,
):
    """A block of out [R,K] = sum_m grad [R,M] * clip(w [M,K] - x [R,K], -1, 1)."""
    rows = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    columns = tl.program_id(1).to(tl.int64) * block_depth + tl.arange(0, block_depth)
    near_rows = tl.minimum(rows, row_count - 1)
    near_columns = tl.minimum(columns, depth - 1)
    here = tl.load(x + near_rows[:, None] * x_stride + near_columns[None, :])
    grad += near_rows * grad_stride
    w += near_columns
    total = tl.zeros((block_rows, block_depth), tl.float32)
    for start in range(0, outputs, _CHUNK):
        part = tl.zeros((block_rows, block_depth), tl.float32)
        for _ in tl.range(start, tl.minimum(start + _CHUNK, outputs), loop_unroll_factor=_UNROLL):
            g = tl.load(grad)
            b = tl.load(w)
            part += g[:, None] * tl.clamp(b[None, :] - here, -1.0, 1.0, _PROPAGATE_NAN)
            grad += 1
            w += depth
        total += part
    mask = (rows < row_count)[:, None] & (columns < depth)[None, :]
    tl.store(out + rows[:, None] * depth + columns[None, :], total, mask=mask)


def adder_forward(x: Tensor, w: Tensor) -> Tensor:
    """-sum_k |x[r,k] - w[m,k]|: x [R,K], w [M,K] float32 on one GPU to [R,M]."""
    x, transposed = _dense_rows(x), w.t().contiguous()
    (row_count, depth), outputs = x.shape, w.shape[0]
    y = x.new_empty(row_count, outputs)
    if y.numel():
        blocks = _blocks(outputs)
        with torch.cuda.device_of(x):
            _forward_kernel[_grid(y, blocks)](
                x, transposed, y, row_count, outputs, depth, x.stride(0), *blocks
            )
    return y


def adder_input_grad(x: Tensor, w: Tensor, grad: Tensor) -> Tensor:
    """sum_m grad[r,m] * clip(w[m,k] - x[r,k], -1, 1): x [R,K], w [M,K], grad [R,M] to [R,K].

    All float32 and on one GPU.
    """
    x, w, grad = _dense_rows(x), w.contiguous(), _dense_rows(grad)
    (row_count, depth), outputs = x.shape, w.shape[0]
    out = x.new_empty(row_count, depth)
    if out.numel():
        blocks = _blocks(depth)
        strides = (x.stride(0), grad.stride(0))
        with torch.cuda.device_of(x):
            _input_grad_kernel[_grid(out, blocks)](
                x, w, grad, out, row_count, outputs, depth, *strides, *blocks
            )
    return out


def _dense_rows(t: Tensor) -> Tensor:
    """t, or a copy of it where its rows are not contiguous; a group's slice of the channels stays a
    view."""
    return t if t.stride(1) == 1 else t.contiguous()


def _blocks(columns: int) -> tuple[int, int]:
    """The rows and columns of the result that one program computes; narrow results get narrow
    blocks."""
    return _BLOCK_ROWS, min(_BLOCK_COLUMNS, max(16, triton.next_power_of_2(columns)))


def _grid(out: Tensor, blocks: tuple[int, int]) -> tuple[int, int]:
    rows, columns = (-(-size // block) for size, block in zip(out.shape, blocks, strict=True))
    return rows, columns
