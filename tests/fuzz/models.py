"""One-node ONNX models with something damaged, loaded and run by ONNX Runtime with our library.

`python -m tests.fuzz.models FOLDER SECONDS` runs such models in this process, and writes each to
FOLDER/current.onnx before it does, with its inputs beside it: where the process dies or hangs,
those are the ones. `python -m tests.fuzz.models --input FILE` runs one again, on those inputs and
on others. A model that is refused is an answer.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
from onnx import ModelProto

from tests.fuzz import onnx_damage
from tests.support.cases.integer import INTEGER_OPERATORS, integer_case
from tests.support.cases.plugins import (
    LIBRARY,
    case_attributes,
    case_inputs,
    make_model,
    random_case,
)

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

_ADDRESS_SPACE = 4 << 30
_MOST_INPUT = 1 << 16
_RUNS_OF_ONE = 20
# A sound model may ask for more than there is time for: a padding of 2^20 is no mistake of ours.
_MOST_PAD = 1 << 12
_TYPES = {
    "tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
    "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(double)": np.float64,
    "tensor(float16)": np.float16, "tensor(bool)": np.bool_,
}  # fmt: skip


def make(rng: np.random.Generator) -> tuple[ModelProto, Arrays]:
    """A model with something damaged, and inputs for what it was before."""
    while True:
        sound, inputs = _sound(rng)
        model = onnx_damage.damaged(sound, rng)
        if not _is_large(model):
            return model, inputs


def _sound(rng: np.random.Generator) -> tuple[ModelProto, Arrays]:
    group = int(rng.choice([1, 1, 2, 3]))
    channels = group * int(rng.integers(1, 20))
    shape = (int(rng.integers(0, 3)), channels, int(rng.integers(3, 9)), int(rng.integers(3, 9)))
    rows = group * int(rng.integers(1, 12))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    pads = tuple(int(pad) for pad in rng.integers(0, 3, 4))
    kind = int(rng.integers(5))
    if kind == 4:
        return _addition(rng, shape)
    drawn: dict[str, Any] = {"kernel_shape": kernel, "group": group, "pads": pads}
    if kind >= 2:
        operator = INTEGER_OPERATORS[kind - 2]
        integer = integer_case(operator, shape, rows, **drawn)
        layout = str(rng.choice(["NCHW", "NHWC"]))
        inputs, attributes = integer.inputs(layout), integer.attributes(layout)
        y_type: Any = np.uint8
    else:
        operator = ("ShiftConv", "AdderConv")[kind]
        bits = int(rng.choice([4, 8]))
        case = random_case(operator, shape, rows, weight_bits=bits, **drawn)
        inputs, attributes, y_type = case_inputs(case), case_attributes(case), np.float32
    computed = list(inputs) if rng.integers(4) == 0 else ["X"]
    x_shape = list(inputs["X"].shape) if rng.integers(2) else None
    return make_model(operator, attributes, inputs, computed, x_shape, y_type), inputs


def _addition(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[ModelProto, Arrays]:
    a, b = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    scale, zero = np.array(0.5, np.float32), np.array(7, np.uint8)
    inputs: Arrays = {
        "X": a, "a_scale": scale, "a_zero_point": zero, "B": b, "b_scale": scale,
        "b_zero_point": zero, "y_scale": scale, "y_zero_point": zero,
    }  # fmt: skip
    return make_model("QLinearAdd", {}, inputs, ["X", "B"], None, np.uint8), inputs


def _is_large(model: ModelProto) -> bool:
    return any(
        max((*attribute.ints, attribute.i)) > _MOST_PAD
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "pads"
    )


def run(content: bytes, inputs: Arrays, rng: np.random.Generator) -> str:
    """Loads a model and runs it on these inputs, and now and then on others; "ran", or why it was
    refused."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # Each tensor in memory of its own, where a sanitizer sees its end.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.register_custom_ops_library(str(LIBRARY))
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        session.disable_fallback()
        feeds = {value.name: _feed(value, inputs, rng) for value in session.get_inputs()}
        outputs = session.run(None, feeds)
    # What ONNX Runtime raises has no base of its own.
    except Exception as error:
        return str(error)
    # All of what it says that it has written is read.
    for output in outputs:
        np.copy(output)
    return "ran"


def _feed(value: Any, inputs: Arrays, rng: np.random.Generator) -> Array:
    own = inputs.get(value.name)
    fits = own is not None and _TYPES.get(value.type) == own.dtype
    return own if own is not None and fits and rng.integers(4) != 0 else _drawn(value, rng)


def _drawn(value: Any, rng: np.random.Generator) -> Array:
    kind = _TYPES.get(value.type)
    shape = [extent if isinstance(extent, int) else int(rng.integers(0, 9)) for extent in
             value.shape or rng.integers(0, 9, int(rng.integers(0, 5))).tolist()]  # fmt: skip
    if (
        kind is None
        or min(shape, default=0) < 0
        or float(np.prod(shape, dtype=float)) > _MOST_INPUT
    ):
        raise ValueError(f"no input is drawn for {value.type} {shape}")
    return rng.integers(0, 256, shape).astype(kind)


def main(arguments: list[str]) -> int:
    """The child's work; its last line on stdout is JSON: how many models, how many of them ran."""
    rng = np.random.default_rng()
    if arguments[0] == "--input":
        file = Path(arguments[1])
        kept = file.with_suffix(".npz")
        inputs = dict(np.load(kept)) if kept.is_file() else {}
        print("\n".join({run(file.read_bytes(), inputs, rng) for _ in range(_RUNS_OF_ONE)}))
        return 0
    current, end = Path(arguments[0]) / "current.onnx", time.monotonic() + float(arguments[1])
    refusals: set[str] = set()
    models = ran = 0
    while time.monotonic() < end:
        model, inputs = make(rng)
        try:
            content = model.SerializeToString()
        # A text that is no UTF-8.
        except ValueError:
            continue
        np.savez(current.with_suffix(".npz"), allow_pickle=False, **inputs)
        current.write_bytes(content)
        answer = run(content, inputs, rng)
        models += 1
        ran += answer == "ran"
        refusals.add(answer[:60])
    print(json.dumps({"models": models, "ran": ran, "answers": len(refusals)}))
    return 0


if __name__ == "__main__":
    # The address sanitizer keeps its books in more than that.
    if "ASAN_OPTIONS" not in os.environ:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    sys.exit(main(sys.argv[1:]))
