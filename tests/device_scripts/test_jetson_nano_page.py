"""docs/jetson-nano.md, command by command, on this machine and on a stand-in for the board."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from calibration.comparison.inputs import sample_patches
from tests.support.board.standin import REPOSITORY, StandIn
from tests.support.models import bundles

PAGE = REPOSITORY / "docs" / "jetson-nano.md"
PLACES = ("host", "board", "not-run")
_MARKS = {"host": "run for real", "board": "run on a stand-in", "not-run": "not run"}


@dataclass(frozen=True)
class Step:
    """A block of commands of the page.

    Attributes:
        place: one of PLACES.
        said: the paragraph before it, which says where it was tried.
    """

    place: str
    said: str
    commands: tuple[str, ...]


def steps() -> list[Step]:
    found = re.findall(r"((?:.+\n)+)\n```sh (\S+)\n([^`]+)```", PAGE.read_text())
    return [Step(place, said, tuple(block.splitlines())) for said, place, block in found]


def test_every_step_says_what_it_was_tried_on() -> None:
    assert {step.place for step in steps()} == set(PLACES)
    for step in steps():
        mark = "run on a stand-in" if step.commands[0].startswith("scp ") else _MARKS[step.place]
        assert mark in re.sub(r"\s+", " ", step.said), step


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few images for the calibration, in the place of train.zip."""
    folder = tmp_path / "train"
    folder.mkdir()
    for i, patch in enumerate(sample_patches(16)):
        patch.save(folder / f"{i}.png")
    return folder


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What the command prints; it has to succeed, and to complain of nothing."""
    answer = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", timeout=900,
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, ""), (
        f"{command}: {answer.stdout}{answer.stderr}"
    )
    return answer.stdout


def test_a_newcomer_gets_a_classified_photo_and_a_table(
    tmp_path: Path, data: Path, operator_library: Path
) -> None:
    board = StandIn(tmp_path / "board")
    board.index()
    # Without the options of the `make` that runs the tests.
    own = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "ARGS"}
    folder, printed = board.folder, {}
    for step in steps():
        for command in step.commands:
            if step.place == "host" and command.startswith("make "):
                asked = command.replace("train.zip", str(data)) + f" OUT={tmp_path / 'models'}"
                printed[command] = run(asked, REPOSITORY, own)
            elif step.place == "host":
                (copied,) = re.findall(r"^scp (\S+) user@nano:$", command)
                bundles.for_this_machine(
                    REPOSITORY / copied, operator_library, folder / Path(copied).name
                )
            elif step.place == "board" and command.startswith("cd "):
                folder /= command.split()[1]
            elif step.place == "board":
                printed[command] = run(command, folder, board.environment())
    for command in ("device_scripts/infer.sh images/chelsea.png",
                    "device_scripts/infer.sh --float images/chelsea.png"):  # fmt: skip
        first = printed[command].splitlines()[1]
        assert re.match(r" +cat +\d+\.\d %", first), printed[command]
    table = printed["device_scripts/benchmark.sh --quick"]
    assert "ghostshiftaddnet.int8" in table
    assert (board.root / "reports" / "benchmark.csv").is_file()
    assert "sudo nvpmodel -m 0" in "\n".join(board.done())
