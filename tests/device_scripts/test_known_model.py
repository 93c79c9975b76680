"""device_scripts/host/commands/known_model.py: what `make` asks of MODEL before it compiles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from device_scripts.host.commands import known_model
from runtime.core.errors import ShiftAddError
from tests.conftest import REPOSITORY

_SOURCE = """
from pathlib import Path

def network():
    Path(__file__).with_name("called").touch()

SIZE = 3
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(_SOURCE)
    return path


def test_what_is_there_is_known_and_is_not_made(source: Path) -> None:
    for model in ("resnet20_cifar10", f"{source}:network", "torch.nn:ReLU"):
        assert known_model.main([model]) == 0
    assert not source.with_name("called").exists()


def test_what_was_given_beside_the_model_is_read(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--input=3x8x8", "--mean=0.5,0.5,0.5", "--labels=cifar10", "--model-args=width=0.5"]
    assert known_model.main([f"{source}:network", *given]) == 0
    for option, said in (
        ("--input=3x", "'3x' is not of the form CxHxW"),
        ("--std=a,b", "'a,b' is not a number a channel"),
        ("--resize=big", "invalid int value: 'big'"),
    ):
        with pytest.raises(SystemExit) as left:
            known_model.main([f"{source}:network", option])
        assert left.value.code == 2
        assert said in capsys.readouterr().err
    for option, said in (
        ("--labels=none.txt", "none.txt: no such file or folder of labels"),
        ("--model-args=width", "the model's argument 'width' is not of the form name=value"),
        ("--name=a/b", "the name 'a/b' is no model's"),
    ):
        with pytest.raises(ShiftAddError) as refused:
            known_model.main([f"{source}:network", option])
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("unknown", "unknown model 'unknown'; known models: ghostnet"),
        ("{folder}/none.py:network", "none.py: no such file"),
        ("{folder}/net.py:net", "net.py: has no 'net'; it has network"),
        ("{folder}/net.py:SIZE", "net.py:SIZE: is a int, not a callable"),
        ("{folder}/net.py", "net.py: say which callable of it makes the network"),
        ("torch.nn:None_", "torch.nn: has no 'None_'"),
        ("no_such_package.nets:network", "no module named 'no_such_package'"),
    ],
)
def test_what_is_not_there_is_named(source: Path, model: str, message: str) -> None:
    with pytest.raises(ShiftAddError) as refused:
        known_model.main([model.format(folder=source.parent)])
    assert message in str(refused.value)


def test_the_exit_code_is_2_and_the_last_line_says_why(source: Path) -> None:
    command = [sys.executable, "-m", known_model.__name__, "--", f"{source}:net"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {source}: has no 'net'; it has network"
