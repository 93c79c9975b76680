"""Small ONNX models and images for the runtime's tests, drawn fresh. Runs on Python 3.6."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from runtime.core.arrays import FloatArray
from runtime.core.metadata import parse
from runtime.core.preprocess import preprocess

REPOSITORY = Path(__file__).resolve().parents[3]
LABELS = ("bird", "cat", "dog", "frog", "horse", "ship", "truck")
SIZE = (3, 20, 24)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:
    Array = np.ndarray

BICUBIC = 3


def metadata(**changes: Optional[str]) -> Dict[str, str]:
    """The metadata of a model here; a keyword replaces an entry, None leaves it out."""
    entries: Dict[str, Optional[str]] = {
        "contract_version": "1",
        "model": "small",
        "target": "standard",
        "input_size": json.dumps(SIZE),
        "resize": "24",
        "mean": json.dumps(MEAN),
        "std": json.dumps(STD),
        "labels": json.dumps(LABELS),
        "checkpoint_sha256": "",
        "operators": "[]",
    }
    entries.update(changes)
    return {f"shiftadd.{key}": text for key, text in entries.items() if text is not None}


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    properties: Mapping[str, str],
) -> Path:
    """Writes a model from "input" to "logits" at opset 13, IR 7."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "classes"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("shiftadd", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=7)
    helper.set_model_props(model, dict(properties))
    onnx.save(model, path)
    return path


def linear(
    path: Path,
    rng: np.random.Generator,
    properties: Optional[Mapping[str, str]] = None,
    classes: int = len(LABELS),
) -> Tuple[Path, Array]:
    """A model whose logits are W @ (mean of each input channel); also W, [classes, 3]."""
    weight = rng.normal(size=(classes, 3)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    entries = metadata() if properties is None else properties
    return save(path, nodes, {"weight": weight}, entries), weight


def several(path: Path, rng: np.random.Generator) -> Tuple[Path, Array]:
    """A model without classes: "signal" [N, 2, 9] and "features" [N, 5] give "both" [N, 5],
    which is W @ (mean of each channel) + the features, and "twice", the signal twice; also W."""
    weight = rng.normal(size=(5, 2)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["signal"], ["means"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["linear"], transB=1),
        helper.make_node("Add", ["linear", "features"], ["both"]),
        helper.make_node("Add", ["signal", "signal"], ["twice"]),
    ]
    shapes: Dict[str, List[Any]] = {
        "signal": ["N", 2, 9],
        "features": ["N", 5],
        "both": ["N", 5],
        "twice": ["N", 2, 9],
    }
    tensors = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    weights = {"weight": weight, "bias": np.zeros(5, np.float32)}
    graph = helper.make_graph(
        nodes,
        "small",
        [tensors["signal"], tensors["features"]],
        [tensors["both"], tensors["twice"]],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=7)
    absent = {name: None for name in ("resize", "mean", "std", "labels")}
    helper.set_model_props(model, metadata(input_size="null", classes="null", **absent))
    onnx.save(model, path)
    return path, weight


def constant(
    path: Path, logits: Sequence[float], properties: Optional[Mapping[str, str]] = None
) -> Path:
    """A model that answers `logits` whatever the image, unless the image is not finite."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "constant"], ["logits"]),
    ]
    weights = {"zero": np.zeros(1, np.float32), "constant": np.array([logits], np.float32)}
    return save(path, nodes, weights, metadata() if properties is None else properties)


def pack(codes: Array, bits: int) -> Array:
    """Codes [M, K] as int32 [M, ceil(K*bits/32)], lowest bits first, written bit by bit."""
    words = np.zeros((codes.shape[0], -(-codes.shape[1] * bits // 32)), dtype=np.uint32)
    for m, row in enumerate(codes):
        for k, code in enumerate(row):
            word, shift = divmod(k * bits, 32)
            words[m, word] |= np.uint32(int(code) << shift)
    return words.view(np.int32)


def shift(path: Path, rng: np.random.Generator, **attributes: Any) -> Tuple[Path, Array]:
    """A 1x1 ShiftConv of 4 bits, then a global mean; also its weight, [classes, 3].

    A keyword replaces an attribute of the node.
    """
    exponents = rng.integers(1, 8, size=(len(LABELS), 3))
    signs = rng.integers(0, 2, size=exponents.shape)
    fields: Dict[str, Any] = {
        "kernel_shape": [1, 1],
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "group": 1,
        "weight_bits": 4,
        "activation": "none",
    }
    fields.update(attributes)
    nodes = [
        helper.make_node(
            "ShiftConv",
            ["input", "W", "scale", "bias"],
            ["maps"],
            name="stem/shift",
            domain="shiftadd",
            **fields,
        ),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    weights = {
        "W": pack(signs << 3 | exponents, 4),
        "scale": np.ones(len(LABELS), np.float32),
        "bias": np.zeros(len(LABELS), np.float32),
    }
    properties = metadata(target="jetson-nano", operators='["ShiftConv"]')
    return save(path, nodes, weights, properties), (1 - 2 * signs) * np.exp2(1.0 - exponents)


def photo(rng: np.random.Generator, width: int = 37, height: int = 29) -> Image.Image:
    """A smooth random RGB picture, so that resizing it is not all about single pixels."""
    coarse = rng.integers(0, 256, size=(5, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), BICUBIC)


def labelled_folder(root: Path, rng: np.random.Generator, names: List[str], count: int) -> Path:
    """`count` images of one random colour each in every class of `names`, losslessly stored."""
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            colour = tuple(int(value) for value in rng.integers(0, 256, size=3))
            Image.new("RGB", (int(rng.integers(24, 60)), 30), colour).save(root / name / f"{i}.png")
    return root


def scattered_images(root: Path, rng: np.random.Generator) -> Path:
    """A folder of 40 images, some of them in folders of it."""
    for i in range(40):
        path = root / ("class" if i % 3 else ".") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(rng, 30 + i, 28).save(path)
    return root


def prepared(folder: Path) -> FloatArray:
    """The images below a folder as inputs of a model with `metadata()`, in the order of names."""
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.relative_to(folder).as_posix())
    described = parse(metadata())
    return np.stack([preprocess(Image.open(path), described) for path in paths])
