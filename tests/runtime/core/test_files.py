"""Files that are written whole or not at all, and files that are read."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from runtime.core import files
from runtime.core.errors import ShiftAddError
from tests.support.models.runtime import REPOSITORY

_KILLED = """
import os, signal, sys
from runtime.core.files import replaced
with replaced(sys.argv[1], "file") as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_has_left_is_swept_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    killed = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], cwd=str(REPOSITORY))
    killed.wait(timeout=60)
    assert names(tmp_path) == [".m.onnx.{}".format(killed.pid), "m.onnx"]
    assert path.read_bytes() == b"old"
    files.replace(path, b"new", "file")
    assert names(tmp_path) == ["m.onnx"]
    assert path.read_bytes() == b"new"


def test_what_is_being_written_or_is_another_file_is_not_swept(tmp_path: Path) -> None:
    others = [".m.onnx.1x", ".m.onnx.", ".n.onnx.1", "m.onnx.1", ".m.onnx.1.2"]
    for name in others:
        (tmp_path / name).write_bytes(b"other")
    (tmp_path / ".m.onnx.2").write_bytes(b"left")
    with (tmp_path / ".m.onnx.1").open("wb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        files.replace(tmp_path / "m.onnx", b"new", "file")
    assert names(tmp_path) == sorted([*others, ".m.onnx.1", "m.onnx"])


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    seen = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        seen.append((path.exists(), os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    files.replace(path, b"content", "file")
    assert seen == [(False, 7)]


def _write_half(path: Path) -> None:
    with files.replaced(path, "file") as file:
        file.write(b"half")
        raise KeyError


def test_a_failure_leaves_the_older_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(KeyError):
        _write_half(path)
    assert names(tmp_path) == ["m.onnx"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ShiftAddError, match="cannot write the table: Not a directory"):
        files.replace(tmp_path / "file" / "sub" / "m.json", b"", "table")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "pipe"))
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    with files.open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    for path, why in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(OSError, match=why):
            files.open_regular(path)
