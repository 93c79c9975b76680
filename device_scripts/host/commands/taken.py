"""Which variables each target takes: another one on its command line would be ignored."""

import difflib
import sys
from typing import Dict, Mapping, Tuple

from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.variables import GIVEN, GOALS

_NETWORK = ("MODEL", "MODEL_ARGS", "NAME", "INPUT", "MEAN", "STD", "RESIZE", "LABELS")
_EXPORTED = (*_NETWORK, "CHECKPOINT", "FIXED_POINT", "TARGET", "OUT")
_FILE = (*_EXPORTED, "MODEL_FILE", "ARGS")
_CALIBRATION = ("DATA", "SAMPLES", "METHOD", "KEEP_FLOAT", "SENSITIVITY")
# MODEL_FILE is refused there: a bundle's models are exported and calibrated for it.
_BUNDLE = (*_FILE, *_CALIBRATION, "BOARD")
_TRAINING = (*_NETWORK, "CHECKPOINT", "OUT", "DATA", "ARGS")

TAKEN: Dict[str, Tuple[str, ...]] = {
    "setup": (),
    "export": (*_EXPORTED, "ARGS"),
    "plugins": ("BOARD", "TARGET"),
    "tensorrt-plugins": ("CMAKE_ARGS",),
    "engine": (*_FILE, "ENGINE_PYTHON", "PRECISION", "WORKSPACE", "CMAKE_ARGS"),
    "infer": (*_FILE, "IMAGE"),
    "validate": (*_FILE, "REFERENCE", "BACKEND", "PRECISION", "INT8", "DATA", "CMAKE_ARGS"),
    "validate-int8": (*_FILE, "DATA"),
    "evaluate": (*_FILE, "DATA"),
    "calibrate": (*_FILE, *_CALIBRATION),
    "bundle": _BUNDLE,
    "deploy": (*_BUNDLE, "DEVICE"),
    "train": _TRAINING,
    "finetune": (*_TRAINING, "BITS"),
    "cifar10": ("ARCHIVE", "OUT", "ARGS"),
    "demo": _FILE,
    "bench": (*_NETWORK, "PEERS", "ARGS"),
    "bench-a57": ("MODELS", "ARGS"),
    "gpu-occupancy": ("ARGS",),
    "test-gpu": ("ARGS",),
    "bench-gpu": ("ARGS",),
    "test": ("ARGS",),
    "test-fast": ("ARGS",),
    "fuzz": ("FUZZ", "SECONDS", "ARGS"),
    "clean": (),
}
"""By target; PYTHON, which runs all of them, is in none."""

_ALIKE = 0.72


def check_taken(target: str, environment: Mapping[str, str]) -> None:
    """Says which variables of make's command line none of its targets takes, once, by the first.

    Raises RefusedError where one looks like another that the targets take: it was meant.
    """
    goals = environment.get(GOALS, "").split()
    if target not in goals[:1]:
        return
    taken = {name for goal in goals for name in TAKEN.get(goal, ())} | {"PYTHON"}
    for name in environment.get(GIVEN, "").split():
        if name in taken:
            continue
        problem = "{}: takes no {}".format(" ".join(goals), name)
        meant = difflib.get_close_matches(name, sorted(taken), 1, _ALIKE)
        if meant:
            raise RefusedError("{}; {} was meant?".format(problem, meant[0]))
        print("{}: it is ignored".format(problem), file=sys.stderr, flush=True)
