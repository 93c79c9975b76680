"""OpenCV, which only cameras and videos need."""

import importlib
import os
from typing import Any

from runtime.core.errors import ShiftAddError
from runtime.core.imports import why

_QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}


class OpenCvError(ShiftAddError):
    """OpenCV is missing, or was built without what is needed."""


def load() -> Any:
    """The module cv2. Raises OpenCvError, which says how to install it."""
    # OpenCV reads this on import. It need not log errors, since the commands report them in one
    # line.
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise OpenCvError(
            "cameras and videos need OpenCV ({}): JetPack has it for the system's python3, "
            "elsewhere `python3 -m pip install opencv-python`".format(why(error))
        ) from error
