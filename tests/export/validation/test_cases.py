"""`make validate` of every shared case, and of the networks whose layers are recognised.

It is the command's comparison without its report, which takes longer than all the rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from calibration.comparison.inputs import random_inputs
from export import Spec, export_model, save
from export import __main__ as exporter
from export.loading.resolve import resolve
from export.recognition import FIXED_POINT, FixedPoint, swap_layers
from export.validation.compare import compare
from export.validation.exported import ExportedModel
from export.validation.reference import Reference
from tests.export.recognition.test_networks import OTHERS, ROUNDING, SIZE
from tests.support.commands import in_process
from tests.support.models import authors_networks as networks
from tests.support.models.shared_cases import SHARED, shared_cases

pytestmark = pytest.mark.usefixtures("one_thread")


def check(path: Path, network: nn.Module, library: Path) -> None:
    """The file and the module are compared as the command does it: all within its tolerance."""
    exported = ExportedModel(path, str(library))
    assert exported.layers
    swapped, _ = swap_layers(network, exported.fixed_point)
    images = random_inputs(2, exported.metadata.input_size, int(torch.seed() % 2**32))
    (result,) = compare(
        exported, Reference(swapped, exported.metadata.input_size), {"random": images}
    )
    assert result.passed
    assert len(result.layers) == len(exported.layers)


def test_every_shared_case_is_exported_and_validated(
    tmp_path: Path, operator_library: Path
) -> None:
    module, names = shared_cases()
    for name in names:
        source = f"{SHARED}:{name}"
        done = in_process(exporter.main, source, "--input", "3x32x32", "--out", tmp_path)
        if name in module.REFUSED:
            assert done.returncode == 2
            assert f"error: cannot export {name}: second (" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        else:
            assert done.returncode == 0, done.stderr
            check(tmp_path / f"{name}.onnx", resolve(source).build(), operator_library)


@pytest.mark.parametrize("choice", FIXED_POINT)
@pytest.mark.parametrize("name", ROUNDING)
def test_networks_that_round_are_validated(
    name: str, choice: FixedPoint, tmp_path: Path, operator_library: Path
) -> None:
    torch.manual_seed(1)
    network = networks.settle(ROUNDING[name](), SIZE, 4)
    save(export_model(network, Spec(SIZE), fixed_point=choice), tmp_path / "m.onnx")
    check(tmp_path / "m.onnx", network, operator_library)


@pytest.mark.parametrize("name", OTHERS)
def test_other_recognised_networks_are_validated(
    name: str, tmp_path: Path, operator_library: Path
) -> None:
    network = networks.settle(OTHERS[name](), SIZE, 4)
    save(export_model(network, Spec(SIZE)), tmp_path / "m.onnx")
    check(tmp_path / "m.onnx", network, operator_library)
