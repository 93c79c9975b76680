"""The Jetson Nano's library, cross-built, and its kernels on an emulated Cortex-A57.

The emulator is no clock: only results count here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.toolchains.cpp_programs import JETSON_NANO, jetson_nano_library, run


@pytest.fixture(scope="module")
def emulator() -> None:
    """Skips where there is no emulator, or no C library for what it runs."""
    command, sysroot = JETSON_NANO.launcher[0], Path(JETSON_NANO.launcher[-1])
    if shutil.which(command) is None or not (sysroot / "lib" / "ld-linux-aarch64.so.1").exists():
        pytest.skip(
            "no emulated Cortex-A57: the aarch64 kernels are not tested; on Debian and Ubuntu: "
            "apt-get install qemu-user libc6-arm64-cross"
        )


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("name", ["contract_test", "kernels_test", "integer_test"])
def test_on_a_cortex_a57(name: str) -> None:
    jetson_nano_library()  # builds the kernels that the programs are linked to
    assert " 0 failures" in JETSON_NANO.output(JETSON_NANO.build(name))


@pytest.fixture(scope="module")
def library() -> Path:
    return jetson_nano_library()


def test_the_library_runs_on_the_boards_system(library: Path) -> None:
    """Ubuntu 18.04 has glibc 2.27, and need not have a C++ library that fits."""
    assert "AArch64" in run(["readelf", "-h", str(library)])
    dynamic = run(["readelf", "-d", str(library)])
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert set(needed) <= {
        "libc.so.6",
        "libgcc_s.so.1",
        "libm.so.6",
        "libpthread.so.0",
        "libdl.so.2",
        "ld-linux-aarch64.so.1",
    }, needed
    versions = re.findall(r"GLIBC_2\.(\d+)", run(["readelf", "-V", str(library)]))
    assert versions
    assert max(map(int, versions)) <= 27
    assert "NODELETE" in dynamic


def test_the_library_exports_its_entry_point_only(library: Path) -> None:
    symbols = run(["readelf", "--dyn-syms", "--wide", str(library)])
    defined = re.findall(r"GLOBAL\s+DEFAULT\s+\d+\s+(\w+)", symbols)
    assert defined == ["RegisterCustomOps"]
