"""TensorRT's Python module: its version, its messages, and loading our plugins into it."""

import contextlib
import ctypes
import os
import threading
from typing import Any, BinaryIO, Iterator, List, Optional, Sequence, Set

from runtime.core import library as operator_library
from runtime.core.errors import ModelError, one_line, reason
from runtime.core.imports import why

try:
    import tensorrt as trt
    from tensorrt import ILogger
except ImportError as missing:
    raise ModelError(
        "tensorrt cannot be imported ({}): on a Jetson it comes with JetPack (apt-get install "
        "python3-libnvinfer, and use the system's python3), elsewhere python3 -m pip install "
        "tensorrt".format(why(missing))
    ) from missing

VERSION = str(trt.__version__)
_NUMBERS = tuple(int(part) for part in VERSION.split(".")[:2])
NAMED_TENSORS = _NUMBERS >= (8, 5)
VERSION_10 = _NUMBERS >= (10, 0)

__all__ = ["LOGGER", "NAMED_TENSORS", "VERSION", "VERSION_10", "failure", "load_plugins", "trt"]

_PLUGIN_VERSION = "1"
# The most errors that a message quotes, so that it fits a line; the build's log has all of them.
_SHOWN = 3


class Logger(ILogger):  # type: ignore[misc]  # its class is unknown where TensorRT is not installed
    """Keeps what TensorRT reports as errors, for the message of the exception that follows."""

    def __init__(self) -> None:
        # pybind11 requires the base's constructor by name.
        ILogger.__init__(self)
        self._file: Optional[BinaryIO] = None
        self._errors: List[str] = []
        self._lock = threading.Lock()

    def log(self, severity: Any, msg: str) -> None:
        """Takes a message. TensorRT calls it, from any of its threads."""
        with self._lock:
            if severity in (ILogger.INTERNAL_ERROR, ILogger.ERROR):
                self._errors.append(one_line(msg))
            if self._file is not None:
                line = "[{}] {}\n".format(severity.name, msg)
                self._file.write(line.encode("utf-8", "backslashreplace"))

    @contextlib.contextmanager
    def writing(self, file: BinaryIO) -> Iterator[None]:
        """Within the block every message, of whatever severity, is also written to `file`."""
        self._set_file(file)
        try:
            yield
        finally:
            # An interrupted build goes on logging, and must not write to a file that is closed by
            # then.
            self._set_file(None)

    def _set_file(self, file: Optional[BinaryIO]) -> None:
        with self._lock:
            self._file = file

    def take(self) -> List[str]:
        """The errors since the last call, each once."""
        with self._lock:
            errors, self._errors = self._errors, []
        return list(dict.fromkeys(errors))


# The process has one logger: TensorRT keeps the first one that it is given for all that belongs to
# no object, such as its plugin registry.
LOGGER = Logger()
_loaded: Set[str] = set()


def failure(what: str, errors: Optional[Sequence[str]] = None) -> ModelError:
    """The error that says that `what` failed, with the reasons in `errors` or else those that
    TensorRT logged."""
    logged = LOGGER.take()
    reasons = list(errors or logged)
    more = ["and {} more".format(len(reasons) - _SHOWN)] if len(reasons) > _SHOWN else []
    told = "; ".join(reasons[:_SHOWN] + more) or "TensorRT does not say why"
    return ModelError("{}: {}".format(what, told))


def load_plugins(operators: Sequence[str], library: Optional[str]) -> Optional[str]:
    """Loads the plugin library where `operators` need it or `library` names one; its path.

    A runtime or builder with LOGGER has to exist. Raises ModelError where there is no library, and
    where it cannot be loaded or has no plugin for one of the operators.
    """
    if not operators and library is None:
        return None
    found = operator_library.find(library, operator_library.TENSORRT)
    if found is None:
        raise ModelError(
            "needs the plugin library for {}, and no {} was found: build it with "
            "`make tensorrt-plugins`, or point to it with --library or {}".format(
                " and ".join(operators),
                operator_library.TENSORRT.name,
                operator_library.TENSORRT.variable,
            )
        )
    operator_library.check_machine(found, operator_library.TENSORRT)
    real = os.path.realpath(found)
    # The library is loaded once: a second time TensorRT would refuse its plugins as already known.
    if real not in _loaded:
        _load(found)
        _loaded.add(real)
    registry = trt.get_plugin_registry()
    get = registry.get_creator if VERSION_10 else registry.get_plugin_creator
    for operator in operators:
        if get(operator, _PLUGIN_VERSION, "") is None:
            LOGGER.take()
            raise ModelError(
                "the plugin library {} has no plugin for {}: it computes ShiftConv and AdderConv, "
                "in fp32 and fp16".format(found, operator)
            )
    return found


def _load(path: str) -> None:
    what = "cannot load the plugin library {}".format(path)
    LOGGER.take()
    try:
        if VERSION_10:
            handle = trt.get_plugin_registry().load_library(path)
        else:
            # The library's plugins register themselves with the libnvinfer that is already loaded.
            handle = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except Exception as error:
        raise failure(what, [reason(error)]) from error
    if handle is None:
        raise failure(what)
