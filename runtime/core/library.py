"""Finds the library with our operators: one is for ONNX Runtime, one for TensorRT."""

import os
from typing import NamedTuple, Optional

from runtime.core import places
from runtime.core.errors import ModelError


class Library(NamedTuple):
    """A kind of library: the name of its file, and the environment variable that may name another
    file."""

    kind: str
    name: str
    variable: str


ONNXRUNTIME = Library("operator library", "libshiftadd_ort.so", "SHIFTADD_ORT_LIBRARY")
TENSORRT = Library("plugin library", "libshiftadd_tensorrt.so", "SHIFTADD_TENSORRT_LIBRARY")


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
