"""docs/own-model.md, command by command, in a fresh folder and on a small data set."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from calibration.comparison.inputs import sample_patches
from device_scripts.host.bundle import archive
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from tests.support.models.runtime import REPOSITORY

PAGE = (REPOSITORY / "docs" / "own-model.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n([^`]+)```", PAGE) for line in block.splitlines()]
# So few images make a short training; what it learns is another test's.
SHORTER = {"--epochs 20": "--epochs 1 --closing-epochs 1", "--held-out 64": "--held-out 8"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The page's folder, with its file and 40 images of 32x32 pixels in two classes."""
    (source,) = re.findall(r"```python mine/net\.py\n([^`]+)```", PAGE)
    (tmp_path / "net.py").write_text(source)
    for index, patch in enumerate(sample_patches(40)):
        folder = tmp_path / "train" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        patch.resize((32, 32)).save(folder / f"{index}.png")
    return tmp_path


def run(command: str, mine: Path) -> str:
    """What the command prints; it has to succeed."""
    for written, taken in SHORTER.items():
        command = command.replace(written, taken)
    command = re.sub(r"\bmine\b", str(mine), command)
    # Without the options of the `make` that runs the tests.
    own = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "ARGS"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, env=own, stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_a_newcomer_gets_from_a_module_to_the_boards_bundle(mine: Path) -> None:
    assert [command.split()[1] for command in COMMANDS] == [
        *("train", "export", "validate", "infer", "evaluate", "bundle")
    ]
    printed = {command.split()[1]: run(command, mine) for command in COMMANDS}
    assert "labels      2: cat, dog (carried by the checkpoint)" in printed["export"]
    assert "the logits and all 7 layers are within tolerance" in printed["validate"]
    assert re.search(r"(cat|dog) +\d+\.\d %", printed["infer"])
    assert "top-1" in printed["evaluate"]
    metadata = parse(read_metadata(str(mine / "models" / "SmallNet.onnx")))
    assert (metadata.labels, metadata.model) == (("cat", "dog"), "SmallNet")
    manifest = archive.verify(mine / "SmallNet-jetson-nano.tar.gz")
    assert manifest.model == "SmallNet"
    assert {"models/SmallNet.onnx", "models/SmallNet.int8.onnx"} <= set(manifest.files)


def test_the_page_says_that_a_file_is_run() -> None:
    assert "with your rights" in " ".join(PAGE.split())
