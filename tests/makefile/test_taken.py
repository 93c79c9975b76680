"""Variables that a target does not take."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from device_scripts.host.commands import libraries, locks, models, programs, targets
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.taken import TAKEN, check_taken
from device_scripts.host.commands.variables import GIVEN, GOALS, NAMES, Variables
from tests.support.checkout import make_checkout

EVERYTHING = {
    "MODEL": "f.py:net", "IMAGE": "a", "DATA": "a", "DEVICE": "u@h", "BOARD": "jetson-nano",
    "PEERS": "1", "MODELS": "1", "INT8": "1", "ARCHIVE": "file",
}  # fmt: skip
GIVEN_SETS: tuple[dict[str, str], ...] = (
    {},
    EVERYTHING,
    {**EVERYTHING, "INT8": "", "BACKEND": "tensorrt"},
)


class Recording(Variables):
    """Notes which variables are asked for."""

    asked: set[str]

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self.asked = set()

    def having(self, more: Mapping[str, str]) -> Recording:
        made = Recording({**self._given, **more})
        made.asked = self.asked
        return made

    def given(self, name: str) -> bool:
        self.asked.add(name)
        return super().given(name)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs succeed without being run, and what is built lies in a folder of the test's."""

    def succeed(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, "", "")

    def end(*_: object) -> NoReturn:
        raise RefusedError("the last program")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 0)
    monkeypatch.setattr(subprocess, "run", succeed)
    monkeypatch.setattr(os, "execvpe", end)
    monkeypatch.setattr(os, "chdir", lambda _: None)
    for module in (programs, libraries, models, targets):
        for name in ("ROOT", "BUILD", "LOCKS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, str(tmp_path / name))
    monkeypatch.setattr(locks, "print", lambda *_, **__: None, raising=False)
    for name in ("set_up", "set_up_nvidia", "set_up_peers", "build_operator_library"):
        monkeypatch.setattr(targets, name, lambda *_: "")
    for name in ("build_board_library", "interpreter", "is_set_up"):
        monkeypatch.setattr(targets, name, lambda *_, **__: "x")
    monkeypatch.setattr(targets, "have_model", models.export_command)
    monkeypatch.setattr(models, "_export", lambda v, *_: models.export_command(v))
    monkeypatch.setattr(targets, "build_tensorrt_library", lambda v: v.words("CMAKE_ARGS"))
    monkeypatch.setattr(targets, "_is_newer", lambda *_: False)


def test_every_target_says_what_it_takes() -> None:
    assert TAKEN.keys() == targets.TARGETS.keys()
    assert {name for names in TAKEN.values() for name in names} == {*NAMES} - {"PYTHON"}


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("target", sorted(set(targets.TARGETS) - {"clean"}))
def test_a_target_takes_what_it_asks_for(target: str) -> None:
    asked: set[str] = set()
    for given in GIVEN_SETS:
        variables = Recording(given)
        with contextlib.suppress(RefusedError):
            targets.TARGETS[target](variables)
        asked |= variables.asked
    assert asked == {*TAKEN[target]}


def said(goals: str, given: str, capsys: pytest.CaptureFixture[str]) -> str:
    for target in goals.split():
        check_taken(target, {GOALS: goals, GIVEN: given})
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("goals", "given", "line"),
    [
        ("bundle", "MODEL IMAGE", "bundle: takes no IMAGE: it is ignored"),
        ("train", "BITS DATA", "train: takes no BITS: it is ignored"),
        ("infer", "IMAGE DATA", "infer: takes no DATA: it is ignored"),
        ("export evaluate", "DATA IMAGE", "export evaluate: takes no IMAGE: it is ignored"),
        ("export evaluate infer", "DATA IMAGE", ""),
        ("clean", "PYTHON", ""),
    ],
)
def test_what_is_ignored_is_said_once(
    goals: str, given: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(goals, given, capsys) == (f"{line}\n" if line else "")


@pytest.mark.parametrize(
    ("goals", "given", "meant"),
    [("infer", "MODELS", "MODEL"), ("bench-a57", "MODEL", "MODELS"), ("plugins", "CMAKE_ARGS", "")],
)
def test_a_variable_for_another_that_is_taken_is_refused(
    goals: str, given: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if meant:
        with pytest.raises(RefusedError, match=f"takes no {given}; {meant} was meant"):
            said(goals, given, capsys)
    else:
        assert "is ignored" in said(goals, given, capsys)


def test_make_hands_over_what_its_command_line_gives(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    (checkout.folder / "a.png").touch()
    given = ("infer", "IMAGE=a.png", "BITS=8")
    done = checkout.make(*given, environment={"DEVICE": "u@h"})
    assert (done.returncode, done.stderr) == (0, "infer: takes no BITS: it is ignored\n")
    done = checkout.make("infer", "IMAGE=a.png", "MODELS=$(shell touch ran)")
    assert done.stderr.startswith("infer: takes no MODELS; MODEL was meant?\n")
    assert not [path for path in checkout.files() if path.name == "ran"]
