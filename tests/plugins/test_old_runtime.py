"""The library in ONNX Runtimes of before 1.17.

The same library file in the Jetson Nano's ONNX Runtime 1.10 under Python 3.6, and the one that is
cross-built for the board in ONNX Runtime 1.16 on an emulated Cortex-A57. In both a failure is an
exception that has to cross from the library to ONNX Runtime, and the library's own threads do the
work; in the former nothing tells which inputs are constants.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from device_scripts.host.a57 import system
from tests.support.cases.addition import addition_case, evaluate_addition
from tests.support.cases.integer import (
    INTEGER_OPERATORS,
    evaluate_integer,
    integer_case,
    integer_model,
)
from tests.support.cases.plugins import (
    LIBRARY,
    case_attributes,
    case_inputs,
    case_model,
    make_model,
    random_case,
)
from tests.support.cases.reference import Case, check
from tests.support.toolchains.cpp_programs import jetson_nano_library
from tests.support.toolchains.python36 import find_python36, venv36

pytestmark = pytest.mark.usefixtures("operator_library")
OPERATORS = ("ShiftConv", "AdderConv")

# Runs under Python 3.6, or emulated: each model twice on its inputs, and once from eight threads.
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


@dataclass
class Nano:
    """Models and inputs in a folder, and a run of all of them in another Python.

    Attributes:
        python: the command of the interpreter.
        version: of its ONNX Runtime.
        library: the operator library for it.
        same_cpp_library: whether the library and ONNX Runtime are bound to the same one.
    """

    folder: Path
    python: list[str]
    version: str
    library: Path
    same_cpp_library: bool
    names: list[str] = field(default_factory=list)

    def add(self, name: str, model: onnx.ModelProto, inputs: dict[str, Any]) -> Path:
        path = self.folder / name
        onnx.save(model, f"{path}.onnx")
        np.savez(f"{path}.npz", **inputs)
        self.names.append(str(path))
        return Path(f"{path}.npy")

    def run(self) -> tuple[dict[str, Any], str]:
        """The runner's report and its stderr."""
        command = [*self.python, "-c", RUNNER, str(self.library), *self.names]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stderr
        report: dict[str, Any] = json.loads(answer.stdout)
        assert report["version"] == self.version
        return report, answer.stderr


@pytest.fixture(params=["python3.6", "aarch64"])
def nano(request: pytest.FixtureRequest, tmp_path: Path) -> Nano:
    if request.param == "aarch64":
        missing = system.why_not()
        if missing is not None:
            pytest.skip(f"the library for the Jetson Nano is not run: {missing}")
        return Nano(tmp_path, system.python(), "1.16.3", jetson_nano_library(), False)
    if find_python36() is None:
        pytest.skip("no Python 3.6 on PATH or under pyenv: ONNX Runtime 1.10 is not tested")
    return Nano(tmp_path, [str(venv36())], "1.10.0", LIBRARY, True)


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


def test_integer_results(nano: Nano) -> None:
    cases = {}
    for operator in INTEGER_OPERATORS:
        for group, layout in [(1, "NCHW"), (1, "NHWC"), (30, "NCHW")]:
            case = integer_case(operator, (2, 30, 11, 9), 60 // min(group, 2), group=group)
            model = integer_model(case, layout)
            if group > 1:  # without the attribute that has a default
                kept = [a for a in model.graph.node[0].attribute if a.name != "layout"]
                del model.graph.node[0].attribute[:]
                model.graph.node[0].attribute.extend(kept)
            x = {"X": case.inputs(layout)["X"]}
            cases[nano.add(f"{operator}-{group}-{layout}", model, x)] = case, layout
    report, stderr = nano.run()
    assert report["errors"] == {}
    assert report["same"]
    assert stderr == ""
    for path, (case, layout) in cases.items():
        output = np.load(path)
        channels_first = output if layout == "NCHW" else output.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(channels_first, evaluate_integer(case))


def test_sums(nano: Nano) -> None:
    cases = {}
    for index, shape in enumerate([(2, 11, 9, 30), (1, 100, 111, 4), (1,)]):
        case = addition_case(shape)
        path = nano.add(f"sum-{index}", case.model(), {"A": case.a, "B": case.b})
        cases[path] = case
    without = replace(addition_case((2, 3)), y_scale=np.float32(0))
    refused = nano.add("no-scale", without.model(), {"A": without.a, "B": without.b})
    report, stderr = nano.run()
    message = "y_scale: expected a positive, finite number, got 0"
    assert list(report["errors"]) == [str(Path(refused).with_suffix(""))]
    assert message in stderr
    assert report["same"]
    for path, case in cases.items():
        np.testing.assert_array_equal(np.load(path), evaluate_addition(case))


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
        assert message in report["errors"][name] or not nano.same_cpp_library
        # A build on another C++ library loses the exception's text, so it is printed too.
        assert message in stderr


def test_integer_refusals(nano: Nano) -> None:
    expected = {}
    for operator in INTEGER_OPERATORS:
        case = integer_case(operator, (1, 8, 9, 9), 4)
        attributes, inputs = case.attributes("NCHW"), case.inputs("NCHW")
        zero_step, two = np.zeros((), np.float32), np.zeros(2, np.uint8)
        refusals: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
            ("layout", {"layout": "HWCN"}, {}, "layout: expected NCHW or NHWC, got 'HWCN'"),
            ("scale", {}, {"x_scale": zero_step}, "x_scale: expected a positive, finite number"),
            ("shape", {}, {"y_zero_point": two}, "y_zero_point shape: expected [] or [1], got [2]"),
        ]
        for name, changed, given, message in refusals:
            complete = {**inputs, **given}
            model = make_model(operator, {**attributes, **changed}, complete, y_type=np.uint8)
            nano.add(f"{operator}-{name}", model, {"X": case.x})
            expected[str(nano.folder / f"{operator}-{name}")] = message
    report, stderr = nano.run()
    assert report["errors"].keys() == expected.keys()
    for name, message in expected.items():
        assert message in report["errors"][name] or not nano.same_cpp_library
        assert message in stderr
