"""A window with the newest frame, and text in it."""

import os
from typing import Any, Sequence

from runtime.core.arrays import PixelArray
from runtime.core.errors import ShiftAddError
from runtime.video import opencv

_TITLE = "shiftadd"
_LARGEST = 1280  # pixels of the window's longer side at first; it can be resized
_POLL_MS = 10  # how long the window's events are waited for
_QUIT = (ord("q"), 27)  # 27: Esc
_WHITE = (255, 255, 255)


class DisplayError(ShiftAddError):
    """There is nowhere to show a picture."""


class Window:
    """A window for frames; only the main thread may use it."""

    def __init__(self) -> None:
        """Raises DisplayError when there is no display, or when this OpenCV has no windows, and
        OpenCvError without OpenCV."""
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DisplayError(
                "no display to show frames on ($DISPLAY is not set): with --headless they are "
                "printed as JSON lines"
            )
        self._cv2: Any = opencv.load()
        self._sized = False
        try:
            self._cv2.namedWindow(_TITLE, self._cv2.WINDOW_NORMAL)
        except self._cv2.error as error:
            raise DisplayError(
                "this OpenCV, {}, has no windows (is it opencv-python-headless?): `python3 -m pip "
                "install opencv-python`, or use --headless".format(self._cv2.__version__)
            ) from error

    def show(self, pixels: PixelArray, lines: Sequence[str]) -> None:
        """Shows a frame, BGR, uint8 [H, W, 3], with text over it."""
        picture = pixels.copy()
        self._write(picture, lines)
        self._cv2.imshow(_TITLE, picture)
        if not self._sized:
            self._sized = True
            height, width, _ = pixels.shape
            smaller = min(1.0, _LARGEST / max(height, width))
            self._cv2.resizeWindow(_TITLE, int(width * smaller), int(height * smaller))

    def keeps_open(self) -> bool:
        """Lets the window react; False when q or Esc was pressed in it, or when it was closed."""
        if self._cv2.waitKey(_POLL_MS) & 0xFF in _QUIT:
            return False
        try:
            # OpenCV answers -1 where it does not know.
            return bool(self._cv2.getWindowProperty(_TITLE, self._cv2.WND_PROP_VISIBLE) != 0)
        except self._cv2.error:  # some versions want a window to answer for it
            return False

    def close(self) -> None:
        """Closes the window."""
        self._cv2.destroyAllWindows()

    def _write(self, picture: PixelArray, lines: Sequence[str]) -> None:
        """White letters that grow with the frame, on a part of it that is darkened for them."""
        font, scale = self._cv2.FONT_HERSHEY_SIMPLEX, max(picture.shape[0] / 720, 0.4)
        thickness, height = max(1, int(1.5 * scale)), int(34 * scale)
        width = max(self._cv2.getTextSize(line, font, scale, thickness)[0][0] for line in lines)
        picture[: height * len(lines) + height // 2, : width + height] //= 4
        for i, line in enumerate(lines, start=1):
            self._cv2.putText(
                picture, line, (height // 2, i * height), font, scale, _WHITE, thickness,
                self._cv2.LINE_AA,
            )  # fmt: skip
