"""From what MODEL says to a network: a registered name, file.py:callable, package.module:callable.

A user's file is a program: it is run with the user's rights, as `python file.py` would run it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from export.errors import place_of
from export.loading.standins import standins
from export.models import MODELS, ModelSpec
from runtime.core.errors import ShiftAddError, one_line
from runtime.engines.tensorrt.engine_file import SUFFIXES

FORMS = "a registered name, path/to/file.py:callable, or package.module:callable"

# A model's name becomes a file's.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# Files that are given in MODEL's place.
_EXPORTED = (".onnx", *SUFFIXES)
_WEIGHTS = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".safetensors")
_ARGUMENTS = ": its arguments are MODEL_ARGS='name=value ...' (--model-args)"
# Callables that a message lists at most.
_SHOWN = 8


class SourceError(ShiftAddError):
    """A network that cannot be found or made; one line."""


@dataclass(frozen=True)
class Source:
    """A network that can be made, and where it comes from.

    Attributes:
        name: of the model: a registered one's, else the callable's.
        build: makes the network with fresh weights, or with those that its author gives it.
        registered: the entry of the registry; None for a user's network.
        function: what was named; None for an entry of the registry and for a ready network.
        arguments: keyword arguments that `build` passes on.
    """

    name: str
    build: Callable[[], nn.Module] = field(repr=False)
    registered: ModelSpec | None = None
    function: Callable[..., Any] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> Path | None:
        """The file of the shipped weights."""
        return None if self.registered is None else self.registered.weights


def resolve(model: str, arguments: Mapping[str, Any] | None = None) -> Source:
    """The network that `model` names.

    Args:
        model: a registered name, `path/to/file.py:callable`, or `package.module:callable`. What is
            named may be a function or a class that gives a torch.nn.Module, or such a module.
        arguments: keyword arguments of the callable.

    Raises SourceError, in one line, for a name, file, module or callable that is not there, and
    for a file that does not run. `build` raises it for a callable that fails, or that gives
    something else.
    """
    arguments = dict(arguments or {})
    if model in MODELS:
        entry = MODELS[model]
        build = _builder(model, entry.build, arguments)
        return Source(entry.name, build, entry, None, arguments)
    place, colon, name = model.rpartition(":")
    if not colon or not place or not name:
        raise SourceError(_unknown(model))
    module = _of_file(Path(place)) if place.endswith(".py") else _of_package(place, name)
    found = _member(module, place, name)
    if isinstance(found, nn.Module):
        if arguments:
            raise SourceError(f"{model}: is a network already, and takes no arguments")
        return Source(name.rpartition(".")[2], lambda: found)
    if not callable(found):
        raise SourceError(f"{model}: is a {type(found).__name__}, not a callable")
    build = _builder(model, found, arguments, _folder(place))
    return Source(name.rpartition(".")[2], build, None, found, arguments)


def check_name(name: str) -> str:
    """`name`, where a file can be called so; SourceError otherwise."""
    if not _NAME.fullmatch(name):
        raise SourceError(
            f"the name {name!r} is no model's: letters, digits, '.', '_' and '-', up to 100"
        )
    return name


def _unknown(model: str) -> str:
    """What to give in place of a MODEL without a callable."""
    path = Path(model.rstrip(":"))
    if path.suffix == ".py":
        if not path.is_file():
            return f"{path}: no such file"
        return f"{path}: say which callable of it makes the network: {path}:NAME{_offers(path)}"
    if path.suffix in _EXPORTED:
        return (
            f"{model}: MODEL is a network in PyTorch; a file that was exported is given as "
            f"MODEL_FILE={model}"
        )
    if path.suffix in _WEIGHTS:
        return (
            f"{model}: MODEL is a network in PyTorch; its weights are given as "
            f"CHECKPOINT={model}, beside a MODEL ({FORMS})"
        )
    source = Path(f"{model}.py")
    if source.is_file():
        return f"{model}: a network of a file is given as {source}:NAME{_offers(source)}"
    return f"unknown model {model!r}; known models: {', '.join(MODELS)} (MODEL is {FORMS})"


def _offers(path: Path) -> str:
    """What a file defines and could have been meant; it is read and not run."""
    try:
        statements = ast.parse(path.read_bytes()).body
    # What cannot be parsed says so when it is run; it may be damaged, or have a null byte.
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return ""
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in statements if isinstance(node, kinds)]
    public = [name for name in names if not name.startswith("_")]
    return f" (it has: {', '.join(public[:_SHOWN])})" if public else ""


def _folder(place: str) -> Path | None:
    return Path(place).resolve().parent if place.endswith(".py") else None


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    path = path.resolve()
    name = re.sub(r"\W", "_", f"shiftadd_model_{path.stem}_{abs(hash(str(path)))}")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _users_code(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        _blame(error, str(path), "running it")
        raise
    return module


def _of_package(place: str, name: str) -> ModuleType:
    source = Path(f"{place}.py")
    if "/" in place or source.is_file():
        meant = f"{source}:{name}" if source.is_file() else FORMS
        raise SourceError(f"{place}: no Python file, and no name of a module: MODEL is {meant}")
    top = place.partition(".")[0]
    try:
        missing = importlib.util.find_spec(top) is None
    except (ValueError, ImportError):
        missing = True
    if missing:
        raise SourceError(f"no module named {top!r}: install the package that has it")
    try:
        with _users_code(None):
            return importlib.import_module(place)
    except BaseException as error:
        _blame(error, place, "importing it")
        raise


def _member(module: ModuleType, place: str, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise SourceError(f"{place}: has no {name!r}{_others(module)}")
        found = getattr(found, part)
    return found


def _others(module: ModuleType) -> str:
    """What else the module defines itself and could have been meant."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
    ]
    return f"; it has {', '.join(own[:_SHOWN])}" if own else ""


def _builder(
    model: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    folder: Path | None = None,
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        try:
            with _users_code(folder):
                network = function(**arguments)
        except BaseException as error:
            _blame(error, model, f"calling it with ({given})", _ARGUMENTS)
            raise
        if not isinstance(network, nn.Module):
            raise SourceError(
                f"{model}: gives a {type(network).__name__}, where a torch.nn.Module is expected"
            )
        return network

    return build


def _blame(error: BaseException, where: str, doing: str, hint: str = "") -> None:
    """Raises SourceError for what a user's code may raise; interruptions pass. `hint` is for a call
    that the callable does not take."""
    if isinstance(error, (KeyboardInterrupt, MemoryError, ShiftAddError)):
        return
    message = one_line(error)[:300]
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = place_of(error)
    if isinstance(error, TypeError) and not place:
        place = hint
    raise SourceError(f"{where}: {doing} raised {said}{place}") from error


@contextlib.contextmanager
def _users_code(folder: Path | None) -> Iterator[None]:
    """While code of the user's runs: its folder is searched for modules, what is missing is stood
    in for, and what it prints goes to standard error."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(standins())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if folder is not None:
            sys.path.insert(0, str(folder))
            # A forward may import more, later on; by then the toolchain's modules go first.
            stack.callback(_move_to_the_end, str(folder))
        yield


def _move_to_the_end(folder: str) -> None:
    sys.path.remove(folder)
    if folder not in sys.path:
        sys.path.append(folder)
