"""Calls the training library through ctypes (plugins/include/shiftadd/training.h)."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch
from torch import Tensor

from runtime.core.elf import machine_of, this_machine
from runtime.core.errors import ShiftAddError, reason

_DEFAULT = Path(__file__).resolve().parents[2] / "build" / "plugins" / "libshiftadd_training.so"
_VARIABLE = "SHIFTADD_TRAINING_LIBRARY"
_NO_MEMORY, _REFUSED = 1, 2


@functools.lru_cache(maxsize=1)
def training_library() -> ctypes.CDLL | None:
    """The library that SHIFTADD_TRAINING_LIBRARY names or `make plugins` built; None without both.

    Raises ShiftAddError where a named file is not there, or a file is no library of this version.
    """
    named = os.environ.get(_VARIABLE)
    path = Path(named) if named else _DEFAULT
    if not path.is_file():
        if named:
            raise ShiftAddError(f"{_VARIABLE}: no such file: {named}")
        return None
    try:
        machine, here = machine_of(str(path)), this_machine()
        if machine and here and machine != here:
            raise OSError(f"it is built for {machine}, and this machine is {here}")
        return _declare(ctypes.CDLL(str(path)))
    except (OSError, AttributeError) as error:
        raise ShiftAddError(
            f"{path}: not this version's training library; build it with `make plugins` "
            f"({reason(error)})"
        ) from error


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.shiftadd_adder_forward_f32.argtypes = [pointer] * 3 + [size] * 3 + [ctypes.c_int]
    library.shiftadd_adder_input_grad_f32.argtypes = [pointer] * 4 + [size] * 3 + [ctypes.c_int]
    library.shiftadd_training_error.argtypes = []
    library.shiftadd_training_error.restype = ctypes.c_char_p
    return library


def serves(*tensors: Tensor) -> bool:
    """Whether the kernels take these: dense float32 on the CPU, and the library is there."""
    fit = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    return fit and training_library() is not None


def adder_forward(x: Tensor, w: Tensor) -> Tensor:
    """-sum_k |x[r,k] - w[m,k]|: x [R,K], w [M,K] float32 to [R,M].

    Raises ShiftAddError where SHIFTADD_CPU_ISA names no instruction set of this processor.
    """
    x, w = x.contiguous(), w.contiguous()
    out = x.new_empty(x.shape[0], w.shape[0])
    _call("shiftadd_adder_forward_f32", x, w, out, sizes=(x.shape[0], x.shape[1], w.shape[0]))
    return out


def adder_input_grad(x: Tensor, w: Tensor, grad: Tensor) -> Tensor:
    """sum_m grad[r,m] * clip(w[m,k] - x[r,k], -1, 1): x [R,K], w [M,K], grad [R,M] to [R,K].

    Raises ShiftAddError where SHIFTADD_CPU_ISA names no instruction set of this processor.
    """
    x, w, grad = x.contiguous(), w.contiguous(), grad.contiguous()
    out = torch.empty_like(x)
    sizes = (x.shape[0], x.shape[1], w.shape[0])
    _call("shiftadd_adder_input_grad_f32", x, w, grad, out, sizes=sizes)
    return out


def _call(name: str, *tensors: Tensor, sizes: tuple[int, int, int]) -> None:
    library = training_library()
    assert library is not None, "serves() was not asked"
    pointers = [t.data_ptr() for t in tensors]
    result = getattr(library, name)(*pointers, *sizes, torch.get_num_threads())
    if result == _NO_MEMORY:
        raise MemoryError(f"{name}: no memory for {sizes}")
    if result == _REFUSED:
        raise ShiftAddError(library.shiftadd_training_error().decode())
