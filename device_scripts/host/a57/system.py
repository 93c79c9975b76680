"""A 64-bit ARM Debian in a folder, with Python and engines, run by QEMU as a Cortex-A57.

Its packages are those of the machine's own Debian 12, fetched by apt for the other architecture
into folders under build/: nothing is installed, and the machine's package lists stay as they are.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ROOT = REPOSITORY / "build" / "arm64"
EMULATOR = ("qemu-aarch64", "-cpu", "cortex-a57")
PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libuuid1"),
    *("libbz2-1.0", "liblzma5", "libsqlite3-0", "libpython3.11-minimal", "libpython3.11-stdlib"),
    "python3.11-minimal",
)
# The last ONNX Runtime in which a kernel fails by an exception, as in the Jetson Nano's 1.10, which
# has no build for a Python that Debian 12 has. And a Pillow that asks for no newer C library.
WHEELS = ("onnxruntime==1.16.3", "numpy==1.26.4", "pillow==10.4.0")
# What the emulated programs find in /proc/cpuinfo, which else is the real machine's: some engines
# end where they do not find their processor there.
_CPUINFO = """processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd07
CPU revision\t: 1
"""


def why_not() -> str | None:
    """What is missing here, in a line; None where all is there."""
    if shutil.which(EMULATOR[0]) is None:
        return f"no {EMULATOR[0]}; on Debian: apt-get install qemu-user"
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if (release.get("ID"), release.get("VERSION_CODENAME")) != ("debian", "bookworm"):
        return "the packages of the emulated system are fetched by Debian 12's apt only"
    return None


def python(*options: str, packages: Sequence[str] = WHEELS) -> list[str]:
    """The command of the emulated interpreter; its system is made on first use.

    Args:
        options: more of the emulator's.
        packages: what it can import, each as `name==version`, without what they depend on.

    Raises subprocess.CalledProcessError where something cannot be fetched. Safe to call from
    several processes.
    """
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT.parent / "arm64.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _once(ROOT, PACKAGES, _unpack_packages)
        site = ROOT / "packages" / "-".join(name.partition("==")[0] for name in packages)
        _once(site, packages, lambda folder: _unpack_wheels(folder, packages))
    # NumPy's OpenBLAS dies of an illegal instruction where it finds out the processor by itself.
    variables = [f"PYTHONPATH={site}", "OPENBLAS_CORETYPE=ARMV8", "PYTHONHASHSEED=0"]
    settings = [part for variable in variables for part in ("-E", variable)]
    emulator = [*EMULATOR, "-L", str(ROOT), *settings, *options]
    return [*emulator, str(ROOT / "usr" / "bin" / "python3.11")]


def _once(folder: Path, wanted: Sequence[str], unpack: Callable[[Path], None]) -> None:
    """Fills the folder unless it was filled with what is wanted."""
    stamp = folder / ".complete"
    if not stamp.is_file() or stamp.read_text() != "\n".join(wanted):
        shutil.rmtree(folder, ignore_errors=True)
        unpack(folder)
        stamp.write_text("\n".join(wanted))


def _unpack_packages(root: Path) -> None:
    folder = root / "debian"
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    apt += ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    apt += ["-o", "Dir::State::status=/dev/null", "-o", "APT::Update::Post-Invoke=", "-o"]
    apt += ["APT::Sandbox::User=root"]
    for command in (["update"], ["download", *PACKAGES]):
        subprocess.run([*apt, *command], check=True, cwd=folder, stdout=sys.stderr, timeout=600)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True, timeout=60)
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(_CPUINFO)


def _unpack_wheels(folder: Path, packages: Sequence[str]) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    pip += ["--no-deps", "--no-compile", "--target", str(folder), "--only-binary=:all:"]
    pip += ["--implementation=cp", "--python-version=3.11"]
    for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28"):
        pip += ["--platform", f"{tag}_aarch64"]
    subprocess.run([*pip, *packages], check=True, stdout=sys.stderr, timeout=600)
