"""Cameras: on the CSI connector through GStreamer and NVIDIA's Argus, on USB through V4L2."""

import argparse
import glob
import os
import re
import time
from typing import Any, NamedTuple, Optional, Tuple

from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError
from runtime.video.opencv import OpenCvError
from runtime.video.sources import OpenCvSource

# The numbers by which nvvidconv knows the degrees clockwise.
_FLIP_METHODS = {0: 0, 90: 3, 180: 2, 270: 1}
ROTATIONS = tuple(_FLIP_METHODS)


class Device(NamedTuple):
    """Camera `number` on the CSI connector, or, where `csi` is false, /dev/video`number`."""

    csi: bool
    number: int

    def __str__(self) -> str:
        return ("csi:{}" if self.csi else "/dev/video{}").format(self.number)


class Settings(NamedTuple):
    """What a camera is asked for: pixels, frames a second, and degrees clockwise, which are one of
    ROTATIONS."""

    width: int = 1280
    height: int = 720
    fps: int = 30
    rotation: int = 0


def device(text: str) -> Device:
    """An argparse type: csi, csi:N, /dev/videoN or N."""
    found = re.fullmatch(r"(?:(csi)(?::(\d+))?|(?:/dev/video)?(\d+))", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            "{!r} is none of csi, csi:N, /dev/videoN and N".format(text)
        )
    csi, sensor, video = found.groups()
    return Device(csi is not None, int(sensor or video or 0))


def size(text: str) -> Tuple[int, int]:
    """An argparse type: width and height in pixels, as in 1280x720."""
    found = re.fullmatch(r"0*([1-9]\d*)x0*([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError("{!r} is not WIDTHxHEIGHT, as in 1280x720".format(text))
    return int(found.group(1)), int(found.group(2))


def gstreamer_pipeline(sensor: int, settings: Settings) -> str:
    """The GStreamer pipeline that delivers the newest frame of the CSI camera `sensor` as BGR.

    Argus scales to the size that is asked for. The picture is turned before it leaves NVIDIA's
    memory; a quarter turn swaps width and height.
    """
    turned = settings.rotation in (90, 270)
    return (
        "nvarguscamerasrc sensor-id={} ! video/x-raw(memory:NVMM), width=(int){}, height=(int){}, "
        "format=(string)NV12, framerate=(fraction){}/1 ! nvvidconv flip-method={} ! "
        "video/x-raw, width=(int){}, height=(int){}, format=(string)BGRx ! "
        "videoconvert ! video/x-raw, format=(string)BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    ).format(
        sensor,
        settings.width,
        settings.height,
        settings.fps,
        _FLIP_METHODS[settings.rotation],
        settings.height if turned else settings.width,
        settings.width if turned else settings.height,
    )


class Camera(OpenCvSource):
    """A live source; its time stamps are Unix time, taken when a frame has been read."""

    live = True

    def __init__(self, which: Device, settings: Settings) -> None:
        """Raises DataError when there is no such camera, OpenCvError when OpenCV cannot read it."""
        super().__init__(str(which))
        self._number = which.number
        self._settings = settings

    def seconds(self, frame: int) -> float:
        return time.time()

    def _opened(self, capture: Any, remedy: str) -> Any:
        if not capture.isOpened():
            raise DataError("{}: the camera cannot be opened: {}".format(self.name, remedy))
        return capture


class CsiCamera(Camera):
    """A camera on a Jetson's CSI connector."""

    def __init__(self, which: Device, settings: Settings) -> None:
        super().__init__(which, settings)
        if not re.search(r"GStreamer:\s+YES", self._cv2.getBuildInformation()):
            raise OpenCvError(
                "this OpenCV, {}, was built without GStreamer, which a CSI camera needs: JetPack's "
                "own, for the system's python3, has it; a USB camera is --camera 0".format(
                    self._cv2.__version__
                )
            )

    def open(self) -> None:
        pipeline = gstreamer_pipeline(self._number, self._settings)
        self._capture = self._opened(
            self._cv2.VideoCapture(pipeline, self._cv2.CAP_GSTREAMER),
            "is it connected? `sudo systemctl restart nvargus-daemon` frees one that is stuck",
        )


class UsbCamera(Camera):
    """A camera that the kernel shows as /dev/videoN."""

    def __init__(self, which: Device, settings: Settings) -> None:
        super().__init__(which, settings)
        _check_device(self.name)

    def open(self) -> None:
        cv2 = self._cv2
        self._capture = self._opened(
            cv2.VideoCapture(self._number, cv2.CAP_V4L2),
            "is it a camera (see `v4l2-ctl --list-devices`), and does no other program use it?",
        )
        # The driver takes the nearest setting that it has. JPEG is asked for, since USB 2 carries
        # only ten raw frames of 1280x720 a second. The queue is short, since only the newest frame
        # is of interest.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height)
        self._capture.set(cv2.CAP_PROP_FPS, self._settings.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> Optional[PixelArray]:
        pixels = super().read()
        if pixels is None or not self._settings.rotation:
            return pixels
        turns = {
            90: self._cv2.ROTATE_90_CLOCKWISE,
            180: self._cv2.ROTATE_180,
            270: self._cv2.ROTATE_90_COUNTERCLOCKWISE,
        }
        turned: PixelArray = self._cv2.rotate(pixels, turns[self._settings.rotation])
        return turned


def camera(which: Device, settings: Settings) -> Camera:
    """The camera, not yet open. Raises as its class does."""
    return (CsiCamera if which.csi else UsbCamera)(which, settings)


def _check_device(path: str) -> None:
    if not os.path.exists(path):
        others = ", ".join(sorted(glob.glob("/dev/video*")))
        known = "there is {}".format(others) if others else "no USB camera is connected"
        raise DataError("{}: no such camera: {}".format(path, known))
    if not os.access(path, os.R_OK | os.W_OK):
        raise DataError(
            "{}: no permission: `sudo usermod -aG video $USER`, then log in again".format(path)
        )
