"""Refuses variables of make's command line that nothing reads: a misspelt one would be ignored."""

import difflib
import sys
from typing import Mapping, Optional

from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.variables import NAMES, OTHERS

# make's own, and those by which compilers and the programs behind the targets are told something.
_FREE = (
    *("V", "VERBOSE", "MAKE", "SHELL", "CC", "CXX", "CPP", "LD", "AR", "AS", "NM", "RANLIB"),
    *("STRIP", "CUDACXX", "CUDAHOSTCXX", "HOME", "PATH", "TMPDIR", "TERM", "DISPLAY", "LANG"),
)
_FREE_ENDINGS = ("FLAGS", "_PROXY", "_ROOT")
_FREE_BEGINNINGS = (
    *("CMAKE_", "NINJA_", "ZIG_", "CUDA_", "NVIDIA_", "TENSORRT_", "ONNXRUNTIME_", "ORT_"),
    *("SHIFTADD_", "TORCH", "TRITON_", "OMP_", "GOMP_", "MKL_", "OPENBLAS_", "MALLOC_", "LD_"),
    *("PYTHON", "PIP_", "PYTEST_", "HYPOTHESIS_", "XDG_", "LC_", "SSH_", "GST_", "QT_"),
)
# How alike two names are that are taken for one and the same (difflib's ratio). A name that a
# program may well read has to be nearer to one of ours.
_ALIKE, _NEARLY_THE_SAME = 0.72, 0.9


def check_names(target: str, environment: Mapping[str, str]) -> None:
    """Refuses the first name on make's command line that is no variable of the Makefile, and that
    no program is known to read from the environment.

    A make that another one has started also gets the other's variables: there a line says so.
    """
    for name in environment.get(OTHERS, "").split():
        problem = _problem(name)
        if problem is None:
            continue
        if environment.get("MAKELEVEL", "1") != "1":
            print("{}: {}".format(target, problem), file=sys.stderr)
            continue
        raise RefusedError("{}: {}".format(target, problem))


def _problem(name: str) -> Optional[str]:
    """What to do about a name in place of giving it; None where it may be given."""
    upper = name.upper()
    of_programs = upper.endswith(_FREE_ENDINGS) or upper.startswith(_FREE_BEGINNINGS)
    cutoff = _NEARLY_THE_SAME if of_programs else _ALIKE
    meant = difflib.get_close_matches(upper, NAMES, 1, cutoff)
    if name in _FREE or (of_programs and not meant):
        return None
    if meant:
        return "{} is no variable here, {} is (`make help` lists them)".format(name, meant[0])
    return (
        "{0} is no variable here (`make help` lists them): options of a program go into "
        'ARGS="--option value", and what is for the environment stands before make, as in '
        "`{0}=... make`".format(name)
    )
