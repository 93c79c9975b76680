"""Writes and verifies the archive; the same files give the same bytes.

All files stand below one folder, `shiftadd-MODEL/`, together with `manifest.json` and `SHA256SUMS`
(for `sha256sum -c`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runtime.core.errors import ShiftAddError, reason
from runtime.core.files import open_regular, replaced

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # a model's: export/loading/resolve.py
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"

# This is 2020-01-01. tar warns about 1970, and the date has to be earlier than any clock: a Jetson
# without a network starts with a date in the past, and make complains about files from the future.
_TIME = 1_577_836_800


class BundleError(ShiftAddError):
    """A bundle that cannot be made, or one that cannot be used; one line."""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself; `files` holds the SHA-256 by path below the folder."""

    model: str
    version: str
    files: Mapping[str, str]

    @property
    def folder(self) -> str:
        """The one folder that the archive unpacks to."""
        return f"shiftadd-{self.model}"


def write(path: Path, model: str, version: str, contents: Mapping[str, bytes]) -> None:
    """Writes the archive to `path`, completely or not at all; it is read back first.

    Args:
        contents: by path below the archive's folder.

    Raises ShiftAddError where it cannot be written.
    """
    listed = {
        name: {"sha256": _sha256(content), "bytes": len(content)}
        for name, content in sorted(contents.items())
    }
    manifest = {"format": FORMAT, "model": model, "version": version, "files": listed}
    everything = {**contents, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    sums = [f"{_sha256(content)}  {name}\n" for name, content in sorted(everything.items())]
    everything[SUMS] = "".join(sums).encode()
    with replaced(path, "bundle") as file:
        # Otherwise the header would hold a name and the time.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            packed.write(_tar(f"shiftadd-{model}", everything))
        file.flush()
        verify(Path(file.name))


def verify(path: Path) -> Manifest:
    """Reads all of the archive at `path` and returns its manifest.

    Raises BundleError where it is missing, truncated or damaged.
    """
    try:
        # All is unpacked at once, so that the checksum at the end of the gzip stream is read, which
        # tarfile never reaches.
        with open_regular(path) as file:
            content = gzip.decompress(file.read())
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            folder, found = _files(archive)
        entries = json.loads(found[MANIFEST])
        if entries["format"] != FORMAT:
            raise BundleError(f"{path}: a bundle of format {entries['format']}, not {FORMAT}")
        files = {name: entry["sha256"] for name, entry in entries["files"].items()}
        manifest = Manifest(str(entries["model"]), str(entries["version"]), files)
        lines = [line.split("  ", 1) for line in found[SUMS].decode().splitlines()]
        sums = {name: digest for digest, name in lines}
    except FileNotFoundError as error:
        raise BundleError(f"{path}: no such bundle: write it with `make bundle`") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise _damaged(path, reason(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"no {MANIFEST} or {SUMS} that fit") from error
    # The board unpacks the one and moves the other, both by name.
    if not _NAME.fullmatch(manifest.model) or folder != manifest.folder:
        raise _damaged(
            path, f"{MANIFEST} names the model {manifest.model!r}, its folder is {folder!r}"
        )
    digests = {name: _sha256(content) for name, content in found.items() if name != SUMS}
    for name in sorted(digests.keys() | sums.keys()):
        if digests.get(name) != sums.get(name):
            raise _damaged(path, f"{name} is not what {SUMS} has")
    del digests[MANIFEST]
    if digests != files:
        raise _damaged(path, f"{MANIFEST} lists other files")
    return manifest


def _damaged(path: Path, why: str) -> BundleError:
    return BundleError(f"{path}: truncated or damaged ({why}): write it again with `make bundle`")


def _files(archive: tarfile.TarFile) -> tuple[str, dict[str, bytes]]:
    """The archive's one folder, and contents by path below it.

    Raises tarfile.TarError for what is neither a file nor a folder, and for a name that leads, or
    could lead, out of the folder.
    """
    folders = set()
    found = {}
    for member in archive:
        folder, _, name = member.name.partition("/")
        folders.add(folder)
        if len(folders) > 1 or {"", ".", ".."} & set(member.name.split("/")):
            raise tarfile.TarError(f"{member.name!r} is outside of its folder")
        if member.isdir():
            continue
        if not member.isfile() or not name:
            raise tarfile.TarError(f"{member.name!r} is no file of its folder")
        content = archive.extractfile(member)
        assert content is not None
        with content:
            found[name] = content.read()
    return folders.pop() if folders else "", found


def _tar(folder: str, contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    paths = {f"{folder}/{name}": content for name, content in contents.items()}
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        # In this order a folder stands before what it holds.
        for path in sorted((parents - {"."}) | paths.keys()):
            archive.addfile(_entry(path, paths.get(path)), io.BytesIO(paths.get(path, b"")))
    return buffer.getvalue()


def _entry(path: str, content: bytes | None) -> tarfile.TarInfo:
    """The header of a file, or, without `content`, of a folder; it names no user and no machine."""
    entry = tarfile.TarInfo(path)
    entry.mtime = _time()
    if content is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    else:
        entry.size, entry.mode = len(content), 0o755 if path.endswith(".sh") else 0o644
    return entry


def _time() -> int:
    """The time that SOURCE_DATE_EPOCH gives
    (https://reproducible-builds.org/specs/source-date-epoch)."""
    text = os.environ.get("SOURCE_DATE_EPOCH", str(_TIME))
    # The largest time that fits the oldest kind of tar header, in the year 2242.
    if not (text.isascii() and text.isdigit() and int(text) < 8**11):
        raise BundleError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds since 1970")
    return int(text)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
