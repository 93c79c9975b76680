"""Inputs from NumPy's files, and the outputs of any model, by the command's `main`."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pytest

import runtime
from runtime import evaluate, infer
from runtime.console import array_files
from runtime.core.errors import DataError, ModelError
from tests.support.models.runtime import LABELS, SIZE, constant, linear, metadata, photo, several


def answered(*arguments: Any) -> Tuple[int, List[str], str]:
    """The exit code of `infer.py arguments`, its lines, and what went to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = infer.main([str(argument) for argument in arguments])
    return code, out.getvalue().splitlines(), err.getvalue()


def inputs(rng: np.random.Generator, count: int = 3) -> Any:
    return {
        "signal": rng.normal(size=(count, 2, 9)).astype(np.float32),
        "features": rng.normal(size=(count, 5)),
    }


def test_a_model_without_classes_shows_and_saves_its_outputs(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    model, weight = several(tmp_path / "m.onnx", rng)
    given = inputs(rng)
    np.savez(str(tmp_path / "in.npz"), **given)
    code, lines, _ = answered(model, tmp_path / "in.npz", "--out", tmp_path / "out.npz")
    assert code == 0
    with np.load(str(tmp_path / "out.npz")) as saved:
        outputs = {name: saved[name] for name in saved.files}
    expected = given["signal"].astype(float).mean(2) @ weight.astype(float).T + given["features"]
    assert list(outputs) == ["both", "twice"]
    assert np.linalg.norm(outputs["both"] - expected) <= 2e-6 * np.linalg.norm(expected)
    assert lines[1:3] == [
        "  {} float32 {}  {:.6g} to {:.6g}".format(n, list(v.shape), v.min(), v.max())
        for n, v in outputs.items()
    ]
    assert lines[3].startswith("  pre-processing ")


def test_as_json(tmp_path: Path, rng: np.random.Generator) -> None:
    model, _ = several(tmp_path / "m.onnx", rng)
    given = inputs(rng)
    given["signal"][0, 1, 2] = np.nan
    np.savez(str(tmp_path / "in.npz"), **given)
    _, (line,), _ = answered(model, tmp_path / "in.npz", "--json")
    twice = json.loads(line)["outputs"]["twice"]
    assert (twice["dtype"], twice["shape"], twice["not_finite"]) == ("float32", [3, 2, 9], 1)
    assert twice["least"] == 2 * float(np.nanmin(given["signal"]))
    assert twice["greatest"] == 2 * float(np.nanmax(given["signal"]))


def test_a_photo_for_a_model_without_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng, metadata(classes="null", labels=None))
    photo(rng).save(str(tmp_path / "photo.png"))
    code, lines, _ = answered(model, tmp_path / "photo.png")
    assert code == 0
    assert lines[1].startswith("  logits float32 [1, 7]  ")


def test_classes_of_arrays_are_those_of_python(tmp_path: Path, rng: np.random.Generator) -> None:
    model, weight = linear(tmp_path / "m.onnx", rng)
    batch = rng.normal(size=(2, *SIZE)).astype(np.float32)
    np.save(str(tmp_path / "in.npy"), batch)
    _, lines, _ = answered(model, tmp_path / "in.npy", "--json", "--top-k", 1)
    expected = (batch.astype(float).mean(axis=(2, 3)) @ weight.astype(float).T).argmax(1)
    found = [json.loads(line) for line in lines]
    assert [row["predictions"][0]["class"] for row in found] == expected.tolist()
    assert [row["file"] for row in found] == [
        "{} [{}]".format(tmp_path / "in.npy", i) for i in range(2)
    ]


def test_one_logit_is_the_second_class(tmp_path: Path) -> None:
    classes = json.dumps({"output": "logits", "values": "logit"})
    entries = metadata(classes=classes, labels='["ham", "spam"]')
    model = constant(tmp_path / "m.onnx", [2.0], entries)
    np.save(str(tmp_path / "in.npy"), np.zeros((1, *SIZE), np.float32))
    _, lines, _ = answered(model, tmp_path / "in.npy")
    assert lines[1].split()[:2] == ["spam", "88.1"]
    assert lines[2].split()[:2] == ["ham", "11.9"]
    assert set(LABELS).isdisjoint(" ".join(lines).split())


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("in.npy", b"", "cannot read the arrays"),
        ("in.npz", b"PK\3\4 and nothing else", "cannot read the arrays"),
        ("in.npy", b"\x93NUMPY\1\0", "cannot read the arrays"),
        ("none.npy", None, "no such file"),
        ("in.npy", np.zeros((1, 2, 9)), "one array where the model takes signal, features"),
        ("in.npz", {"signal": np.zeros((1, 2, 9))}, "no array for 'features'"),
        ("in.npy", np.array([{}], object), "cannot read the arrays"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(
    tmp_path: Path, rng: np.random.Generator, name: str, content: Any, why: str
) -> None:
    model, _ = several(tmp_path / "m.onnx", rng)
    path = str(tmp_path / name)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    code, lines, errors = answered(model, path)
    assert (code, lines) == (2, [])
    assert errors.startswith("error: " + path)
    assert why in errors
    assert len(errors.splitlines()) == 1


def test_any_damage_to_a_file_is_a_data_error(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(several(tmp_path / "m.onnx", rng)[0])
    path = tmp_path / "in.npz"
    np.savez(str(path), **inputs(rng))
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole[: int(rng.integers(len(whole)))] if rng.random() < 0.5 else whole)
        for at in rng.integers(0, max(len(damaged), 1), size=3):
            damaged[at : at + 1] = rng.bytes(1)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(DataError, ModelError):
            array_files.read(str(path), session)


def test_commands_for_classifiers_refuse_other_models(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    others = [
        (several(tmp_path / "several.onnx", rng)[0], "takes no images"),
        (linear(tmp_path / "m.onnx", rng, metadata(classes="null", labels=None))[0], "no output"),
    ]
    for model, why in others:
        with pytest.raises(ModelError, match=why + ".* runtime/infer.py MODEL INPUT.npz runs any"):
            evaluate.main([str(model), str(tmp_path)])


def test_outputs_may_have_any_name(tmp_path: Path, rng: np.random.Generator) -> None:
    value = rng.normal(size=3)
    array_files.write(str(tmp_path / "out.npz"), {"file": value, "a/b": 2 * value})
    with np.load(str(tmp_path / "out.npz")) as saved:
        assert np.array_equal(saved["file"], value)
        assert np.array_equal(saved["a_b"], 2 * value)
