"""Runs the adder's Triton kernels without a GPU; test_adder_triton.py calls it and judges.

`interpret` runs them in Triton's interpreter (TRITON_INTERPRET=1 has to be set before Triton is
imported, hence a process of its own), `compile` compiles them to machine code. One JSON document
on standard output either way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from export.operators import AdderConv2d, adder, adder_triton, native

SHAPES = {
    "one of each": (1, 1, 1),
    "one output": (3, 70, 1),
    "one row": (1, 37, 130),
    "depth one": (131, 1, 17),
    "whole blocks": (64, 32, 64),
    "one past whole blocks": (65, 33, 65),
    "deep": (5, 1153, 3),
    "wide": (2, 6, 515),
}
"""rows, depth and outputs."""

_GUARD = 4096


@contextmanager
def guarded_outputs() -> Iterator[list[Tensor]]:
    """Outputs start as NaN, and so do the numbers around them: the list of those buffers."""
    buffers: list[Tensor] = []
    new_empty = Tensor.new_empty

    def poisoned(like: Tensor, *size: int, **options: Any) -> Tensor:
        if options:  # the interpreter's own calls
            return new_empty(like, size, **options)
        rows, columns = size
        count = rows * columns
        buffers.append(torch.full((count + 2 * _GUARD,), torch.nan))
        return buffers[-1][_GUARD : _GUARD + count].view(rows, columns)

    with mock.patch.object(Tensor, "new_empty", poisoned):
        yield buffers


def relative(got: Tensor, expected: Tensor, magnitude: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).norm() / magnitude.norm())


def matrix_errors(rows: int, depth: int, outputs: int) -> dict[str, Any]:
    """Errors of both kernels, x and grad being slices of wider matrices, as groups make them."""
    x = torch.randn(rows, depth + 3)[:, 2 : 2 + depth]
    grad = torch.randn(rows, outputs + 2)[:, 1 : 1 + outputs]
    w = torch.randn(outputs, depth)
    difference = w.double() - x.double().unsqueeze(1)
    expected = -difference.abs().sum(2)
    terms = grad.double().unsqueeze(2) * difference.clamp(-1, 1)
    with guarded_outputs() as buffers:
        forward = adder_triton.adder_forward(x, w)
        input_grad = adder_triton.adder_input_grad(x, w, grad)
    edges = [edge for b in buffers for edge in (b[:_GUARD], b[-_GUARD:])]
    return {
        "forward": relative(forward, expected, expected),
        "input_grad": relative(input_grad, terms.sum(1), terms.abs().sum(1)),
        "outputs_guarded": len(buffers),
        "guards_untouched": all(bool(edge.isnan().all()) for edge in edges),
    }


def nan_spread() -> dict[str, list[list[int]]]:
    """Where the results are NaN when x[1,2] is, for 3 rows, 4 inputs and 2 outputs."""
    x, w, grad = torch.randn(3, 4), torch.randn(2, 4), torch.randn(3, 2)
    x[1, 2] = torch.nan
    results = {
        "forward": adder_triton.adder_forward(x, w),
        "input_grad": adder_triton.adder_input_grad(x, w, grad),
    }
    return {name: result.isnan().nonzero().tolist() for name, result in results.items()}


def empty_shapes() -> dict[str, list[int]]:
    """Shapes of the results for a batch of none."""
    x, w, grad = torch.randn(0, 4), torch.randn(2, 4), torch.randn(0, 2)
    return {
        "forward": list(adder_triton.adder_forward(x, w).shape),
        "input_grad": list(adder_triton.adder_input_grad(x, w, grad).shape),
    }


def module_errors() -> dict[str, Any]:
    """Errors of an AdderConv2d that the kernels serve, against itself in float64 without them."""
    module = AdderConv2d(6, 10, 3, 2, (0, 1, 2, 1), groups=2, eta=None)
    exact = AdderConv2d(6, 10, 3, 2, (0, 1, 2, 1), groups=2, eta=None).double()
    exact.load_state_dict(module.state_dict())
    x = torch.randn(2, 6, 7, 9)

    def run(network: AdderConv2d, dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype).requires_grad_()
        y = network(leaf)
        return [y, *torch.autograd.grad(y, [leaf, network.weight], grad.to(dtype))]

    grad = torch.randn_like(exact(x.double()), dtype=torch.float32)
    expected = run(exact, torch.float64)
    with (
        mock.patch.object(native, "serves", return_value=False),
        mock.patch.object(adder, "_triton_serves", return_value=True),
        mock.patch.object(
            adder_triton, "adder_forward", side_effect=adder_triton.adder_forward
        ) as forward,
        mock.patch.object(
            adder_triton, "adder_input_grad", side_effect=adder_triton.adder_input_grad
        ) as input_grad,
    ):
        got = run(module, torch.float32)
    errors = [relative(g, e, e) for g, e in zip(got, expected, strict=True)]
    calls = [forward.call_count, input_grad.call_count]
    return {"errors": dict(zip(("y", "x", "weight"), errors, strict=True)), "calls": calls}


def interpret() -> dict[str, Any]:
    return {
        "matrices": {name: matrix_errors(*shape) for name, shape in SHAPES.items()},
        "nan": nan_spread(),
        "empty": empty_shapes(),
        "module": module_errors(),
    }


def compiled(kernel: Any, capability: int, blocks: dict[str, int]) -> dict[str, Any]:
    """What the interpreter cannot show: machine code's size, widths of offsets, kinds of clamps."""
    pointers = ("x", "w", "y", "grad", "out")
    signature = {name: "*fp32" if name in pointers else "i32" for name in kernel.arg_names}
    signature |= dict.fromkeys(blocks, "constexpr")
    source = ASTSource(kernel, signature, blocks)
    asm = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm
    lines = asm["ttir"].splitlines()
    products = [line for line in lines if "arith.muli" in line]
    return {
        "bytes": len(asm["cubin"]),
        "products": len(products),
        "narrow_products": [line.strip() for line in products if "xi32>" in line],
        "clamps": [line.strip() for line in lines if "tt.clampf" in line],
    }


def compile_kernels(capability: int) -> dict[str, Any]:
    rows, columns = adder_triton._blocks(1000)
    kernels = {
        "forward": (adder_triton._forward_kernel, "block_outputs"),
        "input_grad": (adder_triton._input_grad_kernel, "block_depth"),
    }
    return {
        name: compiled(kernel, capability, {"block_rows": rows, width: columns})
        for name, (kernel, width) in kernels.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("interpret", help="run the kernels on the CPU")
    command = commands.add_parser("compile", help="compile the kernels")
    command.add_argument("capabilities", type=int, nargs="+", help="such as 80 for 8.0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "interpret":
        print(json.dumps(interpret()))
    else:
        print(json.dumps({c: compile_kernels(c) for c in options.capabilities}))


if __name__ == "__main__":
    main()
