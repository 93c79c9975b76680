"""Finds the operator library, `libshiftadd_ort.so`."""

import os
from typing import Optional

from runtime.errors import ModelError

NAME = "libshiftadd_ort.so"
VARIABLE = "SHIFTADD_ORT_LIBRARY"
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_BESIDE = os.path.dirname(_PACKAGE)


def find(path: Optional[str] = None) -> Optional[str]:
    """The library's absolute path: `path`, else the environment's SHIFTADD_ORT_LIBRARY, else the
    file beside this package (a deployed one), else the one that `make plugins` builds; None when
    there is none.

    Raises ModelError when `path` or the variable names a file that is not there.
    """
    for given, origin in ((path, "--library"), (os.environ.get(VARIABLE), VARIABLE)):
        if given:
            if not os.path.isfile(given):
                raise ModelError("no operator library at {} (from {})".format(given, origin))
            return os.path.abspath(given)
    for candidate in (
        os.path.join(_BESIDE, NAME),
        os.path.join(_BESIDE, "build", "plugins", NAME),
    ):
        if os.path.isfile(candidate):
            return candidate
    return None
