"""Finds the library with our operators: one is for ONNX Runtime, one for TensorRT."""

import os
from typing import NamedTuple, Optional

from runtime.core import elf, places
from runtime.core.errors import ModelError, reason


class Library(NamedTuple):
    """A kind of library: the name of its file, the environment variable that may name another
    file, and the target of the Makefile that builds it."""

    kind: str
    name: str
    variable: str
    target: str


ONNXRUNTIME = Library("operator library", "libshiftadd_ort.so", "SHIFTADD_ORT_LIBRARY", "plugins")
TENSORRT = Library(
    "plugin library", "libshiftadd_tensorrt.so", "SHIFTADD_TENSORRT_LIBRARY", "tensorrt-plugins"
)


def find(path: Optional[str] = None, library: Library = ONNXRUNTIME) -> Optional[str]:
    """The library's absolute path: `path`, else what the environment's variable names, else the
    file beside this package (a deployed one), else the one that `make` builds; None when there is
    none.

    Raises ModelError when `path` or the variable names a file that is not there.
    """
    variable = os.environ.get(library.variable)
    for given, origin in ((path, "--library"), (variable, library.variable)):
        if given:
            if not os.path.isfile(given):
                raise ModelError("no {} at {} (from {})".format(library.kind, given, origin))
            return os.path.abspath(given)
    for candidate in (
        os.path.join(places.ROOT, library.name),
        os.path.join(places.ROOT, "build", "plugins", library.name),
    ):
        if os.path.isfile(candidate):
            return candidate
    return None


def check_machine(path: str, library: Library = ONNXRUNTIME) -> None:
    """Raises ModelError for a file that no machine, or only another one, can load: the system's
    loader calls both "No such file or directory" at times."""
    try:
        built_for = elf.machine_of(path)
    except OSError as error:
        raise ModelError(
            "cannot load the {} {}: {}".format(library.kind, path, reason(error))
        ) from error
    here = elf.this_machine()
    if built_for is None:
        problem = "it is no native library (not an ELF file)"
    elif here is not None and built_for != here:
        problem = "it is built for {}, and this machine is {}".format(built_for, here)
    else:
        return
    raise ModelError(
        "cannot load the {} {}: {}: build it on this machine with `make {}`, or point to another "
        "with --library or {}".format(library.kind, path, problem, library.target, library.variable)
    )
