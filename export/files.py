"""Writes a file: all of it or nothing."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.errors import ShiftAddError, reason


def replace_file(path: Path, content: bytes, what: str) -> None:
    """Writes `content` aside and moves it into place; missing folders are made.

    Raises ShiftAddError, in one line that says `what` it was to be, where the file cannot be
    written; an older one is then left as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ShiftAddError(f"{path}: cannot write the {what}: {reason(error)}") from error
