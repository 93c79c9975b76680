"""Cameras: what the user names, what GStreamer and V4L2 are asked for. Runs on Python 3.6."""

import argparse
import glob
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pytest

from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError
from runtime.video import camera, opencv
from runtime.video.camera import CsiCamera, Device, Settings, UsbCamera, gstreamer_pipeline
from runtime.video.opencv import OpenCvError
from runtime.video.sources import Source, to_image
from tests.support.standins import opencv as opencv_standin

Standin = Tuple[Any, Path]


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standin:
    """The stand-in as cv2, and the file where it writes what it is told."""
    log = tmp_path / "cv2.log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    monkeypatch.setitem(sys.modules, "cv2", opencv_standin)
    monkeypatch.setattr(camera, "_check_device", lambda path: None)
    return opencv_standin, log


def told(log: Path) -> List[List[Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def read(source: Source) -> PixelArray:
    pixels = source.read()
    assert pixels is not None
    return pixels


def test_names_of_cameras() -> None:
    for text, expected in (
        ("csi", Device(True, 0)),
        ("csi:0", Device(True, 0)),
        ("csi:12", Device(True, 12)),
        ("0", Device(False, 0)),
        ("3", Device(False, 3)),
        ("/dev/video10", Device(False, 10)),
    ):
        assert camera.device(text) == expected
        assert camera.device(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "csi:", "csi:x", "csi1", "usb", "-1", "/dev/video", "/dev/video1x", "/dev/media0", "1.5",
     "csi:1 ! fakesink", "csi:1\n"],
)  # fmt: skip
def test_what_names_no_camera(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        camera.device(text)
    assert "/dev/videoN" in str(caught.value)


def test_sizes() -> None:
    assert camera.size("640x480") == (640, 480)
    assert camera.size("0640x0480") == (640, 480)
    for text in ("640", "640x", "x480", "0x480", "640x0", "640X480", "-640x480", "640x480 "):
        with pytest.raises(argparse.ArgumentTypeError, match="1280x720"):
            camera.size(text)


def elements(text: str) -> List[str]:
    return [part.strip() for part in text.split("!")]


def test_the_pipeline_of_a_csi_camera() -> None:
    source, memory, converter, turned, _, last, sink = elements(
        gstreamer_pipeline(2, Settings(1920, 1080, 60, 0))
    )
    assert source == "nvarguscamerasrc sensor-id=2"
    assert memory.startswith("video/x-raw(memory:NVMM), ")
    for part in ("width=(int)1920", "height=(int)1080", "framerate=(fraction)60/1", "NV12"):
        assert part in memory
    assert converter == "nvvidconv flip-method=0"
    assert turned == "video/x-raw, width=(int)1920, height=(int)1080, format=(string)BGRx"
    assert last == "video/x-raw, format=(string)BGR"
    # Frames that nobody has fetched make room for newer ones.
    assert sink.split() == ["appsink", "drop=true", "max-buffers=1", "sync=false"]


@pytest.mark.parametrize(
    ("rotation", "method", "size"),
    [(0, 0, (64, 48)), (90, 3, (48, 64)), (180, 2, (64, 48)), (270, 1, (48, 64))],
)
def test_a_turned_csi_camera(rotation: int, method: int, size: Tuple[int, int]) -> None:
    parts = elements(gstreamer_pipeline(0, Settings(64, 48, 30, rotation)))
    assert "width=(int)64, height=(int)48" in parts[1]
    assert parts[2] == "nvvidconv flip-method={}".format(method)
    assert "width=(int){}, height=(int){}".format(*size) in parts[3]


def test_a_csi_camera_is_opened_by_its_pipeline(standin: Standin) -> None:
    cv2, log = standin
    settings = Settings(320, 240, 21, 180)
    source = camera.camera(Device(True, 1), settings)
    assert isinstance(source, CsiCamera)
    assert (source.name, source.live) == ("csi:1", True)
    source.open()
    assert np.array_equal(read(source), cv2.picture(0))
    source.release()
    assert told(log) == [["open", gstreamer_pipeline(1, settings), cv2.CAP_GSTREAMER], ["release"]]


def test_a_usb_camera_is_asked_for_its_settings(standin: Standin) -> None:
    cv2, log = standin
    source = camera.camera(Device(False, 5), Settings(800, 600, 15, 0))
    assert isinstance(source, UsbCamera)
    assert (source.name, source.live) == ("/dev/video5", True)
    source.open()
    assert np.array_equal(read(source), cv2.picture(0))
    assert told(log)[0] == ["open", 5, cv2.CAP_V4L2]
    asked = {key: value for _, key, value in told(log)[1:]}
    assert asked == {
        cv2.CAP_PROP_FRAME_WIDTH: 800,
        cv2.CAP_PROP_FRAME_HEIGHT: 600,
        cv2.CAP_PROP_FPS: 15,
        cv2.CAP_PROP_FOURCC: int.from_bytes(b"MJPG", "little"),
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_usb_camera(standin: Standin, quarter_turns: int) -> None:
    cv2, _ = standin
    source = camera.camera(Device(False, 0), Settings(rotation=90 * quarter_turns))
    source.open()
    assert np.array_equal(read(source), np.rot90(cv2.picture(0), -quarter_turns))


def test_time_stamps_are_unix_time(standin: Standin) -> None:
    source = camera.camera(Device(True, 0), Settings())
    before = time.time()
    stamp = source.seconds(7)
    assert before <= stamp <= time.time()


def test_failing_reads_are_no_frames(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("fail", "raise"):
        monkeypatch.setenv("STANDIN_CAMERA", json.dumps({"frames": 1, "then": way}))
        source = camera.camera(Device(False, 0), Settings(rotation=180))
        source.open()
        assert source.read() is not None
        assert source.read() is None


def test_cameras_that_cannot_be_opened(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_CAMERA", json.dumps({"opens": False}))
    for which, parts in (
        (Device(True, 0), ("csi:0: ", "cannot be opened", "nvargus-daemon")),
        (Device(False, 2), ("/dev/video2: ", "cannot be opened", "other program")),
    ):
        with pytest.raises(DataError) as caught:
            camera.camera(which, Settings()).open()
        for part in parts:
            assert part in str(caught.value)


def test_a_csi_camera_needs_gstreamer(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2, _ = standin
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "    GStreamer:          NO\n")
    with pytest.raises(OpenCvError, match=r"4\.1\.1.*without GStreamer"):
        camera.camera(Device(True, 0), Settings())
    camera.camera(Device(False, 0), Settings())


def test_device_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "video0")
    monkeypatch.setattr(glob, "glob", lambda pattern: [])
    with pytest.raises(DataError, match="no USB camera is connected"):
        camera._check_device(path)
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/video8", "/dev/video4"])
    with pytest.raises(DataError, match="there is /dev/video4, /dev/video8"):
        camera._check_device(path)
    (tmp_path / "video0").touch()
    camera._check_device(path)
    # To root, who may run the tests, everything is permitted.
    monkeypatch.setattr(os, "access", lambda name, mode: False)
    with pytest.raises(DataError, match="usermod -aG video"):
        camera._check_device(path)


def test_a_missing_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(OpenCvError) as caught:
        opencv.load()
    assert "python3 -m pip install opencv-python" in str(caught.value)
    monkeypatch.setitem(sys.modules, "cv2", opencv_standin)
    assert opencv.load() is importlib.import_module("cv2")


def test_a_frame_becomes_an_rgb_image() -> None:
    pixels = np.random.default_rng().integers(0, 256, size=(7, 9, 3)).astype(np.uint8)
    image = to_image(pixels)
    assert (image.mode, image.size) == ("RGB", (9, 7))
    assert np.array_equal(np.asarray(image), pixels[..., ::-1])
    turned = np.rot90(pixels)  # not contiguous
    assert np.array_equal(np.asarray(to_image(turned)), turned[..., ::-1])
