"""A pickle reader that runs nothing: tensors and plain values are read, all else becomes inert.

It has the names that `torch.load` looks for in its `pickle_module`, which leaves PyTorch's own code
to take the two formats of `torch.save`, the zip and the older one, apart.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class Inert:
    """Stands for an object of a class that is not known: it holds what was pickled, and is nothing.

    Attributes:
        origin: "module.name" of what it stands for.
        arguments: what that would have been called with.
        state: what would have become its attributes.
        items: what would have been put into it, were it a dictionary.
    """

    origin = ""

    def __new__(cls, *arguments: Any, **_: Any) -> Inert:
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = None
        made.items = {}
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        self.arguments: tuple[Any, ...]
        self.state: Any
        self.items: dict[Any, Any]

    def __call__(self, *_: Any, **__: Any) -> Inert:
        """What is looked up in an unknown object and called stays as unknown."""
        return Inert()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, _value: Any) -> None:
        """Takes what would have been an element of a list; nobody reads it."""

    def extend(self, _values: Any) -> None:
        """As `append`, for several."""

    def add(self, _value: Any) -> None:
        """As `append`, for a set."""


class Unreadable:
    """A tensor of a kind that no network here has; `kind` says which."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def _unreadable(kind: str) -> Callable[..., Unreadable]:
    return lambda *_, **__: Unreadable(kind)


def _new_object(kind: Any, _base: Any = object, _state: Any = None) -> Any:
    """copyreg's `_reconstructor`, by which old protocols make an object."""
    return kind.__new__(kind) if isinstance(kind, type) and issubclass(kind, Inert) else Inert()


def _latin(text: str, _encoding: str = "latin1") -> bytes:
    """How Python 2's strings, and NumPy's scalars in old protocols, are written."""
    return text.encode("latin1")


def _of_subclass(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor of a subclass is taken for a plain one."""
    known = function in (torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter)
    return function(*arguments) if known else Unreadable("a tensor of a subclass of torch.Tensor")


def _parameter(data: Any, requires_grad: bool, _hooks: Any, *_: Any) -> Any:
    """A parameter; where its tensor is unreadable, that."""
    if not isinstance(data, torch.Tensor):
        return data
    return torch.nn.Parameter(data, requires_grad and data.is_floating_point())


_SCALAR: Any = np.float64(0).__reduce__()[0]

_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("copyreg", "_reconstructor"): _new_object,
    ("_codecs", "encode"): _latin,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
    ("torch._utils", "_rebuild_qtensor"): _unreadable("a quantized tensor"),
    ("torch._utils", "_rebuild_sparse_tensor"): _unreadable("a sparse tensor"),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _unreadable("a sparse tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _unreadable("a nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _unreadable("a meta tensor, without data"),
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
}
"""What is called, by module and name; each makes a plain value of its arguments."""

# Python 2 wrote these modules' old names.
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Unpickler(pickle.Unpickler):
    """Finds what `_KNOWN` has and types of PyTorch's numbers; a class of `Inert` for all else."""

    def find_class(self, module: str, name: str, /) -> Any:
        module = _OLD_MODULES.get(module, module)
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        return type("Inert", (Inert,), {"origin": f"{module}.{name}"})


def load(file: Any, **options: Any) -> Any:
    """As `pickle.load`."""
    return Unpickler(file, **options).load()
