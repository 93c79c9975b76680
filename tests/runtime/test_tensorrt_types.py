"""The runtime's use of TensorRT against the signatures of TensorRT 10.13 (tensorrt-stubs).

The package's files hold a few lines that are no Python, and no mark that they are typed: mypy takes
neither from an environment. Here they are copied, mended, and what uses TensorRT is checked against
them; the rest of the project is checked without, where TensorRT is of any type.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "runtime" / "engines" / "tensorrt"
USERS = ("api", "backend", "bindings", "builder", "calibrator", "engine")
"""The modules of the package that use TensorRT."""
CONFIGURATION = """
[mypy]
strict = true
follow_imports = silent
warn_unused_ignores = false
[mypy-tensorrt.*,tensorrt_bindings.*]
ignore_errors = true
[mypy-pycuda.*,tensorrt_libs.*]
ignore_missing_imports = true
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for MYPYPATH with the mended stubs."""
    marker = importlib.util.find_spec("tensorrt_stubs")
    if marker is None or marker.origin is None:
        pytest.fail("tensorrt-stubs is not installed: make setup")
    installed = Path(marker.origin).parents[1]
    folder = tmp_path_factory.mktemp("stubs")
    for package in ("tensorrt", "tensorrt_bindings"):
        (folder / package).mkdir()
        for file in (installed / package).glob("*.pyi"):
            # "in" is no name for a parameter, and none without a default stands behind one with.
            text = re.sub(r"\bin: list", "in_: list", file.read_text(encoding="utf-8"))
            text = text.replace("channel_axis: int)", "channel_axis: int = ...)")
            (folder / package / file.name).write_text(text, encoding="utf-8")
    return folder


def mypy(stubs: Path, folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    configuration = folder / "mypy.ini"
    configuration.write_text(CONFIGURATION)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", configuration, "--cache-dir", folder,
         *files],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
        env={"MYPYPATH": f"{stubs}:{REPOSITORY}"}, timeout=300,
    )  # fmt: skip


def test_what_uses_tensorrt_fits_its_signatures(stubs: Path, tmp_path: Path) -> None:
    files = [PACKAGE / f"{name}.py" for name in USERS]
    done = mypy(stubs, tmp_path, *files, REPOSITORY / "calibration/comparison/tensorrt_backend.py")
    assert done.returncode == 0, done.stdout


def test_calibrators_answer_as_their_bases_do(stubs: Path, tmp_path: Path) -> None:
    """Without the comment that is needed where TensorRT is of any type, and hides more here."""
    text = (PACKAGE / "calibrator.py").read_text()
    text = text.replace("  # type: ignore[misc]", "")
    copy = tmp_path / "calibrator.py"
    copy.write_text(text)
    done = mypy(stubs, tmp_path, copy)
    assert done.returncode == 0, done.stdout
    copy.write_text(text.replace("names: List[str]) -> List[int]", "names: int) -> List[int]"))
    done = mypy(stubs, tmp_path, copy)
    assert done.returncode == 1
    for base in ("IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator"):
        assert f'incompatible with definition in base class "{base}"' in done.stdout


def test_a_misuse_would_be_seen(stubs: Path, tmp_path: Path) -> None:
    source = PACKAGE / "bindings.py"
    misused = tmp_path / "misused.py"
    text = source.read_text().replace("execute_async_v3(stream_handle=", "execute_async_v3(handle=")
    misused.write_text(text.replace("get_tensor_mode(name)", "binding_is_input(name)"))
    done = mypy(stubs, tmp_path, misused)
    assert done.returncode == 1
    assert 'Unexpected keyword argument "handle" for "execute_async_v3"' in done.stdout
    assert '"ICudaEngine" has no attribute "binding_is_input"' in done.stdout
