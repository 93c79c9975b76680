"""Why a module cannot be imported, and what to do about it."""

import re

from runtime.core.errors import one_line

_STATIC_TLS = re.compile(r"(\S+): cannot allocate memory in static TLS block")


def why(error: ImportError) -> str:
    """What the exception says, in one line, with the cure of what glibc alone would tell.

    Old versions of glibc, as in Ubuntu 18.04 on AArch64, have little room for the thread-local data
    of libraries that are loaded late: OpenCV's OpenMP often comes too late, behind an engine.
    """
    said = one_line(error)
    found = _STATIC_TLS.search(said)
    if found is None:
        return said
    return "{}: start Python with LD_PRELOAD={}".format(said, found.group(1))
