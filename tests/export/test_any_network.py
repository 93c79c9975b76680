"""Networks of other kinds than photo classifiers, from PyTorch to what `infer.py` saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import export
from export import Spec
from export.checkpoint import load_network
from export.loading.resolve import Source
from export.operators import AdderConv2d, ShiftConv2d
from export.operators.exact import float64_copy
from tests.export.test_checkpoints import shared_checkpoint
from tests.support.commands import PYTHONS, interpreter, run
from tests.support.models.authors_networks import SensorNetwork

TOLERANCE = 1e-4


class Grey(nn.Sequential):
    """[N, 1, 16, 16] to the logits of four classes."""

    def __init__(self) -> None:
        super().__init__(
            ShiftConv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
        )


class Fused(nn.Module):
    """An image and a vector [N, 5], to a tuple of two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = ShiftConv2d(2, 4, 3), nn.Linear(4 + 5, 3)

    def forward(self, image: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(image).relu()
        return self.fc(torch.cat([y.mean((2, 3)), vector], 1)), y


class Segmenting(nn.Module):
    """[N, 3, 16, 16] to a mask of the same size for each of three kinds of thing."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = AdderConv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.up, self.head = nn.Upsample(scale_factor=2), ShiftConv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.up(self.norm(self.down(x)).relu()))
        return out


def sensor() -> nn.Module:
    return load_network(Source("sensor", SensorNetwork), shared_checkpoint())[0]


@dataclass(frozen=True)
class Case:
    """A network, what is known of it, and what its outputs are called in the file."""

    make: Callable[[], nn.Module]
    spec: Spec
    outputs: tuple[str, ...]


CASES = {
    "grey": Case(Grey, Spec((1, 16, 16)), ("logits",)),
    "two inputs": Case(
        Fused, Spec(inputs={"image": (2, 9, 9), "vector": (5,)}), ("output_0", "output_1")
    ),
    "segmentation": Case(Segmenting, Spec((3, 16, 16)), ("output",)),
    "sensor": Case(sensor, Spec((1, 250, 254)), ("logits",)),
}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", CASES)
def test_what_infer_saves_is_what_pytorch_computes(
    name: str, python: str, operator_library: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    case = CASES[name]
    network = case.make().eval()
    # What an export checks by itself is compared here with what the command saves.
    export.save(export.export_model(network, case.spec, check=False), tmp_path / "m.onnx")
    shapes: Any = case.spec.inputs or {"input": case.spec.input_size}
    given: dict[str, Any] = {}
    for key, shape in shapes.items():
        given[key] = rng.normal(size=(2, *shape)).astype(np.float32)
    np.savez(tmp_path / "in.npz", **given)
    answer = run(
        interpreter(python), "infer.py", tmp_path / "m.onnx", tmp_path / "in.npz",
        "--out", tmp_path / "out.npz", "--library", operator_library,
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, "")
    with torch.no_grad():
        exact = float64_copy(network)(*(torch.from_numpy(a).double() for a in given.values()))
    with np.load(tmp_path / "out.npz") as saved:
        assert tuple(saved.files) == case.outputs
        for key, value in zip(case.outputs, exact if len(saved) > 1 else [exact], strict=True):
            expected = value.numpy()
            assert saved[key].shape == expected.shape
            error = np.linalg.norm(saved[key] - expected)
            assert error <= TOLERANCE * np.linalg.norm(expected)
    assert ("  class " in answer.stdout) == ("logits" in case.outputs)
