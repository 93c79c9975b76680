"""`make validate` of a user's network, of a file without a hash, and of two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export
from export import Spec
from export import __main__ as exporter
from export.loading.resolve import resolve
from export.validation.__main__ import main
from runtime.console.commandline import leave
from tests.export.test_checkpoints import shared_checkpoint
from tests.support.models import authors_networks as networks
from tests.support.models.runtime import REPOSITORY

NETWORKS = REPOSITORY / "tests" / "support" / "models" / "authors_networks.py"
SIZE = ["--input", "3x32x32"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def validate(tmp_path: Path, operator_library: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command's exit code, and what it printed."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        given = [*arguments, "--report-dir", tmp_path / "reports", "--library", operator_library]
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            leave(main, [*map(str, given), "--count", "2"])
        assert isinstance(left.value.code, int)
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


def write(*arguments: str | Path, out: Path) -> Path:
    """Exports by the command; the file."""
    before = set(out.glob("*.onnx"))
    assert exporter.main([*map(str, arguments), "--out", str(out)]) == 0
    (path,) = set(out.glob("*.onnx")) - before
    return path


@pytest.mark.parametrize("choice", ["drop", "keep"])
def test_a_networks_file_is_compared_with_that_very_module(
    choice: str, tmp_path: Path, validate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"{NETWORKS}:deepshift_ps"
    given = ("--model-args", "bits=4 blocks=1")
    network = networks.settle(networks.deepshift_ps(4, 1), (3, 32, 32), 4)
    weights = tmp_path / "trained.pth"
    torch.save({"state_dict": network.state_dict()}, weights)
    path = write(
        model, *given, *SIZE, "--checkpoint", weights, "--fixed-point", choice, out=tmp_path
    )
    said = capsys.readouterr().out
    assert "recognised  8 Conv2dShift as ShiftConv2d" in said
    assert f"fixed point {'kept' if choice == 'keep' else 'left out'}: 8 layers round" in said
    code, out, err = validate(model, *given, "--checkpoint", weights, "--model-file", path)
    assert (code, err) == (0, ""), out
    # The layers behind a kept rounding have the path of the module that holds both.
    assert ("layers.0.conv1.layer" if choice == "keep" else "layers.0.conv1") in out
    # Without the checkpoint PyTorch has other weights, which is no comparison.
    code, _, err = validate(model, *given, "--model-file", path)
    assert code == 2
    assert "or name the weights (CHECKPOINT=file, --checkpoint)" in err
    # make's default MODEL is a registered network, which the file is not of.
    code, _, err = validate("ghostshiftaddnet", "--model-file", path)
    assert code == 2
    assert "is of the model deepshift_ps, not of ghostshiftaddnet: give the network that" in err
    assert "(MODEL=file.py:callable), or another exported file to compare it with (REF" in err
    # Another network under the file's name: its layers are not there.
    code, _, err = validate(
        f"{NETWORKS}:addernet", "--checkpoint", weights, "--name", "deepshift_ps",
        "--model-file", path,
    )  # fmt: skip
    assert code == 2
    assert err.count("\n") == 1


def test_a_file_of_export_model_without_a_hash_is_compared(tmp_path: Path, validate: Run) -> None:
    network = networks.settle(networks.GhostShiftAddNet("ghostnet"), (3, 32, 32), 4)
    path, weights = tmp_path / "mine.onnx", tmp_path / "mine.pth"
    export.save(export.export_model(network, Spec((3, 32, 32), name="mine")), path)
    torch.save(network.state_dict(), weights)
    model = (f"{NETWORKS}:GhostShiftAddNet", "--model-args", "schedule=ghostnet")
    code, out, err = validate(*model, "--checkpoint", weights, "--model-file", path)
    assert code == 0, out
    assert "does not say which weights it has" in err
    other = {k: v + 1 if v.dim() == 4 else v for k, v in network.state_dict().items()}
    torch.save(other, weights)
    code, out, _ = validate(*model, "--checkpoint", weights, "--model-file", path)
    assert code == 1
    assert "FAIL" in out


def test_two_files_and_the_first_layer_that_differs(tmp_path: Path, validate: Run) -> None:
    network = networks.settle(networks.addernet(1), (3, 32, 32), 4)
    nano, portable = tmp_path / "a.onnx", tmp_path / "b.onnx"
    export.save(export.export_model(network, Spec((3, 32, 32))), nano)
    export.save(export.export_model(network, Spec((3, 32, 32)), "portable"), portable)
    code, out, err = validate("--model-file", nano, "--reference", portable)
    assert (code, err) == (0, ""), out
    assert "layers.1.conv2" in out
    model = onnx.load(nano)
    changed = {"layers.1.conv2.W", "layers.2.conv1.W"}
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            value = numpy_helper.to_array(tensor) * np.float32(1.5)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, nano)
    code, out, _ = validate("--model-file", nano, "--reference", portable)
    assert code == 1
    assert "the first layer that differs by more than 1e-05 is layers.1.conv2" in out


def test_two_files_that_have_nothing_to_compare(tmp_path: Path, validate: Run) -> None:
    network = networks.GhostShiftAddNet("shufflenetv2_gpu")
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    export.save(export.export_model(network, Spec((3, 32, 32))), path)
    export.save(export.export_model(network, Spec((3, 32, 40))), other)
    for arguments, said in (
        (("--reference", path), "which file"),
        (("--reference", tmp_path / "none.onnx", "--model-file", path), "no such file"),
        (("--reference", other, "--model-file", path), "there is no input for both"),
    ):
        code, _, err = validate(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err


def test_shiftaddnets_own_checkpoint_is_exported_and_validated(
    tmp_path: Path, validate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = shared_checkpoint()
    model = f"{NETWORKS}:SensorNetwork"
    path = write(model, "--input", "1x250x254", "--checkpoint", checkpoint, out=tmp_path)
    said = capsys.readouterr().out
    assert "recognised  3 SEConv2d as Conv2d" in said
    assert "recognised  2 Adder2D as AdderConv2d" in said
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert (operators.count("Conv"), operators.count("AdderConv")) == (3, 2)
    code, out, _ = validate(model, "--checkpoint", checkpoint, "--model-file", path)
    assert code == 0, out


def test_a_norm_without_statistics_stays_a_layer_of_its_own(tmp_path: Path, validate: Run) -> None:
    """It takes the statistics of each batch, so that it cannot be folded into the layer before."""
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n"
        "from export.operators import ShiftConv2d\n"
        "def net():\n"
        "    norm = nn.BatchNorm2d(4, track_running_stats=False)\n"
        "    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]\n"
        "    return nn.Sequential(ShiftConv2d(3, 4, 3), norm, *tail).eval()\n"
    )
    network = resolve(f"{file}:net").build()
    weights = tmp_path / "net.pth"
    torch.save({"state_dict": network.state_dict()}, weights)
    path = write(f"{file}:net", *SIZE, "--checkpoint", weights, out=tmp_path)
    code, out, err = validate(f"{file}:net", "--checkpoint", weights, "--model-file", path)
    assert (code, err) == (0, ""), out
    assert "all 2 layers are within tolerance" in out
