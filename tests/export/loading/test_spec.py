"""What is known of a network beside its weights: found, filled in, checked."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import export
import runtime
from export import Spec, labels
from export.labels import LabelError
from export.onnx_export import proof
from export.operators import ShiftConv2d
from export.spec import complete
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from runtime.core.session import Session


class Net(nn.Module):
    """[N,3,8,8] to [N,10]."""

    def __init__(self, num_classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv = ShiftConv2d(channels, 4, 3)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).mean((2, 3)))
        return out


def test_all_but_the_input_size_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.onnx"
    size = export.save(export.export_model(Net(), Spec((3, 8, 10))), path)
    assert path.stat().st_size == size
    metadata = parse(read_metadata(str(path)))
    assert metadata.labels == tuple(f"class {i}" for i in range(10))
    assert (metadata.mean, metadata.std, metadata.resize) == ((0.0,) * 3, (1.0,) * 3, 10)
    assert (metadata.model, metadata.checkpoint_sha256) == ("model", "")


def test_numbers_of_numpy_are_taken() -> None:
    values: dict[str, Any] = {
        "input_size": np.array([3, 8, 8]),
        "labels": np.array([f"c{i}" for i in range(10)]),
        "mean": np.array([0.5, 0.25, 0.125], np.float32),
        "std": torch.tensor([0.5, 0.25, 0.5]),
        "resize": np.int64(9),
    }
    whole = complete(Spec(**values), Net())
    assert whole.mean == (0.5, 0.25, 0.125)
    assert whole.std == (0.5, 0.25, 0.5)
    assert whole.labels[:2] == ("c0", "c1")
    assert json.dumps([whole.input_size, whole.resize]) == "[[3, 8, 8], 9]"


def test_grey_images_have_one_mean() -> None:
    assert complete(Spec((1, 8, 8)), Net(channels=1)).mean == (0.0,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_size": (3, 8)}, "3 channels|conv"),
        ({"input_size": ()}, "channels, height, width"),
        ({"input_size": (3, 8, 0)}, "channels, height, width"),
        ({"input_size": (3, 8.5, 8)}, "channels, height, width"),
        ({"input_size": (3, 2, 2)}, "conv"),
        ({"labels": ["a"] * 9}, "9 labels for 10 outputs"),
        ({"labels": "abcdefghij"}, "the text"),
        ({"labels": [1] * 10}, "a list of strings"),
        ({"labels": []}, "0 labels"),
        ({"std": (0.2, 0.0, 0.2)}, "positive"),
        ({"std": (0.2, -1.0, 0.2)}, "positive"),
        ({"mean": (0.5, math.nan, 0.5)}, "finite"),
        ({"mean": (0.5, math.inf, 0.5)}, "finite"),
        ({"mean": (0.5, 0.5)}, "numbers are expected"),
        ({"mean": 0.5}, "one number"),
        ({"std": (0.5,)}, "3 finite numbers"),
        ({"resize": 7}, "less than the 8x8 crop"),
        ({"resize": 0}, "positive integers"),
        ({"resize": 8.5}, "positive integers"),
        ({"resize": 100000}, "at most"),
    ],
)
def test_what_the_runtime_would_refuse_is_refused_at_export(
    changes: dict[str, Any], said: str
) -> None:
    spec = Spec(**{"input_size": (3, 8, 8), **changes})
    with pytest.raises(ValueError, match=said) as caught:
        export.export_model(Net(), spec)
    assert "\n" not in str(caught.value)


class Wrapped(nn.Module):
    """`Net` with something done to its logits."""

    def __init__(self, after: Callable[[Tensor], Any], classes: int = 10) -> None:
        super().__init__()
        self.net, self.after = Net(classes), after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.net(x))


class TwoInputs(Net):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x + y)


@pytest.mark.parametrize(
    ("network", "labels", "said"),
    [
        (Wrapped(lambda y: y.flatten()), None, "its first extent has to be the batch"),
        (Wrapped(lambda y: y.sum()), None, "its first extent has to be the batch"),
        (Wrapped(lambda y: y.argmax(1)), None, "float32"),
        (Wrapped(lambda y: {"input": y}), None, "an output cannot be called 'input'"),
        (Wrapped(lambda y: (y, "text")), None, "of type str"),
        (Wrapped(lambda y: (y, y)), ["a"] * 10, "10 labels for a network whose outputs hold no"),
        (Wrapped(lambda y: y[:, :, None, None]), ["a"] * 10, "10 labels for a network whose"),
        (Wrapped(lambda y: y, classes=1), ["spam"], "1 labels for one output, which tells two"),
        (Wrapped(lambda y: y.sigmoid()), ["a"] * 10, "leave out the sigmoid or the labels"),
        (TwoInputs(), None, "required positional argument"),
    ],
)
def test_outputs_that_the_runtime_would_get_wrong_are_refused(
    network: nn.Module, labels: list[str] | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        export.export_model(network, Spec((3, 8, 8), labels=labels))
    assert "\n" not in str(caught.value)


def session_of(path: Path, network: nn.Module, spec: Spec) -> Session:
    """The session of what `network` becomes."""
    export.save(export.export_model(network, spec), path)
    return runtime.load(path)


TWO = ["ham", "spam"]


@pytest.mark.parametrize(
    ("after", "classes", "labels", "values"),
    [
        (lambda y: y, 10, None, "logits"),
        (lambda y: y.softmax(1), 10, None, "probabilities"),
        (lambda y: y.log_softmax(1), 10, None, "logits"),
        (lambda y: y.softmax(1), 2, TWO, "probabilities"),
        (lambda y: y, 1, TWO, "logit"),
        (lambda y: y.sigmoid(), 1, TWO, "probability"),
        (lambda y: y.sigmoid().flatten(1), 1, TWO, "probability"),
    ],
)
def test_the_classes_of_a_file_are_the_networks(
    tmp_path: Path,
    rng: np.random.Generator,
    after: Callable[[Tensor], Any],
    classes: int,
    labels: list[str] | None,
    values: str,
) -> None:
    network = Wrapped(after, classes).eval()
    session = session_of(tmp_path / "n.onnx", network, Spec((3, 8, 8), labels=labels))
    assert session.metadata.classes == (values, values)
    image = rng.integers(0, 256, size=(8, 8, 3)).astype(np.uint8)
    with torch.no_grad():
        y = network.net.double()(torch.from_numpy(image / 255).permute(2, 0, 1)[None])[0]
    expected = torch.cat([1 - y.sigmoid(), y.sigmoid()]) if classes == 1 else y.softmax(0)
    (row,) = session.classify([image], 10)
    found = {prediction.class_index: prediction.probability for prediction in row}
    assert found == pytest.approx(dict(enumerate(expected.tolist())), rel=1e-4)


@pytest.mark.parametrize(
    ("after", "outputs"),
    [
        (lambda y: (y, y + 1), ["output_0", "output_1"]),
        (lambda y: {"mask": y[:, :, None, None], "score": y + 1}, ["mask", "score"]),
        (lambda y: [y, (y + 1, y + 2)], ["output_0", "output_1_0", "output_1_1"]),
        (lambda y: y[:, :, None, None], ["output"]),
        (lambda y: y[:, :1], ["output"]),
        (lambda y: y.sigmoid(), ["output"]),
        (lambda y: {"logits": y, "features": y + 1}, ["logits", "features"]),
    ],
)
def test_any_outputs_are_exported_by_name(
    tmp_path: Path,
    rng: np.random.Generator,
    after: Callable[[Tensor], Any],
    outputs: list[str],
) -> None:
    network = Wrapped(after).eval()
    session = session_of(tmp_path / "n.onnx", network, Spec((3, 8, 8)))
    assert [tensor.name for tensor in session.outputs] == outputs
    assert (session.metadata.classes is None) == ("logits" not in outputs)
    images = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = list(proof._flat(network.double()(torch.from_numpy(images).double())))
    given = session.run({"input": images})
    for name, value in zip(outputs, expected, strict=True):
        exact = value.numpy()
        assert given[name].shape == exact.shape
        assert np.linalg.norm(given[name] - exact) <= 1e-5 * np.linalg.norm(exact)


class Signals(nn.Module):
    """A signal [N, 2, 16] and features [N, 5], to something of both and something of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(2, 3, 3), nn.Linear(3 + 5, 4)

    def forward(self, signal: Tensor, features: Tensor) -> dict[str, Tensor]:
        y = self.conv(signal).relu()
        return {"both": self.fc(torch.cat([y.mean(2), features], 1)), "filtered": y}


def test_several_inputs_are_exported_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    network = Signals().eval()
    spec = Spec(inputs={"signal": (2, 16), "features": (5,)})
    session = session_of(tmp_path / "n.onnx", network, spec)
    given = {
        "signal": rng.normal(size=(3, 2, 16)).astype(np.float32),
        "features": rng.normal(size=(3, 5)).astype(np.float32),
    }
    with torch.no_grad():
        expected = network.double()(*(torch.from_numpy(a).double() for a in given.values()))
    outputs = session.run(given)
    assert list(outputs) == ["both", "filtered"]
    for name, value in outputs.items():
        exact = expected[name].numpy()
        assert np.linalg.norm(value - exact) <= 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("size", [(4, 8, 8), (2, 8, 8)])
def test_images_that_no_photo_becomes_are_arrays(
    tmp_path: Path, rng: np.random.Generator, size: tuple[int, int, int]
) -> None:
    session = session_of(tmp_path / "n.onnx", Net(channels=size[0]), Spec(size))
    assert not session.metadata.takes_images
    scores = session.run(rng.normal(size=(2, *size)).astype(np.float32))
    assert scores.shape == (2, 10)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec((4, 8, 8), mean=(0.5,) * 4), "mean is for one image of 1 or 3 channels"),
        (Spec((4, 8, 8), resize=9), "resize is for one image"),
        (Spec((3, 8, 8), inputs={"a": (3, 8, 8)}), "both an input size and inputs"),
        (Spec(inputs={"a b": (3, 8, 8)}), "input size of 'a b'"),
        (Spec(inputs={"a": ()}), "input size of 'a'"),
        (Spec(inputs={"a": (3, True)}), "input size of 'a'"),
    ],
)
def test_inputs_that_are_none_are_refused(spec: Spec, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        export.export_model(Net(channels=4), spec)


def test_a_network_stays_as_it_was_asked_about() -> None:
    network = Net().train()
    network.fc.eval()
    complete(Spec((3, 8, 8)), network)
    assert network.training
    assert network.conv.training
    assert not network.fc.training


def test_the_known_labels() -> None:
    names = labels.read("imagenet")
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[285], names[999]) == ("tench", "Egyptian cat", "toilet tissue")
    assert labels.read("cifar10")[3] == "cat"


def test_labels_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n Hund \nvögel\n", encoding="utf-8")
    (tmp_path / "list.json").write_text('["cat", "dog"]')
    (tmp_path / "index.json").write_text('{"1": "dog", "0": "cat"}')
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("dog", "cat"):
            folder = tmp_path / "set" / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "1.png")
            archive.write(folder / "1.png", f"{name}/1.png")
    assert labels.read(str(tmp_path / "names.txt")) == ("cat", "Hund", "vögel")
    for name in ("list.json", "index.json", "set", "set.zip"):
        assert labels.read(str(tmp_path / name)) == ("cat", "dog"), name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.txt", None, "no such file"),
        ("empty.txt", b"\n", "no labels"),
        ("latin.txt", b"\xe9t\xe9\n", "UTF-8"),
        ("broken.json", b"[", "not JSON"),
        ("gap.json", b'{"0": "a", "2": "b"}', "indices 0 to 1"),
        ("numbers.json", b"[1, 2]", "list of strings"),
    ],
)
def test_labels_that_cannot_be_had(
    name: str, content: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelError, match=said) as caught:
        labels.read(str(path))
    assert str(path) in str(caught.value)


TIMM = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def tiny_100(num_classes=1000, as_object=False):
    net = Net(num_classes)
    cfg = {"input_size": (3, 8, 8), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1),
           "crop_pct": 0.8, "num_classes": 1000}
    if as_object:
        net.pretrained_cfg = type("PretrainedCfg", (), cfg)()
    else:
        net.default_cfg = cfg
    return net
"""

TORCHVISION = """
import enum, functools
from torch import nn

class Preset:
    def __init__(self, crop_size, resize_size=256, mean=(0.485, 0.456, 0.406),
                 std=(0.229, 0.224, 0.225)):
        self.crop_size, self.resize_size = [crop_size], [resize_size]
        self.mean, self.std = mean, std

class Weights:
    def __init__(self, transforms, meta):
        self.transforms, self.meta = transforms, meta

class Tiny18_Weights(enum.Enum):
    OLD = Weights(functools.partial(Preset, 8, resize_size=10), {"categories": ["a", "b"]})
    NEW = Weights(functools.partial(Preset, 8, resize_size=9), {"categories": ["c", "d"]})
    DEFAULT = NEW
    @property
    def transforms(self): return self.value.transforms
    @property
    def meta(self): return self.value.meta

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def tiny18(weights=None, num_classes=2): return Net(num_classes)
"""

OURS = """
from torch import nn
from export import Spec

class Net(nn.Module):
    spec = Spec((3, 8, 8), labels=("yes", "no"), mean=(0.1, 0.2, 0.3))
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def net(): return Net()
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small packages with what timm and torchvision publish: neither is a requirement here."""
    for package, text in (("timm", TIMM), ("torchvision", TORCHVISION)):
        for name in list(sys.modules):
            if name.partition(".")[0] == package:
                monkeypatch.delitem(sys.modules, name)
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "models.py").write_text(text)
    (tmp_path / "ours.py").write_text(OURS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def exported(
    packages: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[Any, str]:
    """The file's metadata and what the command said."""
    from export import __main__ as command

    out = packages / "out"
    assert command.main([*arguments, "--out", str(out)]) == 0
    (path,) = out.iterdir()
    return parse(read_metadata(str(path))), capsys.readouterr().out


def test_what_timm_publishes_is_found(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata, said = exported(packages, capsys, "timm.models:tiny_100")
    assert (metadata.model, metadata.input_size, metadata.resize) == ("tiny_100", (3, 8, 8), 10)
    assert (metadata.mean, metadata.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert metadata.labels[285] == "Egyptian cat"
    assert "0.5, 0.4, 0.3 (timm's default_cfg)" in said
    assert "1000: tench, goldfish, great white shark, ... (" in said


def test_timms_newer_form_and_another_number_of_classes(
    packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("timm.models:tiny_100", "--model-args", "num_classes=7 as_object=True")
    metadata, said = exported(packages, capsys, *arguments, "--name", "mine")
    assert (metadata.model, len(metadata.labels)) == ("mine", 7)
    assert metadata.labels[6] == "class 6"
    assert "(timm's pretrained_cfg)" in said
    assert "nothing names them" in said


def test_what_torchvision_publishes_is_found(
    packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, said = exported(packages, capsys, "torchvision.models:tiny18")
    assert (metadata.input_size, metadata.resize, metadata.labels) == ((3, 8, 8), 9, ("c", "d"))
    assert metadata.mean == (0.485, 0.456, 0.406)
    assert "torchvision's Tiny18_Weights.NEW" in said


def test_the_weights_that_were_asked_for(
    packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("torchvision.models:tiny18", "--model-args", "weights='OLD'")
    metadata, _ = exported(packages, capsys, *arguments, "--resize", "12")
    assert (metadata.resize, metadata.labels) == (12, ("a", "b"))


def test_a_spec_of_ours_is_found_and_options_go_first(
    packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, said = exported(
        packages, capsys, f"{packages}/ours.py:net", "--std", "0.5,0.5,0.25", "--resize", "16"
    )
    assert (metadata.labels, metadata.mean) == (("yes", "no"), (0.1, 0.2, 0.3))
    assert (metadata.std, metadata.resize) == ((0.5, 0.5, 0.25), 16)
    for line in (
        "3x8x8 (the spec of the network)",
        "0.5, 0.5, 0.25 (given)",
        "2: yes, no (the spec of the network)",
    ):
        assert line in said


def test_classes_of_one_label_are_said(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from export import __main__ as command

    (packages / "names.txt").write_text("cat\ncat\n")
    names = ["--labels", str(packages / "names.txt"), "--out", str(packages / "out")]
    assert command.main([f"{packages}/ours.py:net", *names]) == 0
    assert "folders are named cat#0, cat#1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing says which input it takes"),
        (["--input", "3x8"], "CxHxW"),
        (["--input", "3x8x8", "--mean", "a,b"], "a number a channel"),
        (["--input", "3x8x8", "--labels", "none.txt"], "no such file or folder of labels"),
        (["--input", "3x8x8", "--labels", "imagenet"], "1000 labels for 2 outputs"),
        (["--input", "3x8x8", "--name", "../up"], "is no model's"),
        (["--input", "3x8x8", "--model-args", "depth"], "name=value"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from export import __main__ as command
    from runtime.console.commandline import leave

    (tmp_path / "plain.py").write_text(OURS.replace("    spec = ", "    other = "))
    with pytest.raises(SystemExit) as ending:
        leave(command.main, [f"{tmp_path}/plain.py:net", *arguments, "--out", str(tmp_path)])
    assert ending.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not list(tmp_path.glob("*.onnx"))


def test_an_entry_of_the_registry_goes_on_working() -> None:
    from tests.support.models.exported import TinyNet, make_spec

    model = export.export_model(TinyNet(), make_spec())
    assert isinstance(model, onnx.ModelProto)
