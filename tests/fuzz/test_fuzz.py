"""Every fuzz target for a moment; what was found before; and that a finding would be one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.console.commandline import leave
from runtime.core import image_sets
from runtime.core.errors import DataError, ModelError
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from runtime.core.session import Session
from runtime.core.tensors import Tensor
from tests.fuzz import __main__ as command
from tests.fuzz import campaign, corpus, models, native, readers
from tests.fuzz.seeds import SEEDS, image
from tests.support.models.runtime import metadata

# Of the readers: what was found in C++ is run by its program, in each run of it.
KEPT = [(target, name) for target in campaign.READERS for name in corpus.read(target)]


@pytest.mark.slow
@pytest.mark.usefixtures("operator_library")
@pytest.mark.parametrize("target", [*campaign.READERS, *native.NATIVE_TARGETS, "models"])
def test_a_moment_of_it(target: str, tmp_path: Path) -> None:
    outcome = campaign.run(target, 4 if target == "models" else 2, tmp_path)
    assert outcome.findings == [], outcome.log.read_text(errors="replace")[-4000:]
    assert outcome.runs > 50
    assert re.match(r"cov: \d\d|[1-9]\d* ran", outcome.reached)


@pytest.mark.parametrize(("target", "name"), KEPT)
def test_what_was_found_before(target: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    readers.prepare(target)(corpus.read(target)[name])


@pytest.mark.parametrize("target", native.NATIVE_TARGETS)
def test_every_program_has_inputs_to_begin_with(target: str) -> None:
    assert len(corpus.read(target)) > 100


def test_an_archive_is_the_same_whatever_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {"0": b"one", "1": b"", "2": bytes(range(256))}
    first = corpus.add("image", inputs, tmp_path / "first").read_bytes()
    for name, data in inputs.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(corpus.add, "__defaults__", (tmp_path / "second",))
    monkeypatch.setattr(corpus.read, "__defaults__", (tmp_path / "second",))
    for name in ("1", "0", "2", "1"):
        assert command.main(["image", "--keep", str(tmp_path / name)]) == 0
    assert "image.zip: 3 inputs" in capsys.readouterr().out
    assert (tmp_path / "second" / "image.zip").read_bytes() == first
    assert command.main(["image", "--keep", str(tmp_path / "none")]) == 2
    assert f"{tmp_path}/none: No such file" in capsys.readouterr().err
    monkeypatch.setattr(corpus, "FOLDER", tmp_path / "second")
    unpacked = corpus.unpack("image", tmp_path / "unpacked")
    assert unpacked is not None
    assert {path.name: path.read_bytes() for path in unpacked.iterdir()} == inputs


@pytest.mark.parametrize("target", SEEDS)
def test_seeds_are_sound(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that is refused would keep the fuzzer at the door."""
    monkeypatch.setattr(readers, "ShiftAddError", ())
    seeds = SEEDS[target]()
    assert seeds == SEEDS[target]()
    for seed in seeds:
        readers.READERS[target](seed)


# ---- what was found


def test_an_error_is_one_line_whatever_a_file_holds() -> None:
    error = ModelError("set.zip/a\nb\x0b/\u2028c.png: cannot unpack")
    assert str(error) == "set.zip/a b / c.png: cannot unpack"
    assert str(DataError(f"x.png: {error}")) == f"x.png: {error}"


@pytest.mark.parametrize("size", ["4097", "60000", "4294967296", "9" * 30])
def test_an_input_beyond_memory_is_refused(size: str) -> None:
    with pytest.raises(ModelError, match=r"shiftadd\.resize is '\d+': at most 4096 pixels"):
        parse(metadata(input_size=f"[3, {size}, {size}]", resize=size))
    assert parse(metadata(input_size="[3, 4096, 4096]", resize="4096")).resize == 4096


class Unreached(Session):
    """A session whose engine is not asked."""

    def _execute(self, inputs: object) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        raise AssertionError("an input that there was no memory for")


def test_no_memory_for_the_first_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    image = Tensor("input", ("N", 3, 20, 24), np.dtype(np.float32))
    session = Unreached(parse(metadata()), [image], [image._replace(name="logits")])
    monkeypatch.setattr(np, "zeros", no_memory)
    with pytest.raises(ModelError, match=r"not enough memory .* input float32 \[N, 3, 20, 24\]"):
        session.warm_up()


@pytest.mark.parametrize("target", ["engine_sidecar", "calibration_table"])
def test_json_that_can_be_read_and_not_be_shown(target: str) -> None:
    """How deep that is depends on who calls whom."""
    sound = json.loads(SEEDS[target]()[0])
    for key in sound:
        for depth in range(900, 1000):
            nested = json.dumps({**sound, key: "here"}).replace('"here"', "[" * depth + "]" * depth)
            readers.READERS[target](nested.encode())


def test_a_file_of_nothing_but_small_fields_is_no_model(tmp_path: Path) -> None:
    model = SEEDS["metadata"]()[0]
    path = tmp_path / "m.onnx"
    ir_version = b"\x08\x07"
    path.write_bytes(1000 * ir_version + model)
    assert "shiftadd.model" in read_metadata(str(path))
    path.write_bytes(70_000 * ir_version + model)
    with pytest.raises(ModelError, match="not an ONNX model"):
        read_metadata(str(path))


def test_a_file_that_a_zip_holds_may_not_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(SEEDS["image_archive"]()[0])
    size = len(image())
    monkeypatch.setattr(image_sets, "_LARGEST_MEMBER", size)
    assert image_sets.ImageFolder(path).open(0).mode == "RGB"
    monkeypatch.setattr(image_sets, "_LARGEST_MEMBER", size - 1)
    with pytest.raises(DataError, match=rf"cat/1.png: cannot unpack: more than {size - 1} bytes"):
        image_sets.ImageFolder(path).open(0)


def test_a_command_without_memory_says_so_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: object) -> int:
        raise MemoryError

    with pytest.raises(SystemExit, match="2"):
        leave(fails)
    assert capsys.readouterr().err.startswith("error: not enough memory")


# ---- whether a finding would be told


def test_what_readers_must_not_raise() -> None:
    for wrong in (ValueError("x"), MemoryError(), RecursionError(), OverflowError()):
        with pytest.raises(type(wrong)), readers.refusals():
            raise wrong
    with readers.refusals():
        raise ModelError("a line")


@pytest.mark.slow
def test_a_reader_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fuzzer's own process, which looks for the reader by its name."""
    script = (
        "import sys, atheris\n"
        "def fails(data):\n"
        "    if len(data) > 2: raise KeyError('found')\n"
        "atheris.Setup(sys.argv, fails); atheris.Fuzz()"
    )
    monkeypatch.setattr(campaign, "command", lambda _: [sys.executable, "-c", script])
    outcome = campaign.run("calibration_cache", 20, tmp_path)
    assert [path.parent.name for path in outcome.findings] == ["calibration_cache"]
    assert "KeyError: 'found'" in outcome.log.read_text()


@pytest.mark.parametrize("end", ["os.abort()", "sys.exit(1)", "time.sleep(60)"])
def test_a_model_that_ends_its_process_is_found(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; folder = Path(sys.argv[1]);"
        "(folder / 'current.npz').touch(); (folder / 'current.onnx').write_bytes(b'this one');"
        + end
    )
    monkeypatch.setattr(campaign, "_MODELS_CHILD", [sys.executable, "-c", script])
    monkeypatch.setattr(campaign, "_HANG_SECONDS", 1)
    monkeypatch.setattr(campaign, "instruction_sets", lambda: ["portable"])
    monkeypatch.setattr(campaign, "BUILD", tmp_path)
    outcome = campaign.run("models", 1, tmp_path)
    assert [path.read_bytes() for path in outcome.findings] == [b"this one"]
    monkeypatch.setattr(campaign, "run", lambda *_: outcome)
    assert command.main(["models", "--seconds", "1"]) == 1
    assert str(outcome.findings[0]) in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("operator_library")
def test_damage_reaches_every_rule(rng: np.random.Generator, tmp_path: Path) -> None:
    """Models that run, and models that the library refuses for many a reason."""
    answers = set()
    for _ in range(300):
        model, inputs = models.make(rng)
        try:
            answers.add(models.run(model.SerializeToString(), inputs, rng))
        except ValueError:
            continue
    told = re.findall(r"shiftadd\.\w+ node '[^']*': ([\w ]+): expected", " ".join(answers))
    assert "ran" in answers
    assert len(set(told)) >= 6, sorted(set(told))


def test_the_command_says_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["nothing"])
    assert "no target nothing; there are metadata" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command.main(["--input", "x"])


def test_without_clang_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "_CLANG", "no-such-clang++")
    assert command.main(["operators"]) == 2
    assert "apt-get install clang" in capsys.readouterr().err
