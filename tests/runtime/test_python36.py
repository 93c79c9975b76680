"""The runtime's own tests under the Jetson Nano's Python 3.6, with ONNX Runtime 1.10.

The files in FOLDERS import the runtime, and a pytest of that age runs them: they keep to that
Python themselves. The files beside this one start commands, and choose their Python
(tests.support.commands.PYTHONS).
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.commands import environment, interpreter
from tests.support.models.runtime import REPOSITORY
from tests.support.toolchains.python36 import TEST_FOLDER

FOLDERS = ("core", "console", "engines", "video")
OPTIONS = ("--noconftest", "-p", "tests.support.fixtures", "-p", "no:cacheprovider")


def importing_files() -> list[str]:
    tests = Path(__file__).parent
    found = [tests / "test_evaluate.py"]
    for folder in FOLDERS:
        found += (tests / folder).rglob("test_*.py")
    return sorted(str(path.relative_to(REPOSITORY)) for path in found)


def run_pytest(python: Path, *arguments: str, **variables: str) -> str:
    """What pytest prints; it must succeed."""
    answer = subprocess.run(
        [python, "-m", "pytest", *OPTIONS, *arguments, *importing_files()],
        capture_output=True, encoding="utf-8", timeout=600, cwd=REPOSITORY,
        env=environment(PYTEST_ADDOPTS="", **variables),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def of_functions(names: Iterable[str]) -> Counter[str]:
    """How many of these tests each function has; pytests of different ages name them otherwise."""
    return Counter(name.partition("[")[0] for name in names)


def collected() -> Counter[str]:
    """The tests that this Python finds in the same files."""
    lines = run_pytest(Path(sys.executable), "--collect-only", "-q").splitlines()
    return of_functions(line for line in lines if "::" in line)


def test_every_test_of_the_runtime_passes_on_python36(
    tmp_path: Path, operator_library: Path
) -> None:
    report = tmp_path / "report.xml"
    run_pytest(
        interpreter("Python 3.6"), f"--junitxml={report}",
        PYTHONPATH=str(TEST_FOLDER), SHIFTADD_ORT_LIBRARY=str(operator_library),
    )  # fmt: skip
    cases = {
        "{}.py::{}".format(case.attrib["classname"].replace(".", "/"), case.attrib["name"]): case
        for case in ElementTree.parse(report).iter("testcase")
    }
    others = [(name, child.tag) for name, case in cases.items() for child in case]
    assert others == []  # a test that passed has no more to tell
    assert of_functions(cases) == collected()


def test_the_packages_of_the_tests_are_not_those_of_the_runtime() -> None:
    """A command that needed them would fail, there as on the device."""
    python = interpreter("Python 3.6")
    for name in ("onnx", "pytest"):
        answer = subprocess.run([python, "-c", f"import {name}"], capture_output=True, text=True)
        assert f"No module named '{name}'" in answer.stderr


@pytest.mark.parametrize("name", ["core/test_session.py", "engines/test_tensorrt_session.py"])
def test_no_file_is_overlooked(name: str) -> None:
    assert f"tests/runtime/{name}" in importing_files()
