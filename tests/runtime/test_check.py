"""`runtime/check.py`: what passes, what does not, and what is not compared at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.comparison.deviation import FLOAT16, FLOAT32
from runtime.check import TOLERANCES
from runtime.core.reference import Reference, to_bytes
from tests.support.commands import (
    PYTHONS,
    WRITTEN_MEANWHILE,
    assert_refused,
    environment,
    interpreter,
    run,
)
from tests.support.engines import Machine
from tests.support.models.runtime import REPOSITORY, SIZE, linear, metadata
from tests.support.standins.modules import OLD, XAVIER

COUNT = 3


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> Path:
    return interpreter(request.param)


@dataclass
class Case:
    """A model, a reference that is right for it, and where a run's report goes."""

    folder: Path
    model: Path
    reference: Reference

    def write(self, **changes: Any) -> Path:
        path = self.folder / "reference.npz"
        path.write_bytes(to_bytes(self.reference._replace(**changes)))
        return path

    def run(
        self, python: Path, path: Path | None = None, **changes: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The command's result, and the model's entry in its report."""
        report = self.folder / "report.json"
        reference = self.write(**changes)
        arguments = (path or self.model, "--reference", reference, "--report", report)
        result = run(python, "check.py", *arguments)
        (entry,) = json.loads(report.read_text())["models"]
        return result, entry


@pytest.fixture
def case(tmp_path: Path, rng: np.random.Generator) -> Case:
    model, weight = linear(tmp_path / "m.onnx", rng)
    images = rng.normal(size=(COUNT, *SIZE)).astype(np.float32)
    logits = (images.astype(np.float64).mean((2, 3)) @ weight.T).astype(np.float32)
    names = np.array([f"input {i}" for i in range(COUNT)])
    return Case(tmp_path, model, Reference("small", "", names, images, logits, "", logits[:0]))


def noise(rng: np.random.Generator, logits: Any, relative: float) -> Any:
    """`logits` and an error whose norm is `relative` to theirs."""
    error = rng.normal(size=logits.shape)
    return (logits + error * relative * np.linalg.norm(logits) / np.linalg.norm(error)).astype("f4")


def test_the_tolerances_are_those_of_make_validate() -> None:
    assert {"fp32": FLOAT32.network, "fp16": FLOAT16.network} == TOLERANCES


def test_a_float_model_within_its_tolerance(
    python: Path, case: Case, rng: np.random.Generator
) -> None:
    result, entry = case.run(python, logits=noise(rng, case.reference.logits, 0.9e-5))
    assert (result.returncode, result.stderr) == (0, "")
    assert re.match(
        r"m\.onnx: fp32, passed: [89]\.\de-06 from PyTorch \(at most 1e-05\), ", result.stdout
    )
    assert entry["passed"] is True
    assert entry["relative_error"] == pytest.approx(0.9e-5, rel=0.1)
    assert entry["sha256"] == hashlib.sha256(case.model.read_bytes()).hexdigest()
    best = case.reference.logits.argmax(1)
    assert [i["best_class"] for i in entry["inputs"]] == best.tolist()
    assert [i["name"] for i in entry["inputs"]] == case.reference.names.tolist()


def test_a_float_model_beyond_its_tolerance(
    python: Path, case: Case, rng: np.random.Generator
) -> None:
    result, entry = case.run(python, logits=noise(rng, case.reference.logits, 1.1e-5))
    assert (result.returncode, result.stderr) == (1, "")
    assert re.match(r"m\.onnx: fp32, FAILED: 1\.\de-05 from PyTorch", result.stdout)
    assert entry["passed"] is False


def test_an_integer_model_to_the_last_bit(
    python: Path, case: Case, rng: np.random.Generator
) -> None:
    """A file that the reference names as the integer one: its own bytes, and one bit beside."""
    reference = case.write()
    # What the engine of this Python gives: another may round otherwise.
    code = (
        "import sys, numpy, runtime; from runtime.core.reference import read\n"
        "with runtime.load(sys.argv[1]) as s:\n"
        "    x = read(sys.argv[2]).images\n"
        "    numpy.save(sys.argv[3], numpy.concatenate([s.run(i[None]) for i in x]))\n"
    )
    logits_path = case.folder / "logits.npy"
    subprocess.run(
        [python, "-c", code, case.model, reference, logits_path],
        check=True, timeout=60, env=environment(PYTHONPATH=str(REPOSITORY)),
    )  # fmt: skip
    logits = np.load(logits_path)
    sha256 = hashlib.sha256(case.model.read_bytes()).hexdigest()
    result, entry = case.run(python, int8_sha256=sha256, int8_logits=logits)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "m.onnx: int8, passed: the host's bytes for 3 of 3 inputs\n"
    assert (entry["passed"], entry["same_bytes"]) == (True, COUNT)
    row = rng.integers(COUNT)
    logits[row, 1] = np.nextafter(logits[row, 1], np.float32(np.inf))
    result, entry = case.run(python, int8_sha256=sha256, int8_logits=logits)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == "m.onnx: int8, FAILED: the host's bytes for 2 of 3 inputs\n"
    assert (entry["passed"], entry["same_bytes"]) == (False, COUNT - 1)


def test_what_is_not_of_the_reference_is_not_compared(python: Path, case: Case) -> None:
    result, entry = case.run(python, checkpoint_sha256="0" * 64)
    assert_refused(result, "m.onnx", "of other weights than", "reference.npz")
    assert "other weights" in entry["error"]
    result, _ = case.run(python, model="another")
    assert_refused(result, "m.onnx", "is of the model small", "of another")
    named = case.folder / "m.int8.onnx"
    named.write_bytes(case.model.read_bytes())
    result, _ = case.run(python, named)
    assert_refused(result, "m.int8.onnx: not the integer model that")
    result, _ = case.run(python, images=np.zeros((COUNT, 3, 4, 4), np.float32))
    assert_refused(result, "reference.npz: its inputs or logits are not of the model's size")
    result, _ = case.run(python, logits=case.reference.logits[:, :2])
    assert_refused(result, "reference.npz: damaged")
    few = case.reference.logits[:, :2]
    result, _ = case.run(python, logits=few, int8_logits=few[:0])
    assert_refused(result, "reference.npz: its inputs or logits are not of the model's size")


def test_a_damaged_reference_is_one_line(
    python: Path, case: Case, rng: np.random.Generator
) -> None:
    path = case.write()
    arguments = (case.model, "--reference", path, "--report", case.folder / "r.json")
    content = path.read_bytes()
    for damaged in (content[: rng.integers(len(content))], rng.bytes(1000), b""):
        path.write_bytes(damaged)
        result = run(python, "check.py", *arguments)
        assert_refused(result, "reference.npz", "cannot read the reference")
    path.unlink()
    assert_refused(run(python, "check.py", *arguments), "reference.npz", "No such file")
    result, _ = case.run(python, logits=case.reference.logits[:2])
    assert_refused(result, "reference.npz: damaged: its images and logits do not fit together")


def test_usage(python: Path, tmp_path: Path) -> None:
    assert_refused(run(python, "check.py", "--library", "x.so"), "--library is of one model")
    result = run(python, "check.py", "none.onnx", "--report", tmp_path / "report.json")
    assert_refused(result, "none.onnx")


def test_engines_by_their_precision(
    python: Path, case: Case, rng: np.random.Generator, operator_library: Path
) -> None:
    """On stand-ins for TensorRT and PyCUDA: an engine in float16 is allowed more, and one on
    8-bit integers, whose rounding is TensorRT's, is only told of."""
    machine = Machine(python, case.folder, operator_library, OLD, XAVIER)
    logits = noise(rng, case.reference.logits, 0.9e-2)
    reference = case.write(logits=logits)
    expected = {"fp16": (0, "passed", True), "fp32": (1, "FAILED", False)}
    for precision, (code, verdict, passed) in expected.items():
        engine = machine.build(case.model, "--precision", precision, output=f"{precision}.engine")
        report = case.folder / "report.json"
        result = machine.run("check.py", engine, "--reference", reference, "--report", report)
        assert (result.returncode, result.stderr) == (code, "")
        line = rf"{precision}\.engine: {precision}, {verdict}: [89]\.\de-03 from PyTorch"
        assert re.match(line, result.stdout)
        (entry,) = json.loads(report.read_text())["models"]
        assert entry["passed"] is passed
    sidecar = case.folder / "fp16.engine.json"
    sidecar.write_text(sidecar.read_text().replace('"fp16"', '"int8"'))
    engine = case.folder / "fp16.engine"
    result = machine.run("check.py", engine, "--reference", reference, "--report", report)
    assert (result.returncode, result.stderr) == (0, "")
    line = r"fp16\.engine: int8, not judged: [89]\.\de-03 from PyTorch, its best class"
    assert re.match(line, result.stdout)
    (entry,) = json.loads(report.read_text())["models"]
    assert (entry["passed"], entry["tolerance"]) == (None, None)


def test_all_models_of_a_bundle(python: Path, case: Case, tmp_path: Path) -> None:
    """Those beside the runtime package: one that is right, one of other weights."""
    root = tmp_path / "bundle"
    shutil.copytree(REPOSITORY / "runtime", root / "runtime", ignore=WRITTEN_MEANWHILE)
    command = [str(python), str(root / "runtime" / "check.py")]

    def check() -> Any:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=120, env=environment()
        )

    assert_refused(check(), "no models below", "name one")
    (root / "models").mkdir()
    (root / "reference").mkdir()
    case.model.rename(root / "models" / "right.onnx")
    case.write().rename(root / "reference" / "small.npz")
    assert check().returncode == 0
    rng = np.random.default_rng()
    linear(root / "models" / "wrong.onnx", rng, metadata(checkpoint_sha256="1" * 64))
    result = check()
    assert_refused(result, "wrong.onnx", "of other weights", code=1)
    assert result.stdout.startswith("right.onnx: fp32, passed")
    entries = json.loads((root / "reports" / "check.json").read_text())["models"]
    assert [Path(entry["file"]).name for entry in entries] == ["right.onnx", "wrong.onnx"]
    assert [entry["passed"] for entry in entries] == [True, False]
