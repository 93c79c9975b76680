"""The variables that a user gives to `make`, and what follows from them."""

import os
import re
import shlex
from typing import Dict, List, Mapping

from device_scripts.host.commands.problems import RefusedError

DEFAULTS = {
    "MODEL": "ghostshiftaddnet",
    "TARGET": "jetson-nano",
    "OUT": os.path.join("build", "models"),
    "BITS": "8",
    "SECONDS": "600",
    "BACKEND": "onnxruntime",
    "SAMPLES": "512",
    "PYTHON": "python3",
    # It builds engines: TensorRT and PyCUDA belong to the system of a Jetson, and not to .venv.
    "ENGINE_PYTHON": "python3",
}
NAMES = (
    *DEFAULTS,
    *("BOARD", "CHECKPOINT", "MODEL_ARGS", "INPUT", "MEAN", "STD", "RESIZE", "LABELS", "NAME"),
    "FIXED_POINT",
    *("MODEL_FILE", "REFERENCE", "DATA", "IMAGE", "DEVICE", "PRECISION", "WORKSPACE", "INT8"),
    *(
        "ARCHIVE",
        "METHOD",
        "KEEP_FLOAT",
        "SENSITIVITY",
        "FUZZ",
        "PEERS",
        "MODELS",
        "CMAKE_ARGS",
        "ARGS",
    ),
)
"""All variables; the Makefile hands over the same."""
GIVEN, GOALS, OTHERS = "GIVEN_VARIABLES", "GOALS", "OTHER_VARIABLES"
"""Where the Makefile hands over which of the variables its command line gives, its targets, and the
names of all else that its command line gives."""
TARGETS = ("jetson-nano", "portable", "standard")
"""The forms that a file can be exported in."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# A make that a program starts is one of its own, without the options and variables of this one.
_OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS")


class Variables:
    """The variables of one `make`. An empty one counts as not given."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = {name: environment[name] for name in NAMES if environment.get(name)}

    def having(self, more: Mapping[str, str]) -> "Variables":
        """These variables and `more`, which wins."""
        return Variables(dict(self._given, **more))

    def given(self, name: str) -> bool:
        return name in self._given

    def __getitem__(self, name: str) -> str:
        """The value, the default where it was not given, or ""."""
        if name not in NAMES:
            raise KeyError(name)
        return self._given.get(name, DEFAULTS.get(name, ""))

    def path(self, name: str) -> str:
        """The value as a path that no program takes for an option."""
        return as_path(self[name])

    def option(self, name: str, flag: str) -> List[str]:
        """`["--flag=value"]`, or nothing where the variable was not given.

        The value stands in the same word, so that it is no option even where it begins with "-".
        """
        return ["{}={}".format(flag, self[name])] if self.given(name) else []

    def words(self, name: str) -> List[str]:
        """The value cut into words as a shell cuts them; nothing is expanded and nothing is run."""
        try:
            return shlex.split(self[name])
        except ValueError as error:
            raise RefusedError(
                "{}: {}: it is cut into words as a shell does: {}".format(
                    name, str(error).lower(), self[name]
                )
            ) from error

    @property
    def target(self) -> str:
        """The form of the exported file. Raises RefusedError for an unknown one."""
        if self["TARGET"] not in TARGETS:
            raise RefusedError(
                "TARGET is one of {}; got {}".format(", ".join(TARGETS), self["TARGET"])
            )
        return self["TARGET"]

    @property
    def name(self) -> str:
        """The exported file's name without its ending: NAME, else the callable's or the model's.

        Raises RefusedError for what cannot be the name of a file in OUT.
        """
        place, _, callable_name = self["MODEL"].rpartition(":")
        # Of a file's or a package's class it is the method that is called.
        of_model = callable_name.rpartition(".")[2] if place else self["MODEL"]
        name = self["NAME"] or of_model
        if not _FILE_NAME.fullmatch(name):
            given = "NAME" if self.given("NAME") else "MODEL"
            raise RefusedError(
                "{}={}: {!r} is no name for a file: up to 100 letters, digits, '.', '_' and '-' "
                "are; set NAME".format(given, self[given], name)
            )
        return name

    @property
    def exported_file(self) -> str:
        """Where `make export` writes to; all targets but the default one stand in the name."""
        target = self.target
        suffix = "" if target == "jetson-nano" else "." + target
        return os.path.join(self.path("OUT"), "{}{}.onnx".format(self.name, suffix))

    @property
    def model_file(self) -> str:
        """The model that a target works on: MODEL_FILE, else the exported one."""
        return self.path("MODEL_FILE") if self.given("MODEL_FILE") else self.exported_file

    @property
    def is_own_export(self) -> bool:
        """Whether the model's file is the one that `make export` writes."""
        return os.path.abspath(self.model_file) == os.path.abspath(self.exported_file)

    @property
    def integer_file(self) -> str:
        """Where `make calibrate` writes to."""
        stem = os.path.splitext(os.path.basename(self.model_file))[0]
        return os.path.join(self.path("OUT"), stem + ".int8.onnx")


def as_path(path: str) -> str:
    """`path`, spelled so that no program takes it for an option."""
    return os.path.join(os.curdir, path) if path.startswith("-") else path


def environment_of_programs(environment: Mapping[str, str]) -> Dict[str, str]:
    """What programs inherit: all but the variables, which they get as arguments."""
    taken = {*NAMES, GIVEN, GOALS, OTHERS, *_OF_MAKE} - {"PYTHON", "ENGINE_PYTHON"}
    return {name: value for name, value in environment.items() if name not in taken}
