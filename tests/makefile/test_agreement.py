"""The Makefile and the program that its recipes start name the same targets and variables."""

from __future__ import annotations

import re
from pathlib import Path

from calibration.ranges import METHODS
from device_scripts.host import boards
from device_scripts.host.commands import targets
from device_scripts.host.commands.libraries import known_boards
from device_scripts.host.commands.named import LABEL_LISTS
from device_scripts.host.commands.targets import TARGETS
from device_scripts.host.commands.values import CHOICES
from device_scripts.host.commands.variables import NAMES
from device_scripts.host.commands.variables import TARGETS as FORMS
from export import labels
from export.onnx_export.model import TARGETS as EXPORTED_FORMS
from export.recognition import FIXED_POINT
from export.training.fixed_point import BITS
from export.validation import __main__ as validation
from runtime import build_engine

MAKEFILE = (Path(__file__).resolve().parents[2] / "Makefile").read_text()


def test_every_variable_is_handed_over() -> None:
    (listed,) = re.findall(r"^VARIABLES := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert sorted(listed.replace("\\", "").split()) == sorted(NAMES)


def test_every_target_is_known() -> None:
    started = re.findall(r"^([a-z0-9-]+):.*\n\t\$\(run\)$", MAKEFILE, re.MULTILINE)
    assert sorted(started) == sorted(TARGETS)


def test_forms_and_boards_are_those_of_the_programs() -> None:
    assert tuple(FORMS) == tuple(EXPORTED_FORMS)
    assert known_boards() == boards.names()
    assert tuple(LABEL_LISTS) == labels.KNOWN
    assert {name: {*values} for name, values in CHOICES.items()} == {
        "BITS": {*map(str, BITS)},
        "FIXED_POINT": {*FIXED_POINT},
        "METHOD": {*METHODS},
        "PRECISION": {*build_engine._PRECISIONS},
    }


def test_engines_of_a_comparison_are_those_of_validation() -> None:
    assert targets._BACKENDS == validation._BACKENDS
