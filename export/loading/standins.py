"""Lets a network's source be imported where its CUDA extensions are missing.

The authors' files import compiled modules, build others while they are imported, and move layers
to a GPU as they make them. None of it is needed for what the exporter reads. What is stood in for
is a list of names: a catch-all would answer other packages that ask what is installed.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn

_EXTENSIONS = ("adder_cuda", "deepshift_cpu", "deepshift_cuda", "deepshift.kernels")
"""Compiled modules of AdderNet, DeepShift and their copies; they stay empty."""

_DECORATORS = {
    "timm": (),
    "timm.models": ("register_model",),
    "timm.models.registry": ("register_model",),
}
"""Packages that are missing and whose decorators change nothing, by module."""


@contextlib.contextmanager
def standins() -> Iterator[None]:
    """Stands in, for as long as it lasts, for what is missing of the lists above.

    `.cuda()` returns what it is called on where there is no GPU, and
    `torch.utils.cpp_extension.load` gives an empty module.
    """
    finder = _Finder()
    sys.meta_path.append(finder)
    with contextlib.ExitStack() as stack:
        stack.callback(finder.remove)
        for owner, name, value in _replacements():
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last one asked: it makes the modules of the lists that nobody else found."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _EXTENSIONS and fullname not in _DECORATORS:
            return None
        # Only a package has modules within it.
        package = fullname in _DECORATORS
        return importlib.util.spec_from_loader(fullname, self, is_package=package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self._made.append(module.__name__)
        for name in _DECORATORS.get(module.__name__, ()):
            setattr(module, name, _identity)

    def remove(self) -> None:
        sys.meta_path.remove(self)
        for name in self._made:
            sys.modules.pop(name, None)


def _identity(thing: Any, *_: Any, **__: Any) -> Any:
    return thing


def _empty_module(name: str, *_: Any, **__: Any) -> ModuleType:
    return ModuleType(name)


def _replacements() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    from torch.utils import cpp_extension

    yield cpp_extension, "load", _empty_module
    yield cpp_extension, "load_inline", _empty_module
    if not torch.cuda.is_available():
        yield torch.Tensor, "cuda", _identity
        yield nn.Module, "cuda", _identity
