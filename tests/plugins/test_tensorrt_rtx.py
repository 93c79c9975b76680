"""Exported files and the plugin library in NVIDIA's own library, TensorRT-RTX, without a GPU.

It builds networks of standard operators for real, and its parser hands a custom node's attributes
to the creator of that name; a network with a plugin it does not take.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import nn

from export.models import MODELS
from export.onnx_export.model import Target, export_model
from export.operator_table import FLOAT_OPERATORS, OPERATORS
from export.operators import AdderConv2d, ShiftConv2d
from tests.support.models.exported import (
    CLASSES,
    SIZE,
    TinyNet,
    attributes,
    custom_nodes,
    make_spec,
    randomise,
)
from tests.support.toolchains.cpp_programs import OPTIMIZED
from tests.support.toolchains.nvidia import run_with_tensorrt_rtx, tensorrt_include

CHILD = "tests.support.children.tensorrt_rtx"

Field = dict[str, Any]
"""A plugin's field: name, type, length, data."""


def built(model: onnx.ModelProto, folder: Path) -> dict[str, Any]:
    """What TensorRT-RTX made of the model."""
    onnx.save(model, folder / "model.onnx")
    answer = run_with_tensorrt_rtx(CHILD, "build", str(folder / "model.onnx"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def weight_bytes(model: onnx.ModelProto) -> int:
    """Of the float weights, which an engine holds."""
    kind = onnx.TensorProto.FLOAT
    return sum(4 * math.prod(t.dims) for t in model.graph.initializer if t.data_type == kind)


@pytest.mark.parametrize(
    ("name", "target"),
    [("ghostshiftaddnet", "standard"), ("ghostnet_cifar10", "jetson-nano")],
)
def test_a_registered_model_is_built(name: str, target: Target, tmp_path: Path) -> None:
    spec = MODELS[name]
    model = export_model(spec.build(), spec, target)
    answer = built(model, tmp_path)
    assert (answer["errors"], answer["log"]) == ([], [])
    assert answer["input"] == [-1, *spec.input_size]
    assert answer["output"] == [-1, len(spec.labels)]
    assert answer["engine_bytes"] > weight_bytes(model)


def test_every_kind_of_layer_is_built(tmp_path: Path) -> None:
    model = export_model(randomise(TinyNet()), make_spec(), "standard")
    answer = built(model, tmp_path)
    assert (answer["errors"], answer["log"]) == ([], [])
    assert (answer["input"], answer["output"]) == ([-1, *SIZE], [-1, CLASSES])
    assert answer["engine_bytes"] > weight_bytes(model)


def test_what_the_library_cannot_parse_is_reported(tmp_path: Path) -> None:
    model = export_model(randomise(TinyNet()), make_spec(), "standard")
    model.graph.node[0].op_type = "Unheard"
    (error, *_) = built(model, tmp_path)["errors"]
    assert "Unheard" in error


ONE_LAYER: dict[str, Callable[[], nn.Module]] = {
    "ShiftConv": lambda: nn.Sequential(
        ShiftConv2d(3, 6, (3, 1), (2, 3), (1, 0, 2, 4), (2, 1), groups=3, min_exponent=-6),
        nn.ReLU6(),
    ),
    "AdderConv": lambda: nn.Sequential(
        AdderConv2d(3, 6, (1, 3), (3, 1), (0, 5, 1, 2), (1, 2), groups=3), nn.Hardswish()
    ),
}


def delivered(model: onnx.ModelProto, folder: Path) -> dict[str, Any]:
    """What NVIDIA's parser hands to the creator of the model's first custom node."""
    onnx.save(model, folder / "model.onnx")
    answer = run_with_tensorrt_rtx(CHILD, "fields", str(folder / "model.onnx"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_the_fields_that_nvidias_parser_delivers(operator: str, tmp_path: Path) -> None:
    """All attributes of the node: integers as int32, strings as characters and a NUL."""
    model = export_model(randomise(ONE_LAYER[operator]()), make_spec())
    (node,) = custom_nodes(model)
    document = delivered(model, tmp_path)
    assert (document["operator"], document["node"]) == (operator, node.name)
    assert {field["name"]: field for field in document["fields"]} == {
        name: as_field(name, value) for name, value in attributes(node).items()
    }


def as_field(name: str, value: Any) -> Field:
    """The plugin field that stands for an attribute."""
    if isinstance(value, str):
        return {"name": name, "type": "CHAR", "length": len(value) + 1, "data": value + "\0"}
    values = [value] if isinstance(value, int) else list(value)
    return {"name": name, "type": "INT32", "length": len(values), "data": values}


@pytest.fixture(scope="module")
def plugin_library() -> Path:
    """The plugin library for TensorRT 10's headers, its kernels built for the host."""
    tensorrt_include()  # leaves the tests out where there is none
    return OPTIMIZED.build("shiftadd_tensorrt")


def created(
    library: Path, requests: list[dict[str, Any]], folder: Path
) -> tuple[list[dict[str, Any]], dict[str, bool], dict[str, str]]:
    """(the creators, whether a plugin was made by request, what was said by request)."""
    (folder / "requests.json").write_text(json.dumps(requests))
    answer = run_with_tensorrt_rtx(CHILD, "create", str(library), str(folder / "requests.json"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    documents = [json.loads(line) for line in answer.stdout.splitlines()]
    said: dict[str, str] = {}
    title = ""
    for line in answer.stderr.splitlines():
        if line in {request["title"] for request in requests}:
            title = line
            said[title] = ""
        elif title:
            said[title] += line
    made = {document["title"]: document["created"] for document in documents if "title" in document}
    return [document for document in documents if "title" not in document], made, said


def good_fields(operator: str) -> dict[str, Any]:
    """Attributes of a node by name."""
    fields = {"kernel_shape": [3, 1], "strides": [2, 3], "pads": [1, 0, 2, 4], "dilations": [2, 1]}
    packed = {"weight_bits": 4} if operator == "ShiftConv" else {}
    return {**fields, "group": 3, "activation": "relu6", **packed}


def request(operator: str, title: str, fields: Iterable[Field]) -> dict[str, Any]:
    """A plugin that is asked for."""
    return {"operator": operator, "title": f"{operator} {title}", "fields": list(fields)}


def test_the_registry_finds_the_librarys_creators(plugin_library: Path, tmp_path: Path) -> None:
    creators, _, _ = created(plugin_library, [], tmp_path)
    assert creators == [
        {"operator": name, "fields": sorted(OPERATORS[name].attribute_names)}
        for name in FLOAT_OPERATORS
    ]


def test_what_nvidias_parser_delivers_makes_a_plugin(plugin_library: Path, tmp_path: Path) -> None:
    requests = []
    for operator, network in ONE_LAYER.items():
        document = delivered(export_model(randomise(network()), make_spec()), tmp_path)
        requests.append(request(operator, "delivered", document["fields"]))
    _, made, said = created(plugin_library, requests, tmp_path)
    assert made == {"ShiftConv delivered": True, "AdderConv delivered": True}
    assert set(said.values()) == {""}


def test_a_string_without_its_nul_is_taken(plugin_library: Path, tmp_path: Path) -> None:
    """TensorRT 8.2's parser does not count it."""
    requests = []
    for operator in FLOAT_OPERATORS:
        fields = [as_field(*item) for item in good_fields(operator).items()]
        for field in fields:
            if field["type"] == "CHAR":
                field.update(data="relu6", length=5)
        requests.append(request(operator, "8.2", fields))
    _, made, said = created(plugin_library, requests, tmp_path)
    assert made == {"ShiftConv 8.2": True, "AdderConv 8.2": True}
    assert set(said.values()) == {""}


BAD_VALUES = {
    "kernel_shape": [0, 1],
    "strides": [1, -1],
    "pads": [0, 0, -1, 0],
    "dilations": [0, 0],
    "group": [0],
    "activation": "gelu",
    "weight_bits": [5],
}


def spoilt(field: Field) -> dict[str, list[Field]]:
    """What a creator must not take in the place of a good field, by what is wrong with it."""
    name, data = field["name"], field["data"]
    bad = as_field(name, BAD_VALUES[name])
    long = as_field(name, [*data, 1] if isinstance(data, list) else "relu66")
    return {
        "missing": [],
        "twice": [field, field],
        "value": [bad],
        "length": [long],
        "type": [{**field, "type": "FLOAT32", "data": [1.0], "length": 1}],
    }


def test_bad_fields_make_no_plugin_and_are_named(plugin_library: Path, tmp_path: Path) -> None:
    requests, names = [], []
    for operator in FLOAT_OPERATORS:
        good = {name: as_field(name, value) for name, value in good_fields(operator).items()}
        for name, field in good.items():
            others = [other for other in good.values() if other is not field]
            for wrong, instead in spoilt(field).items():
                requests.append(request(operator, f"{name} {wrong}", [*others, *instead]))
                names.append(name)
    _, made, said = created(plugin_library, requests, tmp_path)
    assert len(requests) == 5 * (7 + 6)
    assert {title for title, plugin in made.items() if plugin} == set()
    assert made.keys() == said.keys()
    for name, (title, line) in zip(names, said.items(), strict=True):
        assert re.search(rf"node '{title}': {name}: expected .*, got ", line), (title, line)
