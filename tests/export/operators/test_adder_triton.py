"""The adder's Triton kernels without a GPU: in Triton's interpreter, and compiled but not run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from export.operators import adder
from tests.conftest import REPOSITORY
from tests.support.cases.reference import FLOAT32_TOLERANCE

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="requirements-dev.txt installs Triton on Linux x86_64",
)


def run_child(*arguments: str, cache: Path, interpreted: bool) -> Any:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRITON_")}
    environment["TRITON_CACHE_DIR"] = str(cache)
    if interpreted:
        environment["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.children.adder_triton", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_child("interpret", cache=tmp_path_factory.mktemp("triton"), interpreted=True)


def test_matrices_of_every_shape(interpreted: Any) -> None:
    assert len(interpreted["matrices"]) == 8
    for name, result in interpreted["matrices"].items():
        assert result["forward"] <= FLOAT32_TOLERANCE, name
        assert result["input_grad"] <= FLOAT32_TOLERANCE, name


def test_nothing_is_written_beside_the_outputs(interpreted: Any) -> None:
    for name, result in interpreted["matrices"].items():
        assert result["outputs_guarded"] == 2, name
        assert result["guards_untouched"], name


def test_nan_reaches_what_depends_on_it_and_nothing_else(interpreted: Any) -> None:
    assert interpreted["nan"] == {"forward": [[1, 0], [1, 1]], "input_grad": [[1, 2]]}


def test_an_empty_batch(interpreted: Any) -> None:
    assert interpreted["empty"] == {"forward": [0, 2], "input_grad": [0, 4]}


def test_the_module_runs_on_the_kernels(interpreted: Any) -> None:
    result = interpreted["module"]
    assert result["calls"] == [2, 2]  # one of each a group
    assert set(result["errors"]) == {"y", "x", "weight"}
    # Relative to the result and not to the terms' magnitude: a few times the contract's bound.
    assert max(result["errors"].values()) <= 5 * FLOAT32_TOLERANCE


def test_compiles_with_wide_offsets_and_clamps_that_keep_nan(tmp_path: Path) -> None:
    result = run_child("compile", "75", "80", "90", cache=tmp_path, interpreted=False)
    assert set(result) == {"75", "80", "90"}
    for capability, kernels in result.items():
        assert set(kernels) == {"forward", "input_grad"}
        for name, kernel in kernels.items():
            assert kernel["bytes"] > 0, (capability, name)
            assert kernel["products"] > 0, (capability, name)
            assert kernel["narrow_products"] == [], (capability, name)
            assert all("propagateNan = all" in clamp for clamp in kernel["clamps"])
        assert kernels["input_grad"]["clamps"]


def stand_in(device: str = "cuda:0", dtype: torch.dtype = torch.float32) -> Tensor:
    """What the dispatch looks at of a tensor on a GPU that is not here."""
    where = torch.device(device)
    fake = SimpleNamespace(is_cuda=where.type == "cuda", device=where, dtype=dtype)
    return cast(Tensor, fake)


def test_the_kernels_serve_float32_on_one_gpu() -> None:
    assert adder._triton_serves(stand_in(), stand_in())
    assert not adder._triton_serves(stand_in(), stand_in("cuda:1"))
    assert not adder._triton_serves(stand_in("cpu"), stand_in("cpu"))
    assert not adder._triton_serves(stand_in(dtype=torch.float64), stand_in(dtype=torch.float64))


def test_without_triton_pytorch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adder, "_has_triton", lambda: False)
    assert not adder._triton_serves(stand_in(), stand_in())
