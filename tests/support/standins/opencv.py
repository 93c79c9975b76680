"""Stands in for OpenCV on a machine with a camera: what the runtime uses of it. Runs on Python 3.6.

$STANDIN_CAMERA, JSON, says how the camera behaves: {"opens": false}, {"frames": 5, "then": "fail"}
with "fail", "raise" or "hang" for what a read does after so many frames; without "frames" there is
no end of them. What the camera is told goes to the file $STANDIN_LOG, one JSON list a line.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np

__version__ = "4.1.1"
CAP_GSTREAMER, CAP_V4L2 = 1800, 200
CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_FOURCC = 3, 4, 5, 6
CAP_PROP_BUFFERSIZE = 38
ROTATE_90_CLOCKWISE, ROTATE_180, ROTATE_90_COUNTERCLOCKWISE = 0, 1, 2
HEIGHT, WIDTH = 30, 40


class error(Exception):  # noqa: N801, N818 - OpenCV's name
    pass


def getBuildInformation() -> str:  # noqa: N802
    return "  Video I/O:\n    GStreamer:                   YES (1.14.5)\n"


def VideoWriter_fourcc(*letters: str) -> int:  # noqa: N802
    return sum(ord(letter) << 8 * i for i, letter in enumerate(letters))


def rotate(pixels: Any, turn: int) -> Any:
    return np.ascontiguousarray(np.rot90(pixels, -(turn + 1)))


class VideoCapture:
    def __init__(self, source: object, backend: int) -> None:
        # As NVIDIA's driver does.
        os.write(1, b"GST_ARGUS: Creating output stream\n")
        self._plan = json.loads(os.environ.get("STANDIN_CAMERA", "{}"))
        self._count = 0
        _log("open", source, backend)

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self._plan.get("opens", True))

    def set(self, property_: int, value: float) -> bool:
        _log("set", property_, value)
        return True

    def read(self) -> Tuple[bool, Optional[Any]]:
        if self._count == self._plan.get("frames", -1):
            return self._fail()
        time.sleep(0.002)
        self._count += 1
        return True, picture(self._count - 1)

    def release(self) -> None:
        _log("release")

    def _fail(self) -> Tuple[bool, None]:
        if self._plan["then"] == "raise":
            raise error("(-215:Assertion failed) !_src.empty()")
        if self._plan["then"] == "hang":
            threading.Event().wait()
        return False, None


def picture(number: int) -> Any:
    """Frame `number`: another colour each, and another in each corner."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = (250, number % 256, 20)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = (10, 200, number * 7 % 256)
    return pixels


def _log(*entry: object) -> None:
    if "STANDIN_LOG" in os.environ:
        with Path(os.environ["STANDIN_LOG"]).open("a") as file:
            file.write(json.dumps(entry) + "\n")
