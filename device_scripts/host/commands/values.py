"""Values of variables that no program would take: refused before anything is compiled for them."""

import re

from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.taken import TAKEN
from device_scripts.host.commands.variables import Variables

CHOICES = {
    "BITS": ("8", "16"),
    "FIXED_POINT": ("drop", "keep"),
    "METHOD": ("minmax", "percentile", "entropy", "mse"),
    "PRECISION": ("fp32", "fp16", "int8"),
}
"""What the programs take."""

_COUNTS = ("SAMPLES", "SECONDS", "WORKSPACE")
_COUNT = re.compile("0*[1-9][0-9]*")


def check_values(target: str, variables: Variables) -> None:
    """Refuses a variable of the target with a value that is none of its choices, or no number, and
    one that cannot be cut into words."""
    for name in TAKEN[target]:
        value = variables[name]
        if not variables.given(name):
            continue
        if name in CHOICES and value not in CHOICES[name]:
            raise RefusedError(
                "{} is one of {}; got {}".format(name, ", ".join(CHOICES[name]), value)
            )
        if name in _COUNTS and not _COUNT.fullmatch(value):
            raise RefusedError("{} is an integer from 1 on; got {}".format(name, value))
        if name in ("ARGS", "CMAKE_ARGS", "FUZZ"):
            variables.words(name)
