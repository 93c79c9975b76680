"""`runtime/infer.py --video` and `--camera` as a user runs them, under this Python with the newest
OpenCV, and under the Jetson Nano's 3.6 with the one of its JetPack. Videos and their decoder are
real; cameras, and windows, are stand-ins."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.video.camera import Settings, gstreamer_pipeline
from tests.support.commands import (
    PYTHONS,
    THIS_PYTHON,
    assert_refused,
    command,
    environment,
    interpreter,
    interruptible,
    run,
)
from tests.support.models.runtime import LABELS, linear, metadata, photo
from tests.support.standins import opencv as opencv_standin
from tests.support.toolchains import opencv36

Array = np.ndarray[Any, np.dtype[np.uint8]]


class Machine:
    """A Python, and the folder of its OpenCV."""

    def __init__(self, name: str) -> None:
        self.python = interpreter(name)
        here = name == THIS_PYTHON
        self.opencv = str(Path(cv2.__file__).parents[1] if here else opencv36.folder())

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs infer.py, on a machine without a display unless `variables` name one."""
        given = {"PYTHONPATH": self.opencv, "DISPLAY": "", "WAYLAND_DISPLAY": "", **variables}
        return run(self.python, "infer.py", *arguments, cwd=None, **given)


@pytest.fixture(scope="module", params=PYTHONS)
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param)


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


def write_video(path: Path, frames: list[Array], fps: float = 25) -> Path:
    """An AVI of JPEGs, as cheap cameras write them; frames BGR, uint8 [H, W, 3]."""
    height, width, _ = frames[0].shape
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), code, fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def pictures(rng: np.random.Generator, count: int) -> list[Array]:
    return [np.asarray(photo(rng, 64, 48))[..., ::-1].copy() for _ in range(count)]


@pytest.fixture
def video(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_video(tmp_path / "clip.avi", pictures(rng, 12))


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


FRAMES_AS_PNG = """
import cv2, sys
capture = cv2.VideoCapture(sys.argv[1])
number = 0
while True:
    ok, frame = capture.read()
    if not ok:
        break
    assert cv2.imwrite("%s/%04d.png" % (sys.argv[2], number), frame)
    number += 1
"""


def test_a_frame_is_classified_as_a_photo_of_it_is(
    machine: Machine, model: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    video = write_video(tmp_path / "clip.avi", pictures(rng, 40), fps=12.5)
    (tmp_path / "frames").mkdir()
    subprocess.run(
        [machine.python, "-c", FRAMES_AS_PNG, video, tmp_path / "frames"],
        check=True, env=environment(PYTHONPATH=machine.opencv), timeout=60,
    )  # fmt: skip
    photos = run(machine.python, "infer.py", model, tmp_path / "frames", "--json", "--top-k", "7")
    result = machine.run(model, "--video", video, "--headless", "--top-k", "7")
    assert result.returncode == 0, result.stderr
    found = records(result.stdout)
    assert len(found) == 40
    for number, (frame, expected) in enumerate(zip(found, records(photos.stdout), strict=True)):
        assert frame["predictions"] == expected["predictions"]
        assert (frame["frame"], frame["dropped"]) == (number, 0)
        assert frame["time_s"] == pytest.approx(number / 12.5)
        assert set(frame["timings"]) == {"preprocessing_ms", "inference_ms"}
        assert min(frame["timings"].values()) > 0
    summary = rf"{re.escape(str(video))}: 40 frames read, [\d.]+ a second; 40 classified, "
    assert re.fullmatch(summary + r"[\d.]+ a second; 0 dropped\n", result.stderr)


def test_a_video_that_was_cut_off(machine: Machine, model: Path, video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    result = machine.run(model, "--video", video, "--headless")
    assert result.returncode == 0
    count = len(records(result.stdout))
    assert 0 < count < 12
    line = result.stderr.splitlines()[-1]  # an older decoder has its say before
    assert f"{count} frames read" in line
    assert line.endswith("the file announces 12 frames: is it complete?")


def test_videos_that_cannot_be_used(machine: Machine, model: Path, tmp_path: Path) -> None:
    def refused(path: Path, *parts: str) -> None:
        result = machine.run(model, "--video", path, "--headless")
        # An older decoder has its say before.
        result.stderr = result.stderr.splitlines(keepends=True)[-1]
        assert_refused(result, str(path), *parts)

    refused(tmp_path / "none.avi", "no such file")
    refused(tmp_path, "no such file")
    refused(model, "not a video")
    (tmp_path / "empty.avi").touch()
    refused(tmp_path / "empty.avi", "not a video")
    (tmp_path / "text.mp4").write_text("no video " * 50)
    refused(tmp_path / "text.mp4", "not a video")


def test_a_model_that_cannot_be_used(machine: Machine, model: Path, video: Path) -> None:
    result = machine.run(video, "--video", video, "--headless")
    assert_refused(result, str(video), "not an ONNX model")


def test_a_model_that_fails_on_the_way(
    machine: Machine, video: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    # A black picture, as the model is tried with at load, has this mean; a brighter one has not.
    properties = metadata(mean="[0, 0, 0]", std="[1e-38, 1e-38, 1e-38]")
    model, _ = linear(tmp_path / "overflows.onnx", rng, properties)
    result = machine.run(model, "--video", video, "--headless")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "error: the model's output is not finite"


def test_without_opencv(machine: Machine, model: Path, video: Path, tmp_path: Path) -> None:
    missing = "raise ImportError(\"No module named 'cv2'\", name='cv2')"
    (tmp_path / "cv2.py").write_text(missing)
    for source in (("--video", video), ("--camera", "0")):
        result = machine.run(model, *source, PYTHONPATH=str(tmp_path))
        assert_refused(result, "OpenCV", "JetPack", "python3 -m pip install opencv-python")


def test_without_a_display(machine: Machine, model: Path, video: Path) -> None:
    assert_refused(machine.run(model, "--video", video), "no display", "$DISPLAY", "--headless")
    # These OpenCVs are built without windows.
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        result = machine.run(model, "--video", video, **{name: ":9"})
        assert_refused(result, "no windows", "pip install opencv-python", "--headless")


def test_a_csi_camera_without_gstreamer(machine: Machine, model: Path) -> None:
    result = machine.run(model, "--camera", "csi", "--headless")
    assert_refused(result, "without GStreamer", "JetPack")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("IMAGE", "--camera", "--video")),
        (("a.jpg", "--camera", "0"), ("either",)),
        (("--video", "a.avi", "--camera", "0"), ("either",)),
        (("--camera", "usb"), ("--camera", "'usb'", "csi:N")),
        (("--camera", "0", "--size", "640"), ("--size", "'640'", "1280x720")),
        (("--camera", "0", "--fps", "0"), ("--fps", "'0'")),
        (("--camera", "0", "--rotate", "45"), ("--rotate", "45")),
        (("--video", "a.avi", "--size", "640x480"), ("--size", "--camera")),
        (("--video", "a.avi", "--fps", "30"), ("--fps", "--camera")),
        (("a.jpg", "--rotate", "180"), ("--rotate", "--camera")),
        (("a.jpg", "--headless"), ("--headless",)),
        (("--video", "a.avi", "--json"), ("--json", "--headless")),
        (("--camera", "0", "--benchmark", "10"), ("--benchmark", "images")),
    ],
)
def test_bad_usage(machine: Machine, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    assert_refused(machine.run("m.onnx", *arguments), *parts)


@pytest.mark.parametrize("rotation", [0, 90])
def test_gstreamer_runs_the_rest_of_a_csi_cameras_pipeline(rotation: int) -> None:
    """Real GStreamer, with a test picture for the camera, and NVIDIA's converter played by the
    common ones; it is asked what reaches OpenCV."""
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0; on Debian: apt-get install gstreamer1.0-tools")
    text = gstreamer_pipeline(0, Settings(320, 240, 15, rotation))
    for nvidias, common in (
        ("nvarguscamerasrc sensor-id=0", "videotestsrc num-buffers=5"),
        ("(memory:NVMM)", ""),
        (f"nvvidconv flip-method={3 if rotation else 0}", "videoscale ! videoconvert"),
    ):
        assert text.count(nvidias) == 1
        text = text.replace(nvidias, common)
    arguments = ["gst-launch-1.0", "-v", *text.split(), "wait-on-eos=false"]
    result = subprocess.run(arguments, capture_output=True, encoding="utf-8", timeout=60)
    assert result.returncode == 0, result.stderr
    (sink,) = re.findall(r"AppSink:.*sink: caps = (.*)", result.stdout)
    width, height = (240, 320) if rotation else (320, 240)
    for part in (f"width=(int){width}", f"height=(int){height}", "format=(string)BGR,", "15/1"):
        assert part in sink + ","


class CameraMachine(Machine):
    """A machine whose OpenCV is the stand-in, with a camera."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.opencv = str(folder)
        self.log = folder / "log"
        shutil.copy(opencv_standin.__file__, folder / "cv2.py")

    def variables(self, **plan: object) -> dict[str, str]:
        """Of a camera that behaves as `plan` says."""
        return {"STANDIN_CAMERA": json.dumps(plan), "STANDIN_LOG": str(self.log)}

    def told(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @contextmanager
    def started(self, model: Path, **plan: object) -> Iterator[subprocess.Popen[bytes]]:
        """infer.py on the camera, once the first frame is classified."""
        line = command(self.python, "infer.py", model, "--camera", "--headless")
        variables = {"PYTHONPATH": self.opencv, **self.variables(**plan)}
        with interruptible(line, subprocess.PIPE, **variables) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["frame"] >= 0
            yield process


@pytest.fixture(params=PYTHONS)
def with_camera(request: pytest.FixtureRequest, tmp_path: Path) -> CameraMachine:
    folder = tmp_path / "opencv"
    folder.mkdir()
    return CameraMachine(request.param, folder)


NOISE = "GST_ARGUS: Creating output stream"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_releases_the_camera(
    with_camera: CameraMachine, model: Path, number: signal.Signals, code: int
) -> None:
    with with_camera.started(model) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    frames = [record["frame"] for record in records(output.decode())]
    assert frames == sorted(set(frames))
    # What the driver prints is not among the lines of JSON.
    noise, summary = errors.decode().splitlines()
    assert noise == NOISE
    assert re.match(r"csi:0: \d+ frames read, .* dropped$", summary)
    kind, pipeline, backend = with_camera.told()[0]
    assert (kind, backend) == ("open", opencv_standin.CAP_GSTREAMER)
    assert pipeline.startswith("nvarguscamerasrc sensor-id=0 ! ")
    assert with_camera.told()[-1] == ["release"]


def test_options_reach_the_camera(with_camera: CameraMachine, model: Path) -> None:
    options = ("--size", "320x240", "--fps", "12", "--rotate", "90")
    plan = with_camera.variables(opens=False)
    result = with_camera.run(model, "--camera", "csi:1", "--headless", *options, **plan)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == NOISE
    assert result.stderr.splitlines()[1].startswith("error: csi:1: the camera cannot be opened")
    pipeline = with_camera.told()[0][1]
    for part in ("sensor-id=1 ", "width=(int)320, height=(int)240", "(fraction)12/1"):
        assert part in pipeline
    assert "flip-method=3 ! video/x-raw, width=(int)240, height=(int)320" in pipeline


def test_a_camera_that_vanishes(with_camera: CameraMachine, model: Path) -> None:
    plan = with_camera.variables(frames=5, then="fail")
    result = with_camera.run(model, "--camera", "csi", "--headless", **plan)
    assert result.returncode == 1
    assert records(result.stdout)[-1]["frame"] == 4
    _, error, summary = result.stderr.splitlines()
    assert error.startswith("error: csi:0: the camera has given no frame for 5 seconds")
    assert summary.startswith("csi:0: 5 frames read")
    assert with_camera.told()[-1] == ["release"]


def test_a_driver_that_never_comes_back(with_camera: CameraMachine, model: Path) -> None:
    with with_camera.started(model, frames=1, then="hang") as process:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, b"")
    assert b"does not react" in errors.splitlines()[-1]
    assert with_camera.told()[-1][0] == "open"


def test_a_full_disk_ends_it_and_releases_the_camera(
    with_camera: CameraMachine, model: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            command(with_camera.python, "infer.py", model, "--camera", "--headless"),
            stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60,
            env=environment(
                PYTHONPATH=with_camera.opencv, PYTHONUNBUFFERED="", **with_camera.variables()
            ),
        )  # fmt: skip
    assert result.returncode == 2
    _, _, error = result.stderr.splitlines()
    assert error == "error: cannot write to the output: No space left on device"
    assert with_camera.told()[-1] == ["release"]


def test_a_closed_pipe_ends_it_and_releases_the_camera(
    with_camera: CameraMachine, model: Path
) -> None:
    with with_camera.started(model) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode().splitlines()
        assert process.wait(timeout=60) == 141
    assert len(errors) == 2
    assert with_camera.told()[-1] == ["release"]


class Screen:
    """The windows of OpenCV, as a user sees and closes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[Array] = []
        self.sizes: list[tuple[int, int]] = []
        self.texts: list[str] = []
        self.keys: list[int] = []
        self.visible = 1.0
        self.open: list[str] = []
        real = cv2.putText

        def put_text(picture: Array, text: str, *rest: Any) -> Any:
            self.texts.append(text)
            return real(picture, text, *rest)

        for name, value in (
            ("namedWindow", lambda title, flags: self.open.append(title)),
            ("resizeWindow", lambda title, width, height: self.sizes.append((width, height))),
            ("imshow", lambda title, picture: self.pictures.append(picture)),
            ("waitKey", lambda ms: self.keys.pop(0) if self.keys else -1),
            ("getWindowProperty", lambda title, which: self.visible),
            ("destroyAllWindows", self.open.clear),
            ("putText", put_text),
        ):
            monkeypatch.setattr(cv2, name, value)
        monkeypatch.setenv("DISPLAY", ":0")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(monkeypatch)


def show(model: Path, video: Path) -> int:
    """`infer.py MODEL --video VIDEO` in this process, where the windows are stand-ins."""
    from runtime import infer

    return infer.main([str(model), "--video", str(video), "--top-k", "2"])


@pytest.fixture
def fast_video(tmp_path: Path, rng: np.random.Generator) -> Path:
    """At so many frames a second that it is not waited for."""
    return write_video(tmp_path / "fast.avi", pictures(rng, 300), fps=1000)


def test_a_window_shows_frames_rates_and_classes(
    screen: Screen, model: Path, fast_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(model, fast_video) == 0
    assert screen.open == []
    assert screen.pictures
    assert screen.sizes == [(64, 48)]
    shown = screen.pictures[-1]
    assert shown.shape == (48, 64, 3)
    capture = cv2.VideoCapture(str(fast_video))
    frames = [capture.read()[1] for _ in range(300)]
    # Below the text stands the frame as it is.
    assert any(np.array_equal(shown[46:], frame[46:]) for frame in frames)
    assert not any(np.array_equal(shown, frame) for frame in frames)
    rates = r"capture [\d.]+ frames/s, inference [\d.]+ frames/s"
    assert any(re.fullmatch(rates, text) for text in screen.texts)
    classes = [re.fullmatch(r" *[\d.]+ % (\w+)", text) for text in screen.texts]
    assert {found[1] for found in classes if found} <= set(LABELS)
    assert any(classes)
    output, errors = capsys.readouterr()
    assert output == ""
    assert "300 frames read" in errors
    assert "300 classified" in errors


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_keys_that_end_it(
    screen: Screen, model: Path, video: Path, key: int, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.keys = [-1, ord("x"), 255, key]
    assert show(model, video) == 0
    assert screen.keys == []
    assert screen.open == []
    assert "12 frames read" not in capsys.readouterr().err


def test_a_closed_window_ends_it(
    screen: Screen, model: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.visible = 0.0
    assert show(model, video) == 0
    assert "12 frames read" not in capsys.readouterr().err


def test_letters_can_be_read_on_frames_of_any_size(screen: Screen) -> None:
    from runtime.video.display import Window

    window = Window()
    for height, width in ((48, 64), (720, 1280), (2160, 3840)):
        for shade in (0, 128, 255):
            frame = np.full((height, width, 3), shade, np.uint8)
            window.show(frame, ["99.9 % tabby", "second line"])
            assert (frame == shade).all()
            drawn = screen.pictures.pop()
            assert drawn[: height // 3].min() <= 64
            assert drawn[: height // 3].max() >= 200
            assert (drawn[height * 3 // 4 :] == shade).all()
    # Only the first picture sizes the window, which is the user's from then on.
    assert screen.sizes == [(64, 48)]
    Window().show(np.zeros((2160, 3840, 3), np.uint8), ["wide"])
    assert screen.sizes[1:] == [(1280, 720)]
