"""Ordinary PyTorch before and behind our layers: every target's file, at batches of one and three,
against a float64 run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
from torch import nn

from export.errors import ExportError
from export.models.registry import ModelSpec
from export.onnx_export import refusals
from export.onnx_export.graph import is_custom
from export.onnx_export.model import TARGETS, export_model
from export.operators.exact import float64_copy
from tests.support.models import idioms
from tests.support.models.exported import Array, make_spec, relative_error
from tests.support.models.shared_cases import shared_cases

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-5


def spec_of(size: tuple[int, int, int]) -> ModelSpec:
    labels = tuple(f"label {i}" for i in range(idioms.CLASSES))
    return dataclasses.replace(make_spec(size), labels=labels, resize=max(size))


def flat(result: Any) -> list[torch.Tensor]:
    if isinstance(result, Mapping):
        result = list(result.values())
    return list(result) if isinstance(result, (list, tuple)) else [result]


def exact_outputs(network: nn.Module, images: Array) -> list[Array]:
    """In float64; a batch of one keeps its axis where a `squeeze()` takes it."""
    with torch.no_grad():
        outputs = flat(float64_copy(refusals.copy_of(network))(torch.from_numpy(images).double()))
    return [v.numpy() if len(v) == len(images) else v.numpy()[None] for v in outputs]


def run(
    model: onnx.ModelProto, images: Array, shapes: list[tuple[int, ...]], library: Path | None
) -> list[Array]:
    """All outputs, written over NaNs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if library is not None:
        options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = [np.full(shape, np.nan, np.float32) for shape in shapes]
    binding = session.io_binding()
    binding.bind_cpu_input("input", images)
    for info, out in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(info.name, "cpu", 0, np.float32, out.shape, out.ctypes.data)
    session.run_with_iobinding(binding)
    return outputs


def check_every_target(network: nn.Module, size: tuple[int, int, int], library: Path) -> None:
    random = np.random.default_rng()
    batches = [random.normal(size=(batch, *size)).astype(np.float32) for batch in (1, 3)]
    expected = [exact_outputs(network, images) for images in batches]
    for target in TARGETS:
        model = export_model(network, spec_of(size), target)
        custom = any(is_custom(node) for node in model.graph.node)
        assert custom == (target != "standard")
        engines = [library] if target == "jetson-nano" else [None]
        for images, exact in zip(batches, expected, strict=True):
            for engine in engines:
                outputs = run(model, images, [value.shape for value in exact], engine)
                for out, value in zip(outputs, exact, strict=True):
                    assert relative_error(out, value) < TOLERANCE, (target, len(images))


@pytest.mark.parametrize("name", idioms.IDIOMS)
def test_files_compute_what_pytorch_does(name: str, operator_library: Path) -> None:
    check_every_target(idioms.IDIOMS[name].build(), idioms.SIZE, operator_library)


def test_the_shared_cases(operator_library: Path) -> None:
    module, names = shared_cases()
    for name in names:
        network = getattr(module, name)()
        if name in module.REFUSED:
            with pytest.raises(ExportError, match=r"^second \("):
                export_model(network, spec_of((3, 32, 32)))
        else:
            check_every_target(network, (3, 32, 32), operator_library)


def test_no_shape_arithmetic_is_left_where_only_the_batch_is_free() -> None:
    for name in ("shuffle_by_sizes", "shuffle_batch_merged", "gate_by_view", "pool_by_size"):
        model = export_model(idioms.IDIOMS[name].build(), spec_of(idioms.SIZE), check=False)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Shape", "Gather", "ConstantOfShape", "Cast", "Identity"}, name


def test_values_are_named_by_the_batch() -> None:
    """Batch and channels share an axis on the way, and the logits are the batch's again."""
    network = idioms.IDIOMS["shuffle_batch_merged"].build()
    model = export_model(network, spec_of(idioms.SIZE), "portable")
    names = {
        dim.dim_param
        for value in [*model.graph.value_info, *model.graph.output]
        for dim in value.type.tensor_type.shape.dim
    }
    assert names == {"", "N", "4*N"}
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_further_outputs_have_names() -> None:
    model = export_model(idioms.IDIOMS["tuple"].build(), spec_of(idioms.SIZE))
    assert [output.name for output in model.graph.output] == ["logits", "output_1"]
