"""What keeps a network from being exported, and where in a user's code it went wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.core.errors import ShiftAddError


class ExportError(ShiftAddError, ValueError):
    """A network that cannot be exported: one line with the layer, the reason and what to do."""


def place_of(error: BaseException) -> str:
    """ " (file.py:12)": the innermost line of a user's code that an error went through.

    "" where it went through none: PyTorch's and the exporter's own lines, by which a user's call
    failed, are not what has to be mended.
    """
    found, frame = "", error.__traceback__
    others = [_folder_of(module) for module in (__name__, "torch") if module in sys.modules]
    while frame is not None:
        file = Path(frame.tb_frame.f_code.co_filename)
        if file.is_file() and not any(other in file.resolve().parents for other in others):
            found = f" ({_short(file)}:{frame.tb_lineno})"
        frame = frame.tb_next
    return found


def _folder_of(module: str) -> Path:
    return Path(str(sys.modules[module].__file__)).resolve().parent


def _short(file: Path) -> Path:
    """Relative to the working folder where it is below that."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file
