"""Where frames come from: what every source of them does, and the source that is a file."""

import os
from abc import ABC, abstractmethod
from typing import Any, Optional

from PIL import Image

from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError
from runtime.video import opencv


class Source(ABC):
    """Frames, one after the other. It is opened, read and released by one thread."""

    live = False
    """Whether frames come by themselves, so that a frame that nobody takes in time is lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.announced = 0
        """How many frames the opened source says that it has; 0 when it does not."""

    @abstractmethod
    def open(self) -> None:
        """Raises DataError when there is no such source, or nothing can be read from it."""

    @abstractmethod
    def read(self) -> Optional[PixelArray]:
        """The next frame, BGR, uint8 [H, W, 3]; None at a file's end, and when a camera fails."""

    @abstractmethod
    def seconds(self, frame: int) -> float:
        """The time stamp of frame number `frame`, which has just been read."""

    @abstractmethod
    def release(self) -> None:
        """Closes what was opened."""


class OpenCvSource(Source):
    """A source that `open` has OpenCV open, as `_capture`."""

    def __init__(self, name: str) -> None:
        """Raises OpenCvError without OpenCV."""
        super().__init__(name)
        self._cv2 = opencv.load()
        self._capture: Any = None

    def read(self) -> Optional[PixelArray]:
        try:
            ok, pixels = self._capture.read()
        except self._cv2.error:  # a damaged frame, in some versions
            return None
        return pixels if ok else None

    def release(self) -> None:
        self._capture.release()


class VideoFile(OpenCvSource):
    """A video in any format that this machine's OpenCV decodes."""

    def __init__(self, path: str) -> None:
        """Raises DataError when there is no file at `path`, and OpenCvError without OpenCV."""
        super().__init__(path)
        if not os.path.isfile(path):
            raise DataError("{}: no such file".format(path))
        self._rate = 0.0

    def open(self) -> None:
        # The backend is named, since some versions also try the file as a camera, and complain
        # about it.
        for backend in (self._cv2.CAP_FFMPEG, self._cv2.CAP_GSTREAMER):
            # OpenCV cannot mistake an absolute path for a URL or for a GStreamer pipeline.
            self._capture = self._cv2.VideoCapture(os.path.abspath(self.name), backend)
            if self._capture.isOpened():
                break
        else:
            raise DataError("{}: not a video that OpenCV can decode".format(self.name))
        self._rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        self.announced = max(0, int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)))

    def seconds(self, frame: int) -> float:
        """Seconds from the start, by the file's nominal frame rate; 0 when it names none."""
        return frame / self._rate if self._rate > 0 else 0.0


def to_image(pixels: PixelArray) -> Image.Image:
    """A frame, BGR, uint8 [H, W, 3], as Pillow's RGB."""
    height, width, _ = pixels.shape
    return Image.frombuffer("RGB", (width, height), pixels.tobytes(), "raw", "BGR", 0, 1)
