"""The same library file in the Jetson Nano's ONNX Runtime 1.10 under Python 3.6.

There a failure is an exception that has to cross from the library to ONNX Runtime, nothing tells
which inputs are constants, and the library's own threads do the work.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.plugin_cases import (
    LIBRARY,
    case_attributes,
    case_inputs,
    case_model,
    make_model,
    random_case,
)
from tests.python36 import find_python36, venv36
from tests.reference import Case, check

pytestmark = pytest.mark.usefixtures("operator_library")
OPERATORS = ("ShiftConv", "AdderConv")

# Runs under Python 3.6: each model twice on its inputs, and once from eight threads.
RUNNER = """
import json, sys, threading
import numpy as np
import onnxruntime

def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(sys.argv[1])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

def attempt(model, inputs):
    try:
        running = session(model)
        return running.run(None, inputs)[0], running, None
    except Exception as error:
        return None, None, str(error)

report = {"version": onnxruntime.__version__, "errors": {}, "same": True}
for name in sys.argv[2:]:
    inputs = dict(np.load(name + ".npz"))
    output, running, error = attempt(name + ".onnx", inputs)
    if error is not None:
        report["errors"][name] = error
        continue
    outputs = [None] * 8
    def call(i):
        outputs[i] = running.run(None, inputs)[0]
    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    report["same"] &= all(np.array_equal(output, other) for other in outputs)
    np.save(name + ".npy", output)
print(json.dumps(report))
"""


class Nano:
    """Models and inputs in a folder, and a run of all of them under Python 3.6."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def add(self, name: str, model: onnx.ModelProto, inputs: dict[str, Any]) -> Path:
        path = self.folder / name
        onnx.save(model, f"{path}.onnx")
        np.savez(f"{path}.npz", **inputs)
        self.names.append(str(path))
        return Path(f"{path}.npy")

    def run(self) -> tuple[dict[str, Any], str]:
        """The runner's report and its stderr."""
        command = [str(venv36()), "-c", RUNNER, str(LIBRARY), *self.names]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, answer.stderr
        report: dict[str, Any] = json.loads(answer.stdout)
        assert report["version"] == "1.10.0"
        return report, answer.stderr


@pytest.fixture
def nano(tmp_path: Path) -> Nano:
    if find_python36() is None:
        pytest.skip("no Python 3.6 on PATH or under pyenv: ONNX Runtime 1.10 is not tested")
    return Nano(tmp_path)


def test_results(nano: Nano) -> None:
    same: dict[str, Any] = {"pads": (1, 1, 1, 1)}
    cases: dict[Path, Case] = {}
    for operator in OPERATORS:
        for name, case in {
            "dense": random_case(operator, (2, 40, 14, 15), 50, activation="relu", **same),
            "pointwise": random_case(operator, (1, 90, 9, 9), 33, kernel_shape=(1, 1)),
            "depthwise": random_case(operator, (1, 30, 19, 21), 30, group=30, **same),
            "empty": random_case(operator, (0, 3, 5, 5), 4),
        }.items():
            path = nano.add(f"{operator}-{name}", case_model(case), {"X": case.x})
            cases[path] = case
        computed = random_case(operator, (1, 9, 9, 9), 12, **same)
        model = case_model(computed, computed=("X", "W", "scale", "bias"))
        cases[nano.add(f"{operator}-computed", model, case_inputs(computed))] = computed
    report, stderr = nano.run()
    assert report["errors"] == {}
    assert report["same"]
    assert stderr == ""
    for path, case in cases.items():
        check(np.load(path), case)


def test_refusals(nano: Nano) -> None:
    case = random_case("ShiftConv", (1, 8, 9, 9), 4)
    attributes, inputs = case_attributes(case), case_inputs(case)
    bad_code = inputs["W"].copy()
    bad_code[3, 2] = 8
    expected = {}
    for name, changed, given, message in [
        ("bits", {"weight_bits": 5}, {}, "weight_bits: expected 4 or 8, got 5"),
        ("group", {"group": 3}, {}, "expected a positive multiple of group 3, got 8"),
        ("code", {}, {"W": bad_code}, "W code [3, 16]: expected no sign bit where k = 0"),
        ("bias", {}, {"bias": case.bias[:3]}, "bias shape: expected [4], got [3]"),
    ]:
        model = make_model("ShiftConv", {**attributes, **changed}, {**inputs, **given})
        nano.add(name, model, {"X": case.x})
        expected[str(nano.folder / name)] = message
    report, stderr = nano.run()
    assert report["errors"].keys() == expected.keys()
    for name, message in expected.items():
        assert message in report["errors"][name]
        # A build on another C++ library would lose the exception's text, so it is printed too.
        assert message in stderr
