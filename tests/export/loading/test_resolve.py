"""MODEL: registered names, files, packages; their arguments, and one line for what is wrong."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from export.loading import arguments
from export.loading.arguments import ArgumentsError
from export.loading.resolve import SourceError, check_name, resolve
from export.loading.standins import standins
from export.models import MODELS

FILE = """
import helper_of_the_file
from torch import nn

print("importing")

class Net(nn.Module):
    def __init__(self, width=1.0, num_classes=10):
        super().__init__()
        import late_helper
        self.fc = nn.Linear(int(8 * width) * late_helper.ONE, num_classes)

ready = Net()
number = 3

def fails(): raise RuntimeError("two\\nlines")
def in_torch(): return nn.Linear("4", 2)
def leaves(): raise SystemExit(3)
def text(): return "a network"
def _private(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a user's file and what it imports; the modules are forgotten afterwards."""
    before = set(sys.modules)
    path = list(sys.path)
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "helper_of_the_file.py").write_text("")
    (tmp_path / "late_helper.py").write_text("ONE = 1\n")
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if "shiftadd_model" in name or getattr(sys.modules[name], "__file__", None) is None:
            del sys.modules[name]
    for name in ("helper_of_the_file", "late_helper"):
        sys.modules.pop(name, None)


def refusal(model: str, given: dict[str, object] | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        resolve(model, given).build()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_and_its_arguments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = resolve(f"{folder}/net.py:Net", {"width": 0.5, "num_classes": 3})
    weight = source.build().state_dict()["fc.weight"]
    assert (source.name, source.registered, source.weights) == ("Net", None, None)
    assert weight.shape == (3, 4)
    # What the file prints is none of the command's results.
    assert capsys.readouterr() == ("", "importing\n")
    assert resolve(f"{folder}/net.py:Net").build().state_dict()["fc.weight"].shape == (10, 8)


def test_a_ready_network_in_a_file(folder: Path) -> None:
    source = resolve(f"{folder}/net.py:ready")
    assert source.build() is source.build()
    assert "takes no arguments" in refusal(f"{folder}/net.py:ready", {"width": 1})


def test_a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "models.py").write_text("from torch import nn\nlinear = nn.Linear\n")
    monkeypatch.syspath_prepend(folder)
    source = resolve("package.models:linear", {"in_features": 2, "out_features": 3})
    assert isinstance(source.build(), nn.Linear)
    assert "has no 'nothing'" in refusal("package.models:nothing")


def test_a_registered_name() -> None:
    source = resolve("ghostshiftaddnet")
    assert source.registered is MODELS["ghostshiftaddnet"]
    assert source.weights == MODELS["ghostshiftaddnet"].weights
    assert "unexpected keyword argument 'depth'" in refusal("ghostshiftaddnet", {"depth": 3})


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{}/none.py:Net", "none.py: no such file"),
        ("{}:Net", "no Python file, and no name of a module: MODEL is a registered name"),
        ("{}/net:Net", r"/net: no Python file, .*: MODEL is \S+/net\.py:Net$"),
        ("{}/net.py", r"network: \S+/net\.py:NAME \(it has: Net, fails, in_torch, leaves, text\)$"),
        (
            "{}/net.py:",
            r"network: \S+/net\.py:NAME \(it has: Net, fails, in_torch, leaves, text\)$",
        ),
        ("{}/net", r"is given as \S+/net\.py:NAME \(it has: Net, fails, in_torch, leaves, text\)$"),
        ("{}/none.py", r"none\.py: no such file$"),
        ("{}/broken.py", r"makes the network: \S+/broken\.py:NAME$"),
        ("{}/net.onnx", r"is given as MODEL_FILE=\S+/net\.onnx$"),
        ("net.fp16.engine", r"is given as MODEL_FILE=net\.fp16\.engine$"),
        ("net.plan", r"is given as MODEL_FILE=net\.plan$"),
        ("best.pt", r"its weights are given as CHECKPOINT=best\.pt, beside a MODEL"),
        ("a/model.safetensors", r"are given as CHECKPOINT=a/model\.safetensors, beside"),
        ("{}/net.py:Nett", r"has no 'Nett'; it has Net, ready, fails, in_torch, leaves, text"),
        ("{}/net.py:number", "is a int, not a callable"),
        ("{}/net.py:fails", r"with \(\) raised RuntimeError: two lines \(\S+/net\.py:16\)$"),
        ("{}/net.py:in_torch", r"raised TypeError: .* \(\S+/net\.py:17\)$"),
        ("{}/net.py:leaves", "raised SystemExit: 3"),
        ("{}/net.py:text", "gives a str, where a torch.nn.Module is expected"),
        ("{}/broken.py:Net", "running it raised SyntaxError"),
        ("{}/missing.py:Net", "running it raised ModuleNotFoundError: No module named 'adder_cpp'"),
        ("no_such_package.models:net", "install the package"),
        ("resnet", "known models: "),
    ],
)
def test_what_is_not_there_is_one_line(folder: Path, model: str, said: str) -> None:
    (folder / "broken.py").write_text("def Net(:\n")
    (folder / "missing.py").write_text("import adder_cpp\n")
    assert re.search(said, refusal(model.format(folder)))


def test_bad_arguments_of_the_callable(folder: Path) -> None:
    said = refusal(f"{folder}/net.py:Net", {"depth": 3})
    assert "calling it with (depth=3) raised TypeError" in said
    assert said.endswith(
        "argument 'depth': its arguments are MODEL_ARGS='name=value ...' (--model-args)"
    ), "no line of the file is to be mended"


def test_arguments_are_literals_where_they_read_so() -> None:
    text = "width=0.5 classes=10 norm=batch flag=True sizes=(1,2) none=None name='two words'"
    assert arguments.parse(text) == {
        "width": 0.5,
        "classes": 10,
        "norm": "batch",
        "flag": True,
        "sizes": (1, 2),
        "none": None,
        "name": "two words",
    }
    assert arguments.parse("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width", "name=value"),
        ("1a=3", "name=value"),
        ("class=3", "name=value"),
        ("a=1 a=2", "given twice"),
        ("a='b", "quotation"),
    ],
)
def test_arguments_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ArgumentsError, match=said):
        arguments.parse(text)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "two words", "x" * 101, "a\n"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(SourceError, match="is no model's"):
        check_name(name)


AUTHORS = """
import adder_cuda
import deepshift_cuda, deepshift_cpu
import deepshift.kernels
from timm.models import register_model
from timm.models.registry import register_model as again
from torch.utils.cpp_extension import load
import torch
from torch import nn

extension = load("adder_cuda", ["adder.cpp", "adder.cu"], verbose=True)

@register_model
@again
def net():
    network = nn.Linear(2, 3)
    network.extra = torch.ones(2).cuda()
    return network.cuda()
"""


def test_missing_extensions_are_stood_in_for_while_the_file_runs(tmp_path: Path) -> None:
    (tmp_path / "deepshift").mkdir()
    (tmp_path / "deepshift" / "__init__.py").write_text("")
    (tmp_path / "authors.py").write_text(AUTHORS)
    path = list(sys.path)
    try:
        network = resolve(f"{tmp_path}/authors.py:net").build()
    finally:
        sys.path[:] = path
        sys.modules.pop("deepshift", None)
    assert isinstance(network, nn.Linear)
    # Nothing of it stays: what asks for these later learns that they are missing.
    for name in ("adder_cuda", "deepshift_cuda", "timm", "timm.models"):
        assert name not in sys.modules
    from torch.utils import cpp_extension

    assert cpp_extension.load.__module__ == "torch.utils.cpp_extension"
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.ones(2).cuda()


def test_only_the_names_of_the_list_are_stood_in_for() -> None:
    with standins(), pytest.raises(ModuleNotFoundError):
        __import__("cupy_of_another_name")
    with standins():
        package = importlib.import_module("timm.models")
        assert not hasattr(package, "create_model")


def test_a_package_that_is_missing_is_not_taken_for_its_stand_in() -> None:
    if importlib.util.find_spec("timm") is None:
        assert "no module named 'timm': install" in refusal("timm.models:ghostnet_100")
