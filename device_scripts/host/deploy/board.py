"""What is done on the board: finding out what it has, copying a bundle, running its scripts,
fetching its reports."""

from __future__ import annotations

import re
import shlex
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from device_scripts.host.bundle.archive import Manifest
from device_scripts.host.deploy.connection import Connection, DeployError
from runtime.core.errors import reason
from runtime.core.files import sha256

_STAGING = ".shiftadd-deploy"
_BUILDING = 64 << 20  # bytes that the plugins' objects and the engines take at most
_REPORTS = "reports"
# What the reports of a board may take, packed and unpacked: its disk may be full of something else.
_LARGEST_REPORTS = 256 << 20
_MOST_REPORTS = 10_000

_LOOK = """
p=${SHIFTADD_ROOT_PREFIX:-}
echo "machine=$(uname -m)"
echo "release=$(head -n 1 "$p/etc/nv_tegra_release" 2>/dev/null || true)"
test -x "$p/usr/local/cuda/bin/nvcc" &&
  test -e "$p/usr/include/aarch64-linux-gnu/NvInferVersion.h" && echo gpu=yes || echo gpu=no
"""

_GPU_PROBLEM = """
cd "$1"
test ! -f device_scripts/lib/board.sh || { . device_scripts/lib/board.sh; tensorrt_problem; }
"""

# These were made by the scripts on the board, and another version of the bundle can go on using
# them: PyCUDA alone takes ten minutes to build. Engines and plugins belong to their version.
_KEPT = "venv .installed build.swap reports"

# The arguments of both scripts are $1, the folder on the board, $2, the bundle's SHA-256, and $3,
# the name of its folder. An older version stands in `old` only while another takes its place.
_KEEP = f"""
keep() {{
  for made in {_KEPT}; do
    if test -e "{_STAGING}/old/$made" && test ! -e "$1/$made"; then
      mv "{_STAGING}/old/$made" "$1/"
    fi
  done
  rm -rf {_STAGING}/old
}}
"""

_STATE = f"""
set -eu
{_KEEP}
cd "$1"
if test -e {_STAGING}/old; then
  test -e "$3" || mv {_STAGING}/old "$3"
  keep "$3"
fi
find {_STAGING} -maxdepth 1 -name '*.part' ! -name "$2.part" -delete
echo "free=$(df -Pk . | awk 'NR == 2 {{ print $4 }}')"
echo "part=$(stat -L -c %s "{_STAGING}/$2.part" 2>/dev/null || echo 0)"
cd "$3" 2>/dev/null && test "$(cat .bundle 2>/dev/null)" = "$2" &&
  sha256sum --quiet -c SHA256SUMS >/dev/null 2>&1 && echo present=yes || echo present=no
"""

# Whatever is interrupted here is done again from the archive, which is therefore removed last.
_UNPACK = f"""
set -eu
{_KEEP}
cd "$1"
rm -rf {_STAGING}/new
mkdir {_STAGING}/new
tar --no-same-owner -xzf "{_STAGING}/$2.part" -C {_STAGING}/new
(cd "{_STAGING}/new/$3" && sha256sum --quiet -c SHA256SUMS && echo "$2" > .bundle)
sync
test ! -e "$3" || mv "$3" {_STAGING}/old
mv "{_STAGING}/new/$3" .
keep "$3"
rm -rf {_STAGING}/new "{_STAGING}/$2.part"
"""


@dataclass(frozen=True)
class Facts:
    """The line of /etc/nv_tegra_release, and whether CUDA and TensorRT are there."""

    release: str
    gpu: bool


class Board:
    """A Jetson behind a connection. Bundles go below `folder`, a path there or "." for the home.

    Raises DeployError from every method.
    """

    def __init__(self, connection: Connection, folder: str) -> None:
        self._connection = connection
        self._folder = folder
        self._device = connection.device

    def look(self) -> Facts:
        """Finds out what the board has, and refuses one that is no Jetson."""
        found = _entries(self._connection.answer(_LOOK))
        machine, release = found.get("machine", ""), found.get("release", "")
        if machine != "aarch64" or not release:
            why = "" if release else " without /etc/nv_tegra_release"
            raise DeployError(
                f"{self._device}: a machine of type {machine}{why}: not a Jetson with JetPack, "
                "which the bundle is for"
            )
        return Facts(release, found.get("gpu") == "yes")

    def lock(self) -> None:
        """Keeps another deployment off the board, until the connection ends."""
        staging = shlex.quote(f"{self._folder}/{_STAGING}")
        # This reports a folder that cannot be made, with the reason, which taking the lock would
        # not.
        self._connection.answer('mkdir -p "$1"', f"{self._folder}/{_STAGING}")
        if not self._connection.hold(f"exec 9> {staging}/lock && flock -w 5 9"):
            raise DeployError(f"{self._device}: another deployment is at work there; wait for it")

    def bring(self, bundle: Path, manifest: Manifest) -> bool:
        """Brings the bundle's files to the board, all or none; returns whether they were copied
        just now.

        A copy that was cut off goes on where it ended.
        """
        digest = sha256(bundle)
        arguments = (self._folder, digest, manifest.folder)
        state = _entries(self._connection.answer(_STATE, *arguments))
        if state.get("present") == "yes":
            return False
        self._check_room(bundle, state)
        part = f"{self._folder}/{_STAGING}/{digest}.part"
        # The beginning that an earlier copy left may be damaged; then all is copied again from the
        # start.
        start = int(state.get("part", "0"))
        for offset in [start, 0] if 0 < start <= bundle.stat().st_size else [0]:
            self._copy(bundle, part, offset)
            if self._connection.answer('sha256sum < "$1"', part).split()[0] == digest:
                break
        else:
            raise DeployError(f"{self._device}: the bundle arrived damaged; run the command again")
        self._connection.answer(_UNPACK, *arguments)
        return True

    def run(self, manifest: Manifest, log: Path, *command: str) -> int:
        """Runs a command in the bundle's folder; its exit code, or 130 where it was interrupted."""
        folder = f"{self._folder}/{manifest.folder}"
        return self._connection.run(log, "bash", "-c", 'cd "$0" && exec "$@"', folder, *command)

    def gpu_problem(self, manifest: Manifest) -> str:
        """What the bundle finds wrong with the board's TensorRT, in a line; "" for nothing."""
        folder = f"{self._folder}/{manifest.folder}"
        return self._connection.answer(_GPU_PROBLEM, folder).strip()

    def forget(self, manifest: Manifest, *reports: str) -> None:
        """Removes reports of an earlier run, which could otherwise be taken for those of this
        one."""
        folder = f"{self._folder}/{manifest.folder}"
        self._connection.answer('cd "$1" && shift && rm -rf "$@"', folder, *reports)

    def fetch_reports(self, manifest: Manifest, target: Path) -> None:
        """Puts the reports of the bundle's folder in place of the folder `target`."""
        folder = shlex.quote(f"{self._folder}/{manifest.folder}")
        with (
            tempfile.TemporaryFile() as packed,
            tempfile.TemporaryDirectory(prefix=".reports-", dir=target.parent) as aside,
        ):
            self._connection.fetch(
                f"mkdir -p {folder}/{_REPORTS} && tar -C {folder} -czf - {_REPORTS}",
                packed,
                _LARGEST_REPORTS,
            )
            packed.seek(0)
            try:
                _unpack_reports(packed, Path(aside))
                if target.exists():
                    target.rename(Path(aside) / "old")
                (Path(aside) / _REPORTS).rename(target)
            except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
                raise DeployError(
                    f"{self._device}: cannot unpack its reports: {reason(error)}"
                ) from error

    def _check_room(self, bundle: Path, state: dict[str, str]) -> None:
        with tarfile.open(bundle) as archive:
            unpacked = sum(member.size for member in archive)
        needed = bundle.stat().st_size - int(state.get("part", "0")) + unpacked + _BUILDING
        free = 1024 * int(state.get("free", "0"))
        if free < needed:
            raise DeployError(
                f"{self._device}: {free >> 20} MiB free in {self._folder}, {needed >> 20} MiB are "
                "needed: make room there, or name a folder on another disk with --folder"
            )

    def _copy(self, bundle: Path, part: str, offset: int) -> None:
        size = bundle.stat().st_size
        quoted = shlex.quote(part)
        with (
            bundle.open("rb") as source,
            tqdm(
                total=size, initial=offset, desc="copy", unit="B", unit_scale=True, disable=None,
                leave=False,
            ) as bar,
        ):  # fmt: skip
            source.seek(offset)
            script = f"cat >> {quoted}" if offset else f"cat > {quoted}"
            self._connection.send(source, bar.update, f"{script} && sync")


def _unpack_reports(packed: IO[bytes], folder: Path) -> None:
    """Unpacks files and folders only, nothing outside of `folder`, and no more than fits, whatever
    the board sends."""
    size = 0
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        for number, member in enumerate(archive):
            size += member.size
            if size > _LARGEST_REPORTS or number >= _MOST_REPORTS:
                raise tarfile.TarError(
                    f"more than {_LARGEST_REPORTS >> 20} MiB or {_MOST_REPORTS} files: remove old "
                    f"ones from the folder {_REPORTS}/ there"
                )
            parts = PurePosixPath(member.name).parts
            if parts[:1] != (_REPORTS,) or ".." in parts:
                raise tarfile.TarError(f"{member.name!r} is none")
            path = folder.joinpath(*parts)
            content = archive.extractfile(member) if member.isfile() else None
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _entries(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
