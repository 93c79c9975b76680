"""A 64-bit ARM Debian in a folder, with Python and ONNX Runtime, run by qemu as a Cortex-A57.

Its packages are those of the machine's own Debian 12, fetched by apt for the other architecture
into folders under build/: nothing is installed, and the machine's package lists stay as they are.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ROOT = REPOSITORY / "build" / "arm64"
EMULATOR = ("qemu-aarch64-static", "-cpu", "cortex-a57")
PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libuuid1"),
    *("libbz2-1.0", "liblzma5", "libsqlite3-0", "libpython3.11-minimal", "libpython3.11-stdlib"),
    "python3.11-minimal",
)
# The last ONNX Runtime in which a kernel fails by an exception, as in the Jetson Nano's 1.10, which
# has no build for a Python that Debian 12 has. And a Pillow that asks for no newer C library.
WHEELS = ("onnxruntime==1.16.3", "numpy==1.26.4", "pillow==10.4.0")


def why_not() -> str | None:
    """What is missing here, in a line; None where all is there."""
    if shutil.which(EMULATOR[0]) is None:
        return f"no {EMULATOR[0]}; on Debian: apt-get install qemu-user-static"
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if (release.get("ID"), release.get("VERSION_CODENAME")) != ("debian", "bookworm"):
        return "the packages of the emulated system are fetched by Debian 12's apt only"
    return None


def arm64_python() -> list[str]:
    """The command of the emulated interpreter; its system is made on first use.

    Raises subprocess.CalledProcessError where something cannot be fetched. Safe to call from
    several processes.
    """
    stamp = ROOT / ".complete"
    wanted = "\n".join([*PACKAGES, *WHEELS])
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT.parent / "arm64.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(ROOT, ignore_errors=True)
            _unpack_packages(ROOT / "packages")
            _unpack_wheels(ROOT / "wheels")
            stamp.write_text(wanted)
    # NumPy's OpenBLAS dies of an illegal instruction where it finds out the processor by itself.
    variables = [f"PYTHONPATH={ROOT / 'wheels' / 'site'}", "OPENBLAS_CORETYPE=ARMV8"]
    settings = [part for variable in variables for part in ("-E", variable)]
    emulator = [*EMULATOR, "-L", str(ROOT), *settings]
    return [*emulator, str(ROOT / "usr" / "bin" / "python3.11")]


def _unpack_packages(folder: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    apt += ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    apt += ["-o", "Dir::State::status=/dev/null", "-o", "APT::Update::Post-Invoke=", "-o"]
    apt += ["APT::Sandbox::User=root"]
    for command in (["update"], ["download", *PACKAGES]):
        subprocess.run([*apt, *command], check=True, cwd=folder, stdout=sys.stderr, timeout=600)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(ROOT)], check=True, timeout=60)


def _unpack_wheels(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
    ]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
    for tag in ("manylinux2014_aarch64", "manylinux_2_17_aarch64"):
        command += ["--platform", tag]
    subprocess.run([*command, *WHEELS], check=True, stdout=sys.stderr, timeout=600)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
