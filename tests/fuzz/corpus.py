"""The inputs that every run of a target begins with: tests/fuzz/corpus/TARGET.zip.

Members are stored as they are, in the order of their names and without a time, so that the same
inputs give the same archive everywhere.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def read(target: str, folder: Path = FOLDER) -> dict[str, bytes]:
    """The kept inputs of a target by name; none where it has no archive."""
    path = folder / f"{target}.zip"
    if not path.is_file():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def add(target: str, inputs: Mapping[str, bytes], folder: Path = FOLDER) -> Path:
    """Keeps more inputs of a target, by name, unless one is there with the same content.

    Returns the archive, which is a new one where there was none.
    """
    kept = read(target, folder)
    for name, data in sorted(inputs.items()):
        if data not in kept.values():
            kept[name] = data
    path = folder / f"{target}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(kept):
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), kept[name])
    return path


def unpack(target: str, into: Path) -> Path | None:
    """Writes the kept inputs of a target into a folder, for libFuzzer; None if there are none."""
    kept = read(target)
    if not kept:
        return None
    into.mkdir(parents=True, exist_ok=True)
    for old in into.iterdir():
        if old.name not in kept:
            old.unlink()
    for name, data in kept.items():
        (into / name).write_bytes(data)
    return into
