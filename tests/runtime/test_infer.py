"""`runtime/infer.py` as a user runs it, under this Python and under the Jetson Nano's 3.6."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import (
    PYTHONS,
    WRITTEN_MEANWHILE,
    assert_refused,
    command,
    environment,
    interpreter,
    interruptible,
    run,
)
from tests.support.models.runtime import LABELS, REPOSITORY, linear, metadata, photo, shift


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> Path:
    return interpreter(request.param)


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


@pytest.fixture
def image(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "photo.jpg"
    photo(rng, 90, 70).save(path)
    return path


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_text_output(python: Path, model: Path, image: Path) -> None:
    result = run(python, "infer.py", model, image)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == str(image)
    rows = [line.split() for line in lines[1:6]]
    percents = [float(row[1]) for row in rows]
    assert {row[0] for row in rows} < set(LABELS)
    assert percents == sorted(percents, reverse=True)
    for row, percent in zip(rows, percents, strict=True):
        bar = row[3] if len(row) == 4 else ""
        assert bar == "#" * len(bar)
        assert abs(len(bar) - 0.3 * percent) <= 0.52
    assert lines[6].startswith("  pre-processing ")
    assert " ms, inference " in lines[6]
    assert len(lines) == 7


_LOADED_BEFORE = """
import sys
from PIL import Image
from runtime import infer
from runtime.core import images
real, seen = images.open_image, []
def spy(source, name):
    seen.append("JPEG" in Image.ID)
    return real(source, name)
images.open_image = spy
code = infer.main(sys.argv[1:])
assert seen == [True], seen
sys.exit(code)
"""


def test_the_first_image_does_not_wait_for_pillow(python: Path, model: Path, image: Path) -> None:
    """Pillow loads its decoders once a process, ten times as long as a small image takes."""
    command = [str(python), "-c", _LOADED_BEFORE, str(model), str(image)]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment(), timeout=120)


def test_json_output_agrees_with_the_interface(python: Path, model: Path, image: Path) -> None:
    from PIL import Image

    import runtime

    result = run(python, "infer.py", model, image, "--json", "--top-k", "3", "--threads", "1")
    assert (result.returncode, result.stderr) == (0, "")
    (record,) = records(result.stdout)
    assert record["file"] == str(image)
    assert record["timings"]["preprocessing_ms"] > 0
    assert record["timings"]["inference_ms"] > 0
    (expected,) = runtime.load(model).classify([Image.open(image)], 3)
    assert len(record["predictions"]) == 3
    for found, prediction in zip(record["predictions"], expected, strict=True):
        assert found["label"] == LABELS[found["class"]]
        # Another Pillow's JPEG decoder may round a few pixels otherwise.
        assert found["probability"] == pytest.approx(prediction.probability, rel=2e-2)


def test_every_class_when_top_k_is_larger(python: Path, model: Path, image: Path) -> None:
    result = run(python, "infer.py", model, image, "--json", "--top-k", "1000")
    predictions = records(result.stdout)[0]["predictions"]
    assert sorted(found["class"] for found in predictions) == list(range(len(LABELS)))
    assert sum(found["probability"] for found in predictions) == pytest.approx(1, abs=1e-5)


def test_from_another_folder_with_relative_paths(python: Path, model: Path, image: Path) -> None:
    result = run(python, "infer.py", model.name, image.name, cwd=image.parent)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("photo.jpg\n")


def test_as_a_module(python: Path, model: Path, image: Path) -> None:
    result = subprocess.run(
        [python, "-m", "runtime.infer", model, image],
        capture_output=True, encoding="utf-8", cwd=REPOSITORY, env=environment(), timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{image}\n")


def test_through_a_link_and_beside_files_of_any_name(
    python: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "infer").symlink_to(REPOSITORY / "runtime" / "infer.py")
    result = subprocess.run(
        [python, bin_folder / "infer", model, image],
        capture_output=True, encoding="utf-8", cwd=bin_folder, env=environment(), timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_a_folder_is_walked(python: Path, model: Path, image: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    (album / "b").mkdir(parents=True)
    for name in ("z.jpg", "b/x.jpg", "a.jpg"):
        shutil.copy(image, album / name)
    (album / "notes.txt").write_text("no image")
    result = run(python, "infer.py", model, image, album, "--json")
    assert (result.returncode, result.stderr) == (0, f"{album}: 1 file left out: 1 .txt\n")
    names = [str(album / name) for name in ("a.jpg", "b/x.jpg", "z.jpg")]
    assert [record["file"] for record in records(result.stdout)] == [str(image), *names]


def test_one_bad_image_among_others(python: Path, model: Path, image: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    shutil.copy(image, album / "1.jpg")
    (album / "2.jpg").write_bytes(image.read_bytes()[:400])
    shutil.copy(image, album / "3.jpg")
    result = run(python, "infer.py", model, album, "--json")
    assert_refused(result, str(album / "2.jpg"), code=1)
    names = [Path(record["file"]).name for record in records(result.stdout)]
    assert names == ["1.jpg", "3.jpg"]


def test_a_missing_image_among_others(python: Path, model: Path, image: Path) -> None:
    result = run(python, "infer.py", model, "none.jpg", image, "--json")
    assert_refused(result, "none.jpg", "no such file", code=1)
    assert len(records(result.stdout)) == 1


def test_images_that_cannot_be_used(python: Path, model: Path, image: Path, tmp_path: Path) -> None:
    assert_refused(run(python, "infer.py", model, tmp_path / "none.jpg"), "none.jpg", "no such")
    assert_refused(run(python, "infer.py", model, model), str(model), "not an image")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(image.read_bytes()[:-200])
    assert_refused(run(python, "infer.py", model, cut), "cut.jpg", "truncated")
    cut.write_bytes(b"")
    assert_refused(run(python, "infer.py", model, cut), "cut.jpg", "not an image")
    (tmp_path / "empty").mkdir()
    assert_refused(run(python, "infer.py", model, tmp_path / "empty"), "empty", "no images")


def test_models_that_cannot_be_used(
    python: Path, model: Path, image: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    assert_refused(run(python, "infer.py", tmp_path / "none.onnx", image), "none.onnx", "No such")
    assert_refused(run(python, "infer.py", image, image), str(image), "not an ONNX model")
    whole = model.read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert_refused(run(python, "infer.py", cut, image), "cut.onnx", "ONNX model")
    newer, _ = linear(tmp_path / "newer.onnx", rng, metadata(contract_version="2"))
    assert_refused(run(python, "infer.py", newer, image), "newer.onnx", "version 2", "version 1")
    bare, _ = linear(tmp_path / "bare.onnx", rng, {})
    assert_refused(run(python, "infer.py", bare, image), "shiftadd.labels", "make export")
    unknown = tmp_path / "unknown.onnx"
    unknown.write_bytes(whole.replace(b"GlobalAveragePool", b"GlobalAveragePuul"))
    assert_refused(run(python, "infer.py", unknown, image), "unknown.onnx", "GlobalAveragePuul")
    garbled = tmp_path / "garbled.onnx"
    garbled.write_bytes(whole.replace(b"GlobalAveragePool", b"GlobalAverage\xff\x1b[l"))
    result = run(python, "infer.py", garbled, image)
    assert_refused(result, "garbled.onnx")
    assert result.stdout == ""
    assert "\x1b" not in result.stderr


def test_a_missing_library(
    python: Path, image: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    # A deployed copy: no library beside it and no checkout around it.
    device = tmp_path / "device" / "runtime"
    shutil.copytree(REPOSITORY / "runtime", device, ignore=WRITTEN_MEANWHILE)
    path, _ = shift(tmp_path / "shift.onnx", rng)
    script = tmp_path / "device" / "runtime" / "infer.py"
    result = subprocess.run(
        [python, script, path, image],
        capture_output=True, encoding="utf-8", env=environment(), timeout=120,
    )  # fmt: skip
    assert_refused(result, "ShiftConv", "make plugins", "--library")


def test_custom_operators(
    python: Path, image: Path, tmp_path: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    path, _ = shift(tmp_path / "shift.onnx", rng)
    by_option = run(python, "infer.py", path, image, "--json", "--library", operator_library)
    by_variable = run(
        python, "infer.py", path, image, "--json", SHIFTADD_ORT_LIBRARY=str(operator_library)
    )
    for result in (by_option, by_variable):
        assert (result.returncode, result.stderr) == (0, "")
    first, second = records(by_option.stdout + by_variable.stdout)
    assert first["predictions"] == second["predictions"]


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("weight_bits", 5, ("5", "4")),
        ("group", 2, ("2", "3")),
        ("activation", "swish", ("swish", "relu")),
        ("pads", [0, 0, -1, 0], ("-1",)),
        ("kernel_shape", [3, 3], ("W", "[7, 4]", "[7, 1]")),
    ],
)
def test_a_broken_custom_node_fails_at_load(
    python: Path,
    image: Path,
    tmp_path: Path,
    rng: np.random.Generator,
    operator_library: Path,
    field: str,
    value: object,
    parts: tuple[str, ...],
) -> None:
    path, _ = shift(tmp_path / "shift.onnx", rng, **{field: value})
    # A missing image shows that it is the load that fails: the model is told first, and alone.
    for target in (image, tmp_path / "none.jpg"):
        result = run(python, "infer.py", path, target, "--library", operator_library)
        assert_refused(result, "shift.onnx", "stem/shift", *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("MODEL.onnx",)),
        (("m.onnx",), ("IMAGE",)),
        (("m.onnx", "photo.jpg", "--top-k", "0"), ("--top-k", "'0'")),
        (("m.onnx", "photo.jpg", "--top-k", "-3"), ("--top-k", "'-3'")),
        (("m.onnx", "photo.jpg", "--threads", "two"), ("--threads", "'two'")),
        (("m.onnx", "photo.jpg", "--benchmark", "0"), ("--benchmark", "'0'")),
        (("m.onnx", "photo.jpg", "--benchmark", "1d"), ("--benchmark", "'1d'", "10min")),
        (("m.onnx", "photo.jpg", "--nonsense"), ("--nonsense",)),
        (("m.onnx", "photo.jpg", "--library", "none.so"), ("none.so", "--library")),
    ],
)
def test_bad_usage(
    python: Path, model: Path, image: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_refused(run(python, "infer.py", *arguments, cwd=image.parent), *parts)


def test_help(python: Path) -> None:
    result = run(python, "infer.py", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for option in (
        "--camera",
        "--video",
        "--headless",
        "--top-k",
        "--json",
        "--benchmark",
        "--threads",
        "--library",
    ):
        assert option in result.stdout


def test_benchmark(python: Path, model: Path, image: Path) -> None:
    result = run(python, "infer.py", model, image, "--benchmark", "25", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    figures = records(result.stdout)[1]["benchmark"]
    assert (figures["runs"], figures["interrupted"]) == (25, False)
    assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["p90_ms"] <= figures["p99_ms"]
    assert figures["images_per_second"] <= 1e3 / figures["min_ms"]
    text = run(python, "infer.py", model, image, "--benchmark", "25").stdout.splitlines()
    assert text[-2].startswith("25 runs of the network")
    for word in ("median", "p90", "p99", "min", "images/s"):
        assert word in text[-1]
    timed = run(python, "infer.py", model, image, "--benchmark", "1s", "--json")
    assert records(timed.stdout)[1]["benchmark"]["runs"] > 0


def test_progress_is_drawn_on_a_terminal_and_removed(
    python: Path, model: Path, image: Path
) -> None:
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        command(python, "infer.py", model, image, "--benchmark", "50"),
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env=environment(),
    )
    os.close(writer)
    drawn = b""
    while True:
        try:
            chunk = os.read(reader, 4096)
        except OSError:  # Linux's way of saying that the other end of a terminal is closed
            break
        if not chunk:
            break
        drawn += chunk
    os.close(reader)
    assert process.wait(timeout=60) == 0
    assert b"benchmark [" in drawn
    assert b"50/50" in drawn
    assert drawn.endswith(b"\r\x1b[K")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_benchmark_with_what_was_measured(
    python: Path, model: Path, image: Path, number: signal.Signals, code: int
) -> None:
    endless = command(python, "infer.py", model, image, "--benchmark", "100h", "--json")
    with interruptible(endless, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        # The benchmark's warm-up follows the first line; only then is there something to tell.
        wait_for_runs(process.pid)
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, b"")
    (record,) = records(rest.decode())
    assert record["benchmark"]["runs"] > 0
    assert record["benchmark"]["interrupted"] is True


def wait_for_runs(process: int) -> None:
    """Until a process that does nothing else computes: for a twentieth of a second of its time."""

    def seconds() -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = seconds()
    while seconds() < before + 0.05:
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_list_of_images_quietly(
    python: Path, model: Path, image: Path, number: signal.Signals, code: int
) -> None:
    many = command(python, "infer.py", model, *[image] * 2000, "--json")
    with interruptible(many, subprocess.PIPE, PYTHONUNBUFFERED="") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, b"")
    # The lines are whole ones, and not all.
    assert len(records(output.decode())) < 1999


@pytest.mark.parametrize("options", [(), ("--json",), ("--json", "--benchmark", "5")])
def test_a_full_disk_is_one_line(
    python: Path, model: Path, image: Path, options: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            command(python, "infer.py", model, image, *options),
            stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60,
            env=environment(PYTHONUNBUFFERED=""),
        )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == "error: cannot write to the output: No space left on device\n"


def test_the_example_is_a_program_of_ones_own(
    python: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "runtime").symlink_to(REPOSITORY / "runtime")
    shutil.copy(REPOSITORY / "runtime" / "example.py", folder / "program.py")

    def program(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, folder / "program.py", *arguments],
            capture_output=True, encoding="utf-8", env=environment(), timeout=60,
        )  # fmt: skip

    done = program(model, image)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [re.fullmatch(r" *([\d.]+)%  (\w+)", line) for line in done.stdout.splitlines()]
    (expected,) = records(run(python, "infer.py", model, image, "--json").stdout)
    assert len(rows) == 3
    for row, prediction in zip(rows, expected["predictions"][:3], strict=True):
        assert row is not None
        assert row[2] == prediction["label"]
        assert float(row[1]) == pytest.approx(100 * prediction["probability"], abs=0.0501)
    assert_refused(program(image, image), str(image), "not an ONNX model", code=1)
    assert_refused(program(model, tmp_path / "none.jpg"), "none.jpg", code=1)
    assert_refused(program(model), "MODEL IMAGE", code=1)


def test_a_closed_pipe_ends_it_quietly(python: Path, model: Path, image: Path) -> None:
    with subprocess.Popen(
        command(python, "infer.py", model, *[image] * 2000, "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert (process.wait(timeout=60), errors) == (141, b"")


def test_names_that_the_terminal_cannot_write(
    python: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    named = tmp_path / "Schildkröte.jpg"
    shutil.copy(image, named)
    result = run(python, "infer.py", model, named, PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Schildkr\\xf6te.jpg" in result.stdout
    red = tmp_path / "\x1b[31mred.jpg"
    shutil.copy(image, red)
    result = run(python, "infer.py", model, red)
    assert "\\x1b[31mred.jpg" in result.stdout
    assert "\x1b" not in result.stdout
    broken = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(broken, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(b"no image")
    result = run(python, "infer.py", model, os.fsdecode(broken), LC_ALL="C.UTF-8")
    assert_refused(result, "caf", "not an image")


def test_every_runtime_file_compiles(python: Path) -> None:
    files = sorted((REPOSITORY / "runtime").rglob("*.py"))
    assert len(files) > 40
    check = (
        "import sys\n"
        "for path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')"
    )
    subprocess.run([python, "-W", "error", "-c", check, *files], check=True, timeout=60)


def test_a_sliver_in_a_folder_is_named(python: Path, model: Path, image: Path) -> None:
    from PIL import Image

    Image.new("RGB", (1, 160_000)).save(image.parent / "sliver.png")
    result = run(python, "infer.py", model, image.parent, "--json")
    left_out, *refused = result.stderr.splitlines()
    assert left_out == f"{image.parent}: 1 file left out: 1 .onnx"
    assert (result.returncode, len(refused)) == (1, 1)
    assert "sliver.png: too elongated" in refused[0]
    assert [record["file"] for record in records(result.stdout)] == [str(image)]


def test_a_missing_package_is_one_line(
    python: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    absent = "raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')"
    (tmp_path / "PIL.py").write_text(absent)
    result = run(python, "infer.py", model, image, PYTHONPATH=str(tmp_path))
    assert_refused(result, "No module named 'PIL'", "pip install pillow")
