"""A Jetson Nano with an unpacked bundle, in a folder: what it would have and print.

Its Python is a CPython 3.6 and its packages are the real ones, for this machine's processor.
PyCUDA, CUDA and TensorRT are fakes.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest
import skimage.data

from device_scripts.host import boards
from device_scripts.host.bundle import archive, contents
from tests.support.toolchains.python36 import find_python36, venv36

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = "ghostshiftaddnet"
RELEASE = (
    "# R32 (release), REVISION: {}, GCID: 29818004, BOARD: t210ref, EABI: aarch64, "
    "DATE: Sat Feb 19 17:05:08 UTC 2022\n"
)
_FAKES = Path(__file__).with_name("bin")
_WHEELS = REPOSITORY / "build" / "wheels36"
_NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release 10.2, V10.2.300'\n"
_MEMORY = """MemTotal:        4051216 kB
MemFree:          817816 kB
MemAvailable:    2740152 kB
SwapTotal:       2025600 kB
SwapFree:        2025600 kB
"""
# setup.py of the real one looks for nvcc in PATH and needs NumPy while it builds.
_PYCUDA = """import shutil
import numpy
from setuptools import setup
assert shutil.which("nvcc"), "nvcc not in path"
setup(name="pycuda", version="{0}", packages=["pycuda"])
"""


@dataclass
class StandIn:
    """A board: `root` is the bundle's folder, below `system` are the board's other files."""

    folder: Path

    def __post_init__(self) -> None:
        self.root = self.folder / f"shiftadd-{MODEL}"
        self.system = self.folder / "system"
        self.log = self.folder / "log"
        self.packages = self.folder / "packages"
        self.write("etc/nv_tegra_release", RELEASE.format("7.1"))
        self.write("proc/meminfo", _MEMORY)
        self.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n")
        self.write("proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit\0")
        self.write("proc/device-tree/compatible", "nvidia,p3450-0000\0nvidia,tegra210\0")
        self.write("sys/devices/system/cpu/online", "0-3\n")
        for name in ("scaling_max_freq", "cpuinfo_max_freq"):
            self.write(f"sys/devices/system/cpu/cpu0/cpufreq/{name}", "1479000\n")
        self.write("sys/class/devfreq/57000000.gpu/max_freq", "921600000\n")
        self.zone(0, "AO-therm", 40.0)
        self.zone(1, "CPU-therm", 33.5)
        self.zone(2, "PMIC-Die", 100.0)
        self.cooling(0, "pwm-fan", 1)
        self.cooling(1, "cpu-balanced", 0)
        self.log.touch()

    def write(self, path: str, text: str) -> Path:
        """A file of the system; its path."""
        file = self.system / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def zone(self, number: int, name: str, celsius: float) -> None:
        """A thermal zone whose lowest limit but the fan's is 97 degrees."""
        folder = f"sys/class/thermal/thermal_zone{number}"
        entries = {"type": name, "temp": int(1000 * celsius)}
        for trip, (kind, limit) in enumerate(
            (("active", 51000), ("passive", 97000), ("critical", 101000))
        ):
            entries.update({f"trip_point_{trip}_type": kind, f"trip_point_{trip}_temp": limit})
        for entry, value in entries.items():
            self.write(f"{folder}/{entry}", f"{value}\n")

    def cooling(self, number: int, name: str, state: int) -> None:
        """A cooling device."""
        for entry, value in (("type", name), ("cur_state", state)):
            self.write(f"sys/class/thermal/cooling_device{number}/{entry}", f"{value}\n")

    def give_gpu(self, tensorrt: tuple[int, int, int] = (8, 2, 1)) -> None:
        """CUDA and TensorRT, as far as the scripts look at them."""
        self.write("usr/local/cuda/bin/nvcc", _NVCC).chmod(0o755)
        headers = "usr/include/aarch64-linux-gnu"
        self.write(f"{headers}/NvInferRuntime.h", "")
        numbers = zip(("MAJOR", "MINOR", "PATCH"), tensorrt, strict=True)
        defines = [
            f"#define NV_TENSORRT_{name} {number} //!< version\n" for name, number in numbers
        ]
        self.write(f"{headers}/NvInferVersion.h", "".join(defines))

    def unpack(self, models: Path, library: Path) -> None:
        """The bundle: what `make bundle` packs of the checkout, with this machine's library."""
        with tarfile.open(fileobj=io.BytesIO(packed_bundle(models, library))) as tar:
            tar.extractall(self.folder, filter="tar")

    def environment(self, **variables: str) -> dict[str, str]:
        """What the board's shell has; of package indexes `packages` alone, unless it is given."""
        python = find_python36()
        inherited = {"HOME": str(self.folder), "LANG": "C.UTF-8", "TERM": "dumb"}
        standin = {
            "PATH": f"{_FAKES}:/usr/sbin:/usr/bin:/sbin:/bin",
            "SHIFTADD_ROOT_PREFIX": str(self.system),
            "STANDIN_LOG": str(self.log),
            "STANDIN_PYTHON": str(python or sys.executable),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.packages),
        }
        return {**inherited, **standin, **variables}

    def command(self, script: str, *arguments: str | Path) -> list[str]:
        return [str(self.root / "device_scripts" / script), *map(str, arguments)]

    def run(
        self, script: str, *arguments: str | Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of the scripts to its end; `variables` are added to its environment."""
        return subprocess.run(
            self.command(script, *arguments), capture_output=True, encoding="utf-8", timeout=300,
            env=self.environment(**variables), stdin=subprocess.DEVNULL, cwd=self.folder,
        )  # fmt: skip

    def done(self) -> list[str]:
        """What was done by sudo, apt-get and the others that write it down."""
        return self.log.read_text().splitlines()

    def listing(self) -> dict[str, tuple[int, int, int]]:
        """Kind, size and time of everything in the bundle's folder and in the system."""
        found = {}
        for top in (self.root, self.system):
            for path in top.rglob("*"):
                status = path.lstat()
                found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
        return found

    def index(self) -> None:
        """Fills `packages` with what install.sh asks for: the real packages, PyCUDA a fake."""
        wheels()
        self.packages.mkdir()
        for wheel in _WHEELS.glob("*.whl"):
            (self.packages / wheel.name).symlink_to(wheel)
        for pin in pins("gpu"):
            name, version = pin.split("==")
            if name == "pycuda":
                _fake_source(self.packages, version)
            else:
                _fake_wheel(self.packages, name, version)


@lru_cache(maxsize=1)
def packed_bundle(models: Path, library: Path) -> bytes:
    """The archive that every board here unpacks; packing takes as long as most of their tests."""
    files = {
        file.relative_to(REPOSITORY).as_posix(): file
        for pattern in contents.patterns(boards.find())
        for file in REPOSITORY.glob(pattern)
        if file.is_file()
    }
    for file in models.glob(f"{MODEL}.*"):
        files[f"models/{file.name}"] = file
    files["libshiftadd_ort.so"] = library
    files["images/chelsea.png"] = Path(skimage.data.__file__).with_name("chelsea.png")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "bundle.tar.gz"
        archive.write(packed, MODEL, "0", {name: file.read_bytes() for name, file in files.items()})
        return packed.read_bytes()


def pins(group: str) -> list[str]:
    """The packages of a group that install.sh pins for Python 3.6."""
    script = f"source {REPOSITORY}/device_scripts/lib/packages.sh && pins {group} 3.6"
    return subprocess.run(
        ["bash", "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()


def wheels() -> None:
    """Downloads the packages for Python 3.6 once, for this machine's processor."""
    if find_python36() is None:
        pytest.skip("no Python 3.6 is installed: the board's installation is not checked here")
    wanted = pins("tools") + pins("cpu")
    stamp = _WHEELS / ".complete"
    _WHEELS.mkdir(parents=True, exist_ok=True)
    with (_WHEELS.parent / "wheels36.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
            return
        shutil.rmtree(_WHEELS)
        command = [
            str(venv36()),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(_WHEELS),
        ]
        # The pip that comes with Python 3.6 fails on PIP_NO_CACHE_DIR=1.
        variables = {key: value for key, value in os.environ.items() if key != "PIP_NO_CACHE_DIR"}
        subprocess.run(
            [*command, *wanted], check=True, stdout=sys.stderr, timeout=600, env=variables
        )
        stamp.write_text("\n".join(wanted))


def _fake_wheel(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files: Mapping[str, str] = {
        f"{name.replace('-', '_').lower()}_standin.py": "",
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{stem}.dist-info/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
            wheel.writestr(file, text)


def _fake_source(folder: Path, version: str) -> None:
    files = {
        "setup.py": _PYCUDA.format(version),
        "pyproject.toml": '[build-system]\nrequires = ["setuptools", "wheel", "numpy==1.12.1"]\n',
        "pycuda/__init__.py": "",
        "pycuda/driver.py": "",
    }
    with tarfile.open(folder / f"pycuda-{version}.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"pycuda-{version}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
