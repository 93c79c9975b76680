"""Checkpoints as training scripts leave them, and files that are none."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from export.checkpoint import CheckpointError, load_network
from export.loading.resolve import Source
from export.models import find_model
from tests.support.models.authors_networks import SensorNetwork
from tests.support.models.runtime import REPOSITORY

State = dict[str, Tensor]
# What the checkpoint's "best_prec1" is pickled with, by NumPy 1.
SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    np.dtype,
    type(np.dtype("f8")),
    (SCALAR, "numpy.core.multiarray.scalar"),
]
SENSOR = "mhealth_cnn_shiftadd_se_fp32.pth.tar"


class Features(nn.Module):
    """A network with a part that a wrapper may stand in the middle of."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.classifier = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return out


SOURCE = Source("features", Features)


@pytest.fixture
def state() -> State:
    return trained().state_dict()


def trained() -> nn.Module:
    network = Features()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def load(path: Path) -> State:
    return load_network(SOURCE, path)[0].state_dict()


def assert_same(loaded: State, state: State) -> None:
    for name, value in loaded.items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def middle(state: State) -> State:
    return {key.replace("features.", "features.module."): v for key, v in state.items()}


CONTAINERS = {
    name: lambda state, name=name: {name: state, "epoch": 3, "best_prec1": np.float64(9)}
    for name in (
        "state_dict",
        "model_state_dict",
        "net",
        "model",
        "state_dict_ema",
        "swa_state_dict",
        "ema",
    )
}
FORMS: dict[str, Callable[[State], Any]] = {
    **CONTAINERS,
    "plain": lambda state: state,
    "nested": lambda state: {"model": {"state_dict": state}},
    "module.": lambda state: prefixed(state, "module."),
    "_orig_mod.": lambda state: prefixed(state, "_orig_mod."),
    "model.": lambda state: {"state_dict": prefixed(state, "model.")},
    "module.backbone.": lambda state: prefixed(state, "module.backbone."),
    "in the middle": middle,
    "an average": lambda state: {
        "swa_state_dict": {"n_averaged": torch.tensor(3), **prefixed(state, "module.")}
    },
    "parameters": lambda state: {k: nn.Parameter(v) for k, v in state.items() if v.dim()},
    "half": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_loads(form: str, zipped: bool, state: State, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(FORMS[form](state), path, _use_new_zipfile_serialization=zipped)
    loaded = load(path)
    if form == "half":
        state = {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}
    assert_same(loaded, state)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_safetensors_with_a_prefix(prefix: str, state: State, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "weights.pth"):
        safetensors.torch.save_file(prefixed(state, prefix), tmp_path / name)
        assert_same(load(tmp_path / name), state)


def test_a_network_that_is_itself_wrapped(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "plain.pth")
    wrapped = Source("wrapped", lambda: nn.ModuleDict({"model": Features()}))
    assert_same(
        load_network(wrapped, tmp_path / "plain.pth")[0].state_dict(), prefixed(state, "model.")
    )


def test_objects_of_training_are_left_and_nothing_runs(state: State, tmp_path: Path) -> None:
    path = tmp_path / "full.pth"
    network = trained()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    record = {
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2),
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "payload": Payload(tmp_path / "ran"),
        "history": collections.defaultdict(list, {"loss": [np.float32(1)]}),
    }
    for zipped in (True, False):
        torch.save(record, path, _use_new_zipfile_serialization=zipped)
        assert_same(load(path), state)
    assert not (tmp_path / "ran").exists()


class Payload:
    """What a hostile checkpoint is made of: it makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


WHOLE = """
import sys, torch
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.classifier = nn.Linear(4, 5)
        self.note = open
network = Block()
torch.save(network if sys.argv[2] == "bare" else {"net": network, "epoch": 1}, sys.argv[1])
torch.save(network.state_dict(), sys.argv[1] + ".state")
"""


def test_a_pickled_whole_module_of_a_class_that_is_not_here(tmp_path: Path) -> None:
    """Its class is of a program that has ended."""
    for kind in ("bare", "within"):
        path = tmp_path / f"{kind}.pth"
        subprocess.run([sys.executable, "-c", WHOLE, path, kind], check=True, timeout=120)
        assert_same(load(path), torch.load(f"{path}.state"))


def test_by_position_and_said_aloud(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["conv.w", "conv.b", *(f"norm.{letter}" for letter in "gbmv")]
    names += ["norm.num_batches_tracked", "fc.w", "fc.b"]
    values = dict(zip(names, state.values(), strict=True))
    torch.save(values, tmp_path / "other.pth")
    loaded = load(tmp_path / "other.pth")
    assert_same(loaded, state)
    said = capsys.readouterr().err
    assert "taken in their order" in said
    assert "conv.w as features.0.weight" in said
    values["fc.b"] = torch.zeros(6)
    torch.save(values, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"8 missing keys.*9 unexpected keys"):
        load(tmp_path / "other.pth")


def test_two_prefixes_are_ambiguous_and_what_is_beside_one_is_said(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {**prefixed(state, "student."), **prefixed(state, "teacher.")}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match=r"2 times, behind student\., teacher\."):
        load(tmp_path / "both.pth")
    torch.save({**prefixed(state, "net."), "projector.w": torch.ones(2)}, tmp_path / "more.pth")
    assert_same(load(tmp_path / "more.pth"), state)
    assert "entries outside of net.* are left: projector.w" in capsys.readouterr().err


def test_which_of_several_weights_is_taken_is_said(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = {key: torch.zeros_like(value) for key, value in state.items()}
    torch.save({"state_dict_ema": averaged, "state_dict": state}, tmp_path / "two.pth")
    assert_same(load(tmp_path / "two.pth"), state)
    assert "state_dict, state_dict_ema, state_dict are taken" in capsys.readouterr().err


def foreign_files(state: State) -> dict[str, tuple[bytes, str]]:
    """Contents of files that are no checkpoint, and what is to be said of them."""
    saved, packed, script = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(state, saved)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "hello")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), script)
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [], [])
    model = onnx.helper.make_model(graph).SerializeToString()
    cut = saved.getvalue()[: len(saved.getvalue()) // 2]
    return {
        "page": (b"\n<!DOCTYPE html><html>not found</html>", "an HTML page"),
        "model": (model, "an ONNX file"),
        "cut": (cut, "truncated"),
        "empty": (b"", "empty"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        "gzip": (gzip.compress(saved.getvalue()), "gzip"),
        "zip": (packed.getvalue(), "zip archive without a checkpoint"),
        "script": (script.getvalue(), "TorchScript"),
        "keras": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        "pickle": (pickle.dumps({"weights": [1, 2, 3]}), "not a readable checkpoint"),
    }


def test_what_is_no_checkpoint_is_called_what_it_is(state: State, tmp_path: Path) -> None:
    for name, (content, said) in foreign_files(state).items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load(path)
        message = str(caught.value)
        assert said in message, (name, message)
        assert str(path) in message
        assert "\n" not in message


def unusual_tensors(state: State) -> dict[str, tuple[Any, str]]:
    weight = state["classifier.weight"]
    quantized = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    return {
        "quantized": (quantized, "quantized"),
        "sparse": (weight.to_sparse(), "sparse"),
        "compressed": (weight.to_sparse_csr(), "sparse"),
        "meta": (weight.to("meta"), "meta"),
        "complex": (weight.to(torch.complex64), "complex"),
        "number": (1.0, "no tensors"),
    }


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize", "ignore:.*deprecated")
def test_tensors_that_no_network_takes_are_refused_by_key(state: State, tmp_path: Path) -> None:
    path = tmp_path / "unusual.pth"
    for name, (value, said) in unusual_tensors(state).items():
        torch.save({"state_dict": {**state, "classifier.weight": value}}, path)
        with pytest.raises(CheckpointError, match=said) as caught:
            load(path)
        assert "classifier.weight" in str(caught.value), name


def test_ghostnets_published_names_load_by_position(tmp_path: Path) -> None:
    """The authors' order, shapes and count of keys under names of their kind."""
    network = find_model("ghostnet").build()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    state = network.state_dict()
    theirs = {f"blocks.{i}.{key.rpartition('.')[2]}": v for i, (key, v) in enumerate(state.items())}
    torch.save(theirs, tmp_path / "ghostnet.pth")
    loaded = load_network(find_model("ghostnet"), tmp_path / "ghostnet.pth")[0].state_dict()
    for name, value in loaded.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def shared_checkpoint() -> Path:
    path = REPOSITORY.parent / "shared" / "checkpoints" / SENSOR
    if not path.is_file():
        pytest.skip(f"{path}: no checkpoint of the sensor network there")
    return path


def test_shiftaddnets_own_checkpoint_loads() -> None:
    path = shared_checkpoint()
    network, sha256 = load_network(Source("sensor", SensorNetwork), path)
    assert len(sha256) == 64
    with torch.serialization.safe_globals(NUMPY_SCALARS):
        saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert_same(network.state_dict(), saved)
