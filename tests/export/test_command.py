"""`python -m export` and the checkpoints it reads."""

from __future__ import annotations

import hashlib
import json
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from export import __main__ as command
from export.checkpoint import CheckpointError, load_model
from export.models import MODELS
from export.onnx_export import proof
from export.operators import native
from runtime.console.commandline import leave
from tests.support.models.exported import TinyNet, make_spec, randomise
from tests.support.models.runtime import REPOSITORY

MODEL = "tiny"

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network in the registry, without shipped weights."""
    monkeypatch.setitem(MODELS, MODEL, make_spec(name=MODEL))


@pytest.fixture(scope="module")
def state() -> State:
    """Weights as training leaves them: other ones than an untrained export has."""
    return randomise(TinyNet()).state_dict()


def run(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The command's exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ending:
        leave(command.main, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    code = ending.value.code
    assert isinstance(code, int)
    return code, captured.out, captured.err


def refused(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command refuses its arguments with."""
    code, out, err = run(*arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def save_safetensors(path: Path, state: State) -> Path:
    safetensors.torch.save_file(state, path)
    return path


def assert_loaded(network: nn.Module, state: State) -> None:
    loaded = network.state_dict()
    for name, value in state.items():
        torch.testing.assert_close(loaded[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "best_prec1": np.float64(0.9)},
        lambda state: {"model": state, "recipe": {"lr": 0.1}, "acc": np.float32(0.5)},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["plain", "state_dict", "model", "module.", "without step counts"],
)
def test_torch_checkpoints(wrap: Callable[[State], Any], state: State, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(wrap(state), path)
    network, sha256 = load_model(MODEL, path)
    assert not network.training
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    trained = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert_loaded(network, trained)


def test_a_checkpoint_pickled_by_numpy_1(state: State, tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save(
        {"state_dict": state, "best": np.float64(1)}, path, _use_new_zipfile_serialization=False
    )
    content = path.read_bytes()
    module = b"numpy._core.multiarray"
    assert module in content
    path.write_bytes(content.replace(b"c" + module, b"cnumpy.core.multiarray"))
    assert_loaded(load_model(MODEL, path)[0], state)


def test_safetensors_checkpoint_and_its_hash_in_the_file(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_safetensors(tmp_path / "weights.safetensors", state)
    code, out, err = run(
        MODEL, "--checkpoint", path, "--out", tmp_path / "new" / "out", capsys=capsys
    )
    assert (code, err) == (0, "")
    model = onnx.load(tmp_path / "new" / "out" / f"{MODEL}.onnx")
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["shiftadd.checkpoint_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(entries["shiftadd.operators"]) == ["AdderConv", "ShiftConv"]
    for shown in ("ShiftConv 4", "AdderConv 2", "jetson-nano", "ai.onnx 13", str(path)):
        assert shown in out


def test_without_weights_the_file_is_named_untrained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(MODEL, "--target", "portable", "--out", tmp_path, capsys=capsys)
    assert code == 0
    assert err.startswith(f"warning: no trained weights for {MODEL}")
    first = tmp_path / f"{MODEL}.portable.onnx"
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    content = first.read_bytes()
    run(MODEL, "--target", "portable", "--out", tmp_path, capsys=capsys)
    assert first.read_bytes() == content


def test_the_file_is_readable_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").touch()
    run(MODEL, "--target", "standard", "--out", tmp_path, capsys=capsys)
    written = tmp_path / f"{MODEL}.standard.onnx"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "plain", written)]
    assert modes[0] == modes[1]


def test_no_check_leaves_the_comparison_out_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the network was run")

    monkeypatch.setattr(proof, "observe", never)
    code, _, _ = run(MODEL, "--no-check", "--out", tmp_path, capsys=capsys)
    assert code == 0
    entries = {e.key: e.value for e in onnx.load(tmp_path / f"{MODEL}.onnx").metadata_props}
    assert "not compared" in entries["shiftadd.unchecked"]


def test_a_network_that_the_file_would_not_be_is_one_line_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "TOLERANCE", 1e-12)
    monkeypatch.setattr(proof, "_OWN_ERROR", 0.0)
    error = refused(MODEL, "--out", tmp_path, capsys=capsys)
    assert "other outputs than the network" in error
    assert "the first layer that differs is" in error
    assert not list(tmp_path.iterdir())


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--list", capsys=capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(MODELS)


def test_an_unknown_model_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused("resnet20", capsys=capsys)
    assert "'resnet20'" in message
    assert all(name in message for name in MODELS)


@pytest.mark.parametrize(
    ("arguments", "shown"), [([], "which MODEL"), ([MODEL, "--target", "orin"], "'orin'")]
)
def test_bad_usage(arguments: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown in refused(*arguments, capsys=capsys)


def test_a_library_that_cannot_be_loaded_is_not_called_the_networks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The adder's kernels for training are loaded when a network first runs."""
    library, source = tmp_path / "other.so", tmp_path / "net.py"
    library.write_bytes(b"no library")
    source.write_text(
        "from torch import nn\n"
        "from export.operators import AdderConv2d\n"
        "def net(): return nn.Sequential(AdderConv2d(3, 4, 1), nn.Flatten())\n"
    )
    monkeypatch.setenv("SHIFTADD_TRAINING_LIBRARY", str(library))
    native.training_library.cache_clear()
    try:
        message = refused(f"{source}:net", "--input", "3x2x2", "--out", tmp_path, capsys=capsys)
    finally:
        native.training_library.cache_clear()
    assert message.startswith(f"error: {library}: not this version's training library")


def test_a_checkpoint_that_does_not_fit(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {f"extra.{i}": torch.zeros(1) for i in range(9)}
    kept = {k: v for k, v in state.items() if not k.startswith("adder.")}
    kept["stem.0.weight"] = torch.zeros(8, 3, 5, 5)
    path = save_safetensors(tmp_path / "other.safetensors", {**kept, **other})
    message = refused(MODEL, "--checkpoint", path, "--out", tmp_path, capsys=capsys)
    assert str(path) in message
    assert "5 missing keys: adder.0.weight, adder.1.weight, adder.1.bias" in message
    assert "9 unexpected keys: extra.0, extra.1, extra.2, extra.3, extra.4 and 4 more" in message
    assert "1 shapes: stem.0.weight (expected [8, 3, 3, 3], got [8, 3, 5, 5])" in message
    assert len(message) < 1000
    assert not list(tmp_path.glob("*.onnx"))


class Payload:
    """What a hostile checkpoint is made of: it writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def foreign_files(folder: Path, state: State) -> dict[str, Path]:
    """Files that are no checkpoint, by what is wrong with them."""
    safe = save_safetensors(folder / "whole.safetensors", state).read_bytes()
    torch.save(state, folder / "whole.pt")
    saved = (folder / "whole.pt").read_bytes()
    contents = {
        "missing.pt": None,
        "empty.pt": b"",
        "empty.safetensors": b"",
        "text.pth": b"not a checkpoint\n",
        "text.safetensors": b"not a checkpoint either\n",
        "cut.pt": saved[: len(saved) // 2],
        "cut.safetensors": safe[: len(safe) // 2],
        "list.pt": None,
        "number.pt": None,
        "code.pt": None,
        "folder.pt": None,
    }
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_bytes(content)
    torch.save([1, 2], folder / "list.pt")
    torch.save({"state_dict": {"stem.0.weight": 1.0}}, folder / "number.pt")
    (folder / "code.pt").write_bytes(pickle.dumps(Payload(folder / "ran")))
    (folder / "folder.pt").mkdir()
    return {name: folder / name for name in contents}


def test_foreign_files_are_refused_and_never_run(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in foreign_files(tmp_path, state).values():
        message = refused(MODEL, "--checkpoint", path, "--out", tmp_path, capsys=capsys)
        assert str(path) in message
        assert len(message) < 300 + len(str(path))
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("*.onnx"))


def test_values_that_are_not_finite_are_refused(state: State, tmp_path: Path) -> None:
    broken = {
        **state,
        "plain.1.running_var": torch.full_like(state["plain.1.running_var"], torch.nan),
    }
    path = save_safetensors(tmp_path / "nan.safetensors", broken)
    with pytest.raises(CheckpointError, match=r"not finite in plain\.1\.running_var"):
        load_model(MODEL, path)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    message = refused(MODEL, "--out", tmp_path / "file", capsys=capsys)
    assert "cannot write the model" in message


def test_as_a_process(tmp_path: Path) -> None:
    """Its stderr has what it says itself and nothing from the libraries."""
    name = "ghostshiftaddnet_imagenet"
    done = subprocess.run(
        [sys.executable, "-m", "export", name, "--out", tmp_path],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=True,
    )  # fmt: skip
    assert done.stderr.count("\n") == 1
    assert (tmp_path / f"{name}.onnx").stat().st_size > 1_000_000
