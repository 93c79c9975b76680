"""From an ONNX file to an engine that classifies, as a user runs it, on stand-ins for TensorRT.

Under this Python and the Jetson Nano's, with TensorRT's API as 8.2 has it and as 10 has it. Where a
stand-in is misused it says so on stderr, which has to be empty here.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import (
    PYTHONS,
    assert_refused,
    command,
    environment,
    interpreter,
    interruptible,
    run,
)
from tests.support.engines import Machine, Result
from tests.support.models.runtime import LABELS, SIZE, linear, metadata, photo, shift
from tests.support.standins import modules as runtime_standins
from tests.support.standins.modules import DESKTOP, NEW, VERSIONS, XAVIER


@pytest.fixture(params=PYTHONS)
def machine(request: pytest.FixtureRequest, tmp_path: Path, operator_library: Path) -> Machine:
    return Machine(interpreter(request.param), tmp_path, operator_library)


@pytest.fixture(params=VERSIONS)
def each_machine(request: pytest.FixtureRequest, machine: Machine) -> Machine:
    machine.version = request.param
    return machine


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


@pytest.fixture
def image(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "photo.png"
    photo(rng, 90, 70).save(path)
    return path


def predictions(result: Result) -> dict[str, float]:
    assert (result.returncode, result.stderr) == (0, "")
    record = json.loads(result.stdout.splitlines()[0])
    return {found["label"]: found["probability"] for found in record["predictions"]}


def test_the_whole_way(
    each_machine: Machine, tmp_path: Path, image: Path, rng: np.random.Generator
) -> None:
    machine = each_machine
    model, _ = shift(tmp_path / "m.onnx", rng)
    library = runtime_standins.plugin_library(tmp_path, machine.operator_library)
    engine = machine.build(model, "--library", library, "--precision", "fp32")
    model.unlink()  # the runtime needs no ONNX file
    by_engine = machine.run("infer.py", engine, image, "--json", "--library", library)
    assert predictions(by_engine).keys() < set(LABELS)
    table = machine.run(
        "infer.py", engine, image, "--benchmark", "3", SHIFTADD_TENSORRT_LIBRARY=str(library)
    )
    assert (table.returncode, table.stderr) == (0, "")
    assert table.stdout.splitlines()[0] == str(image)
    assert " ms, inference " in table.stdout
    assert "3 runs of the network" in table.stdout


def test_the_engine_answers_as_the_model_does(
    each_machine: Machine, model: Path, image: Path, operator_library: Path
) -> None:
    engine = each_machine.build(model, "--precision", "fp32")
    expected = predictions(each_machine.run("infer.py", model, image, "--json"))
    found = predictions(each_machine.run("infer.py", engine, image, "--json"))
    assert found == pytest.approx(expected, rel=1e-5)


def test_evaluate_takes_more_images_than_an_execution(
    each_machine: Machine, model: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    for i in range(11):
        path = tmp_path / "data" / LABELS[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(rng).save(path)
    engine = each_machine.build(model, "--precision", "fp32", "--max-batch", "2")
    reports = []
    for path in (model, engine):
        done = each_machine.run("evaluate.py", path, tmp_path / "data", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        reports.append(json.loads(done.stdout))
    for entry in ("images", "top1", "top5", "bad_images"):
        assert reports[0][entry] == reports[1][entry]
    assert reports[1]["images"] == 11


def test_what_a_build_leaves(machine: Machine, model: Path, tmp_path: Path) -> None:
    done = machine.run("build_engine.py", model, "--output", tmp_path / "engines" / "m.engine")
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "engines"
    names = {path.name for path in folder.iterdir()}
    assert names == {"m.engine", "m.engine.json", "m.log", "timing.cache"}
    first, last = done.stdout.splitlines()
    assert "fp16 for NVIDIA Tegra X1 (compute capability 5.3), TensorRT 8.2.1.8" in first
    assert f"wrote {folder / 'm.engine'}" in last
    sidecar = json.loads((folder / "m.engine.json").read_text())
    assert sidecar["precision"] == "fp16"
    assert sidecar["max_batch"] == 8
    assert sidecar["library_sha256"] == ""
    assert sidecar["metadata"]["shiftadd.labels"] == json.dumps(LABELS)
    log = (folder / "m.log").read_text(encoding="utf-8")
    assert "[VERBOSE] timed the layers of" in log
    assert "stem          ShiftConv  Row major linear FP16 format  k\u00ferzer" in log
    assert "[reformat 1]" in log


@pytest.mark.parametrize(
    ("gpu", "asked", "expected"),
    [
        ({}, [], "fp16"),
        ({"fast_fp16": False}, [], "fp32"),
        ({}, ["--precision", "fp32"], "fp32"),
    ],
)
def test_the_precision_is_the_gpus_or_the_one_asked_for(
    machine: Machine, model: Path, gpu: dict[str, object], asked: list[str], expected: str
) -> None:
    machine.gpu = gpu
    engine = machine.build(model, *asked)
    assert json.loads(Path(f"{engine}.json").read_text())["precision"] == expected
    assert f'"precision": "{expected}"'.encode() in engine.read_bytes()


def test_the_default_output_stands_in_the_build_folder(
    machine: Machine, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "device" / "runtime"
    shutil.copytree(Path(__file__).resolve().parents[2] / "runtime", copy)
    done = subprocess.run(
        [machine.python, copy / "build_engine.py", model],
        capture_output=True, encoding="utf-8", env=environment(**machine.variables()), timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    engines = tmp_path / "device" / "build" / "engines"
    assert {path.name for path in engines.iterdir()} == {
        "m.fp16.engine", "m.fp16.engine.json", "m.fp16.log", "timing.cache",
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_the_timing_cache_is_used_again(machine: Machine, model: Path, version: str) -> None:
    machine.version = version
    log, cache = machine.folder / "m.log", machine.folder / "timing.cache"
    machine.build(model)
    assert "timed the layers" in log.read_text(encoding="utf-8")
    kept = cache.read_bytes()
    machine.build(model)
    assert "timed the layers" not in log.read_text(encoding="utf-8")
    assert cache.read_bytes() == kept
    machine.build(model, "--precision", "fp32")
    assert "timed the layers" in log.read_text(encoding="utf-8")
    assert len(cache.read_bytes()) > len(kept)


@pytest.mark.parametrize("content", [b"no cache", b"{}", None])
def test_a_timing_cache_that_is_of_no_use_is_ignored_with_a_line(
    machine: Machine, model: Path, content: bytes | None
) -> None:
    cache = machine.folder / "timing.cache"
    if content is None:
        machine.gpu = XAVIER
        machine.build(model)
        machine.gpu = {}
    else:
        cache.write_bytes(content)
    engine = machine.folder / "m.engine"
    done = machine.run("build_engine.py", model, "--output", engine)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{cache}: damaged, or of another TensorRT or GPU" in done.stdout
    again = machine.run("build_engine.py", model, "--output", engine)
    assert "damaged" not in again.stdout


def test_int8_is_refused_where_the_gpu_has_none(machine: Machine, model: Path) -> None:
    done = machine.run("build_engine.py", model, "--precision", "int8")
    assert_refused(
        done, "m.onnx", "no int8 on this GPU: NVIDIA Tegra X1 (compute capability 5.3)",
        "--precision fp16", "MODEL.int8.onnx",
    )  # fmt: skip
    assert done.stdout == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_that_tensorrt_cannot_read(
    machine: Machine, tmp_path: Path, rng: np.random.Generator, version: str
) -> None:
    machine.version = version
    model, _ = linear(tmp_path / "m.onnx", rng)
    model.write_bytes(model.read_bytes().replace(b"GlobalAveragePool", b"GlobalAveragePuul"))
    engine = tmp_path / "engines" / "m.engine"
    done = machine.run("build_engine.py", model, "--output", engine)
    assert_refused(
        done, "m.onnx: TensorRT cannot read the model: In node 0", "GlobalAveragePuul",
        "and nothing else", f"TensorRT's whole log: {engine.with_suffix('.log')}",
    )  # fmt: skip
    assert [path.name for path in engine.parent.iterdir()] == ["m.log"]


def test_a_build_that_fails_leaves_the_older_engine(
    machine: Machine, model: Path, image: Path
) -> None:
    engine = machine.build(model)
    machine.gpu = {"build_fails": True}
    done = machine.run("build_engine.py", model, "--output", engine)
    assert_refused(
        done, "TensorRT cannot build the engine: 10: [optimizer.cpp] Could not find any "
        "implementation for node 0; 2: [builder.cpp] Assertion",
    )  # fmt: skip
    assert "Could not find any" in (machine.folder / "m.log").read_text()
    machine.gpu = {}
    assert predictions(machine.run("infer.py", engine, image, "--json"))


@pytest.mark.parametrize("python", PYTHONS)
def test_an_interrupted_build_ends_at_once_and_leaves_nothing(
    machine: Machine, model: Path, python: str
) -> None:
    machine.python = interpreter(python)
    folder = machine.folder / "engines"
    building = command(machine.python, "build_engine.py", model, "--output", folder / "m.engine")
    variables = machine.variables() | {"STANDIN_BUILD_SECONDS": "60"}
    with interruptible(building, subprocess.PIPE, **variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"building ")
        while not list(folder.glob(".m.log.*")):
            time.sleep(0.05)
        time.sleep(0.2)
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert time.perf_counter() - start < 20
    assert (process.returncode, rest, errors) == (130, b"", b"")
    assert list(folder.iterdir()) == []


def test_a_long_build_shows_the_time_on_a_terminal(machine: Machine, model: Path) -> None:
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        command(machine.python, "build_engine.py", model, "--output", machine.folder / "m.engine"),
        stdout=subprocess.DEVNULL, stderr=writer,
        env=environment(**machine.variables(), STANDIN_BUILD_SECONDS="1.5"),
    )  # fmt: skip
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
    assert b"building 0:01" in drawn
    assert drawn.endswith(b"\r\x1b[K")


def test_an_engine_of_another_machine_is_refused(
    each_machine: Machine, model: Path, image: Path
) -> None:
    machine = each_machine
    engine = machine.build(model)
    built, machine.version = machine.version, "8.2.1.9"
    done = machine.run("infer.py", engine, image)
    assert_refused(
        done, f"{engine}: built with TensorRT {built}, here is 8.2.1.9: build it again",
        "make engine MODEL=small PRECISION=fp16",
        f"python3 runtime/build_engine.py {model} --precision fp16 --max-batch 8 --output {engine}",
    )  # fmt: skip
    machine.version, machine.gpu = built, dict(DESKTOP)
    assert_refused(
        machine.run("infer.py", engine, image), "built on the GPU NVIDIA Tegra X1 of compute "
        "capability 5.3, here is a desktop's of compute capability 8.6: build it again",
    )  # fmt: skip


def test_engine_files_that_cannot_be_used(
    machine: Machine, model: Path, image: Path, tmp_path: Path
) -> None:
    engine = machine.build(model)
    sidecar = Path(f"{engine}.json")
    assert_refused(machine.run("infer.py", tmp_path / "none.engine", image), "none.engine: cannot")
    whole, text = engine.read_bytes(), sidecar.read_text()
    for content in (b"", whole[:10], whole[:-1], whole + b"\0"):
        engine.write_bytes(content)
        assert_refused(
            machine.run("infer.py", engine, image), "m.engine: truncated, damaged or of another"
        )
    engine.write_bytes(whole)
    sidecar.write_text(text[: len(text) // 2])
    assert_refused(
        machine.run("infer.py", engine, image), "m.engine.json is damaged (it is not JSON)"
    )
    sidecar.write_text(text.replace('contract_version": "1"', 'contract_version": "2"'))
    assert_refused(machine.run("infer.py", engine, image), "version 2 of the operator contract")
    sidecar.unlink()
    assert_refused(
        machine.run("infer.py", engine, image), "m.engine.json is missing", "make engine"
    )


def test_a_missing_plugin_library(
    machine: Machine, image: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, _ = shift(tmp_path / "m.onnx", rng)
    library = runtime_standins.plugin_library(tmp_path, machine.operator_library)
    engine = machine.build(model, "--library", library)
    # A deployed copy: no library beside it and no checkout around it.
    copy = tmp_path / "device" / "runtime"
    shutil.copytree(Path(__file__).resolve().parents[2] / "runtime", copy)
    for script, file in (("infer.py", engine), ("build_engine.py", model)):
        done = subprocess.run(
            [machine.python, copy / script, file, *([image] if script == "infer.py" else [])],
            capture_output=True, encoding="utf-8", env=environment(**machine.variables()),
            timeout=120,
        )  # fmt: skip
        assert_refused(
            done, f"{file}: needs the plugin library for ShiftConv", "make tensorrt-plugins",
            "--library or SHIFTADD_TENSORRT_LIBRARY",
        )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_a_library_without_the_plugin(
    machine: Machine, tmp_path: Path, rng: np.random.Generator, version: str
) -> None:
    machine.version = version
    operators = metadata(operators='["QLinearShiftConv"]')
    model, _ = linear(tmp_path / "m.onnx", rng, operators)
    library = runtime_standins.plugin_library(tmp_path, machine.operator_library)
    done = machine.run("build_engine.py", model, "--library", library)
    assert_refused(done, f"the plugin library {library} has no plugin for QLinearShiftConv")


def test_an_engine_of_another_plugin_library_says_so(
    machine: Machine, image: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Only where TensorRT refuses the engine: an equal library may be built twice."""
    model, _ = shift(tmp_path / "m.onnx", rng)
    library = runtime_standins.plugin_library(tmp_path, machine.operator_library)
    engine = machine.build(model, "--library", library)
    with library.open("ab") as file:
        file.write(b"\0")
    assert predictions(machine.run("infer.py", engine, image, "--json", "--library", library))
    machine.gpu = {"refuses_engines": True}
    done = machine.run("infer.py", engine, image, "--library", library)
    assert_refused(done, "TensorRT cannot read the engine", "another build of the plugin library")


@pytest.mark.parametrize("package", ["tensorrt", "pycuda"])
@pytest.mark.parametrize("python", PYTHONS)
def test_missing_packages_are_one_line(
    machine: Machine, model: Path, image: Path, python: str, package: str
) -> None:
    machine.python = interpreter(python)
    engine = machine.build(model)
    standins = machine.folder / "standins"
    absent = f"raise ImportError('No module named {package}', name='{package}')\n"
    if package == "tensorrt":
        (standins / "tensorrt.py").write_text(absent)
        parts = ["tensorrt cannot be imported", "python3-libnvinfer", "pip install tensorrt"]
    else:
        (standins / "pycuda" / "__init__.py").write_text(absent)
        parts = ["pycuda cannot be imported", "python3 -m pip install pycuda"]
    for script, file in (("infer.py", engine), ("build_engine.py", model)):
        arguments = [file, image] if script == "infer.py" else [file]
        done = run(machine.python, script, *arguments, PYTHONPATH=str(standins))
        assert_refused(done, *parts)


def test_a_folder_that_only_looks_like_tensorrt_is_not_taken_for_it(
    machine: Machine, model: Path, tmp_path: Path
) -> None:
    """Python imports any folder of the name, such as a package of type stubs leaves behind."""
    machine.build(model)
    standins = machine.folder / "standins"
    (standins / "tensorrt.py").unlink()
    (standins / "tensorrt").mkdir()
    done = run(machine.python, "build_engine.py", model, PYTHONPATH=f"{standins}:{Path.cwd()}")
    assert_refused(done, "tensorrt cannot be imported (cannot import name 'ILogger'")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("MODEL.onnx",)),
        (("none.onnx",), ("none.onnx: cannot read the model: No such file",)),
        (("photo.png",), ("photo.png: not an ONNX model",)),
        (("bare.onnx",), ("bare.onnx", "shiftadd.labels", "make export")),
        (("m.onnx", "--precision", "fp8"), ("--precision", "'fp8'", "fp16")),
        (("m.onnx", "--workspace", "0"), ("--workspace", "'0'")),
        (("m.onnx", "--max-batch", "-1"), ("--max-batch", "'-1'")),
        (("m.onnx", "--output", "m.bin"), ("--output m.bin", ".engine or .plan")),
        (("m.onnx", "--output", "photo.png/m.engine"), ("photo.png/m", "cannot write")),
        (("m.onnx", "--library", "none.so"), ("none.so", "--library")),
    ],
)
def test_bad_usage(
    machine: Machine,
    model: Path,
    image: Path,
    rng: np.random.Generator,
    arguments: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    linear(model.with_name("bare.onnx"), rng, {})
    done = run(
        machine.python, "build_engine.py", *arguments, cwd=image.parent, **machine.variables()
    )
    assert_refused(done, *parts)


@pytest.mark.parametrize("script", ["build_engine.py", "infer.py", "evaluate.py"])
def test_help_needs_no_engine(machine: Machine, script: str) -> None:
    done = run(machine.python, script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "engine" in done.stdout
    assert "libshiftadd_tensorrt.so" in done.stdout


def test_a_larger_picture_than_the_profile_is_no_matter(
    machine: Machine, model: Path, image: Path
) -> None:
    """Images are brought to the model's size before the engine sees them."""
    machine.version = NEW
    engine = machine.build(model, "--max-batch", "1", output="m.plan")
    assert SIZE[1:] != (70, 90)
    assert predictions(machine.run("infer.py", engine, image, "--json"))
    assert Path(f"{engine}.json").is_file()
