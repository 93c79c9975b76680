"""`pip install -e .`: which names it brings, what it asks for, and that it runs from any folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {"calibration", "device_scripts", "export", "runtime"}
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages with what pip unpacks there, of a copy of the checkout's Python."""
    folder = tmp_path_factory.mktemp("installation")
    checkout, site, wheels = (folder / name for name in ("checkout", "site", "wheels"))
    for name in (*PACKAGES, "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "corpus")
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, checkout)
    subprocess.run(
        [sys.executable, "-c", _BUILD, wheels], cwd=checkout, check=True, capture_output=True
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the installation, as a .pth file that site reads makes it known."""
    code = "import runpy, site, sys; site.addsitedir(sys.argv[1]); sys.argv[:2] = []; "
    code += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", code, installed, *words], cwd=folder, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip


def test_four_names_are_brought_and_no_others(installed: Path) -> None:
    (finder,) = installed.glob("__editable__*finder.py")
    (mapping,) = re.findall(r"^MAPPING[^=]*= (.*)$", finder.read_text(), re.MULTILINE)
    names = set(re.findall(r"'(\w+)': '/", mapping))
    assert names == PACKAGES
    known = {path.name.partition("-")[0] for path in installed.iterdir()}
    assert {name for name in known if not name.startswith("__editable__")} == {"shiftadd"}


def test_it_asks_for_the_pinned_requirements(installed: Path) -> None:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    pins = [line.partition("#")[0] for line in lines if line.partition("#")[0].strip()]
    (metadata,) = installed.glob("*.dist-info/METADATA")
    asked = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)
    assert [re.sub(r"\s", "", pin) for pin in pins] == [re.sub(r"\s", "", line) for line in asked]


@pytest.mark.slow
def test_it_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "export", "--list")
    assert listed.returncode == 0, listed.stderr
    assert "ghostshiftaddnet" in listed.stdout
    written = run(installed, tmp_path, "export", "ghostshiftaddnet", "--target", "jetson-nano")
    assert written.returncode == 0, written.stderr
    path = installed.parent / "checkout" / "build" / "models" / "ghostshiftaddnet.onnx"
    assert f"file        {path}" in written.stdout
    assert path.is_file()
    assert not list(tmp_path.iterdir())
