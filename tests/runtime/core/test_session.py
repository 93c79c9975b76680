"""Sessions: loading, running, classifying, and finding the operator library."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List, Optional

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import runtime
from runtime.core import elf, library, places
from runtime.core.errors import DataError, ModelError
from runtime.core.images import open_image
from runtime.core.session import softmax
from runtime.engines import onnxruntime as onnxruntime_package
from runtime.engines.onnxruntime import backend as onnxruntime_backend
from runtime.engines.onnxruntime.backend import OnnxRuntimeSession
from runtime.engines.onnxruntime.native_stderr import NativeStderr
from tests.support.models.runtime import (
    LABELS,
    SIZE,
    constant,
    linear,
    metadata,
    photo,
    save,
    several,
    shift,
)


def refusal(path: Path, library: Optional[str] = None) -> str:
    with pytest.raises(ModelError) as caught:
        runtime.load(str(path), library)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_run_gives_logits(tmp_path: Path, rng: np.random.Generator) -> None:
    path, weight = linear(tmp_path / "m.onnx", rng)
    session = runtime.load(path, threads=1)
    batch = rng.normal(size=(5, *SIZE)).astype(np.float32)
    expected = batch.astype(float).mean(axis=(2, 3)) @ weight.astype(float).T
    logits = session.run(batch)
    assert logits.dtype == np.float32
    assert np.linalg.norm(logits - expected) <= 2e-6 * np.linalg.norm(expected)


def test_run_takes_any_memory_layout(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    batch = rng.normal(size=(2, *SIZE)).astype(np.float32)
    strided = np.asfortranarray(batch)
    assert np.array_equal(session.run(strided), session.run(batch))
    assert np.array_equal(session.run(batch.astype(np.float64)), session.run(batch))


def test_arrays_by_name_give_outputs_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    path, weight = several(tmp_path / "m.onnx", rng)
    session = runtime.load(path)
    signal = rng.normal(size=(3, 2, 9)).astype(np.float32)
    features = rng.normal(size=(3, 5)).astype(np.float32)
    outputs = session.run({"features": features, "signal": signal})
    expected = signal.astype(float).mean(2) @ weight.astype(float).T + features
    assert list(outputs) == ["both", "twice"]
    assert np.linalg.norm(outputs["both"] - expected) <= 2e-6 * np.linalg.norm(expected)
    assert np.array_equal(outputs["twice"], 2 * signal)
    assert [str(tensor) for tensor in session.inputs] == [
        "signal float32 [N, 2, 9]", "features float32 [N, 5]",
    ]  # fmt: skip


def test_a_classifier_gives_its_outputs_by_name_too(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    images = rng.normal(size=(2, *SIZE)).astype(np.float32)
    outputs = session.run({"input": images})
    assert list(outputs) == ["logits"]
    assert np.array_equal(outputs["logits"], session.run(images))


def test_a_model_without_classes_has_none_and_says_so(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    session = runtime.load(several(tmp_path / "m.onnx", rng)[0])
    with pytest.raises(DataError, match="no output with classes: give it arrays by name, of sig"):
        session.run(np.zeros((1, 2, 9), np.float32))
    with pytest.raises(DataError, match="takes no images: give it arrays by name"):
        session.classify([photo(rng)])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0.1, 0.2, 0.7], "probabilities", [0.1, 0.2, 0.7]),
        ([1.2], "logit", [1 - 1 / (1 + np.exp(-1.2)), 1 / (1 + np.exp(-1.2))]),
        ([-40.0], "logit", [1, np.exp(-40)]),
        ([0.125], "probability", [0.875, 0.125]),
        ([1.0], "probability", [0, 1]),
    ],
)
def test_probabilities_come_from_what_the_file_says_of_its_classes(
    tmp_path: Path,
    rng: np.random.Generator,
    values: List[float],
    kind: str,
    expected: List[float],
) -> None:
    classes = json.dumps({"output": "logits", "values": kind})
    labels = json.dumps([f"class {i}" for i in range(len(expected))])
    entries = metadata(classes=classes, labels=labels)
    session = runtime.load(constant(tmp_path / "m.onnx", values, entries))
    for row in session.classify([photo(rng), photo(rng)], 9):
        found = {prediction.class_index: prediction.probability for prediction in row}
        assert found == pytest.approx(dict(enumerate(expected)), rel=1e-5)
        assert [p.class_index for p in row] == sorted(found, key=lambda i: -expected[i])


def test_concurrent_runs_agree(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0], threads=1)
    batches = [rng.normal(size=(3, *SIZE)).astype(np.float32) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(session.run, batches))
    for batch, logits in zip(batches, together):
        assert np.array_equal(logits, session.run(batch))


def test_classify_takes_pixels_as_it_takes_images(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    images = [photo(rng), photo(rng, 60, 41)]
    pixels = [np.asarray(image) for image in images]
    mirrored = pixels[1][:, ::-1]  # not contiguous
    assert session.classify([pixels[0], images[1]]) == session.classify(images)
    assert session.classify([mirrored]) == session.classify([Image.fromarray(mirrored.copy())])


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (np.zeros((4, 5, 3), np.float32), "float32 [4, 5, 3]"),
        (np.zeros((3, 4, 5), np.uint8), "uint8 [3, 4, 5]"),
        (np.zeros((4, 5), np.uint8), "uint8 [4, 5]"),
        (np.zeros((0, 5, 3), np.uint8), "uint8 [0, 5, 3]"),
        ("photo.jpg", "str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(
    tmp_path: Path, rng: np.random.Generator, picture: object, found: str
) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    with pytest.raises(DataError) as caught:
        session.classify([picture])  # type: ignore[list-item]
    assert found in str(caught.value)
    assert "uint8 [H, W, 3]" in str(caught.value)


def test_a_sideways_photo_from_python_is_the_upright_one(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Given as the pages show it, and as it comes from the command."""
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    upright = photo(rng, 40, 61)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.png"
    Image.fromarray(np.rot90(np.asarray(upright), 1)).save(path, exif=exif)
    expected = session.classify([upright])[0]
    decoded = open_image(str(path), "photo")
    for image in (Image.open(path), Image.open(path).convert("RGB"), decoded):
        assert session.classify([image]) == [expected]


def test_no_images_have_no_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    assert session.classify([]) == []
    assert session.prepare([]).shape == (0, *SIZE)


def test_any_iterable_of_images_will_do(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    pixels = rng.integers(0, 256, size=(3, 30, 40, 3)).astype(np.uint8)
    expected = session.classify(list(pixels))
    assert session.classify(pixels) == expected
    assert session.classify(Image.fromarray(image) for image in pixels) == expected


@pytest.mark.parametrize("kind", ["Pillow's", "pixels", "path", "nothing"])
def test_one_image_is_no_list_of_images(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    image = photo(rng)
    one: Any = {
        "Pillow's": image,
        "pixels": np.asarray(image),
        "path": "photo.png",
        "nothing": None,
    }
    with pytest.raises(DataError, match=r"where a list of images is due: \[image\]"):
        session.classify(one[kind])


@pytest.mark.parametrize("top_k", [0, -1, 2.5, "3", None])
def test_a_number_of_classes_that_is_none_is_refused(
    tmp_path: Path, rng: np.random.Generator, top_k: Any
) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    with pytest.raises(DataError, match=f"top_k is {top_k!r} where a positive integer is due"):
        session.classify([photo(rng)], top_k)


def test_classify_gives_the_best_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    logits = rng.normal(size=len(LABELS)).astype(np.float32)
    session = runtime.load(constant(tmp_path / "m.onnx", list(logits)))
    powers = np.exp(logits.astype(float))
    order = sorted(range(len(LABELS)), key=lambda i: -logits[i])
    for top_k in (1, 3, len(LABELS), 100):
        rows = session.classify([photo(rng), photo(rng)], top_k)
        assert len(rows) == 2
        for row in rows:
            assert [found.class_index for found in row] == order[:top_k]
            assert [found.label for found in row] == [LABELS[i] for i in order[:top_k]]
            for found in row:
                expected = powers[found.class_index] / powers.sum()
                assert found.probability == pytest.approx(expected, rel=1e-5)


def test_equal_logits_stand_in_class_order(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(constant(tmp_path / "m.onnx", [1, 2, 2, 0, 2, 1, 0]))
    found = session.classify([photo(rng)], 5)[0]
    assert [prediction.class_index for prediction in found] == [1, 2, 4, 0, 5]


def test_softmax_does_not_overflow() -> None:
    result = softmax(np.array([[1000, 1000, -1000], [-2000, -2000 + np.log(3), -1e30]], np.float32))
    assert np.allclose(result, [[0.5, 0.5, 0], [0.25, 0.75, 0]], rtol=1e-4, atol=0)


def test_a_model_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "m.onnx"))
    assert "cannot read the model: not a regular file" in refusal(tmp_path / "m.onnx")
    assert "cannot read the model: not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.parametrize("threads", [0, -1, 257, 100_000, 1.5, "2"])
def test_threads_that_are_none_or_without_end_are_refused(
    tmp_path: Path, rng: np.random.Generator, threads: Any
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    with pytest.raises(ModelError, match=f"threads is {threads!r} where 1 to 256 are possible"):
        runtime.load(path, threads=threads)


def test_an_input_of_another_shape_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    session = runtime.load(linear(tmp_path / "m.onnx", rng)[0])
    with pytest.raises(ModelError, match=r"\[3, 20, 24\] where \[N, 3, 20, 24\]"):
        session.run(np.zeros(SIZE, np.float32))
    with pytest.raises(ModelError, match=r"\[1, 3, 24, 20\]"):
        session.run(np.zeros((1, 3, 24, 20), np.float32))


def test_labels_that_do_not_fit_the_output_are_refused_at_load(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng, metadata(labels='["cat", "dog"]'))
    assert "2 labels" in refusal(path)


def test_an_output_that_is_not_finite_is_refused_at_load(tmp_path: Path) -> None:
    assert "not finite" in refusal(constant(tmp_path / "m.onnx", [0, 0, np.nan, 0, 0, 0, 0]))


def test_other_tensor_names_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    path.write_bytes(path.read_bytes().replace(b"logits", b"scores"))
    message = refusal(path)
    assert "scores" in message
    assert "logits" in message


def test_a_broken_graph_is_refused_at_load(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("NoSuchOperator", ["input"], ["logits"], name="stem")]
    assert "NoSuchOperator" in refusal(save(tmp_path / "m.onnx", nodes, {}, metadata()))
    assert capfd.readouterr() == ("", "")


def test_a_missing_engine_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "runtime.engines.onnxruntime.backend")
    monkeypatch.delattr(onnxruntime_package, "backend")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="pip install onnxruntime"):
        runtime.load(tmp_path / "m.onnx")


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place for the runtime package where no operator library lies around."""
    monkeypatch.delenv(library.ONNXRUNTIME.variable, raising=False)
    monkeypatch.setattr(places, "ROOT", str(tmp_path))
    return tmp_path


def test_a_model_that_needs_a_missing_library_says_how_to_get_it(
    no_library: Path, rng: np.random.Generator
) -> None:
    message = refusal(shift(no_library / "m.onnx", rng)[0])
    for part in ("ShiftConv", "make plugins", "--library", library.ONNXRUNTIME.variable):
        assert part in message


def test_a_model_of_standard_operators_needs_no_library(
    no_library: Path, rng: np.random.Generator
) -> None:
    assert runtime.load(linear(no_library / "m.onnx", rng)[0]).metadata.operators == ()


def test_a_portable_model_runs_on_its_function_bodies(
    no_library: Path, rng: np.random.Generator
) -> None:
    path, weight = linear(no_library / "m.onnx", rng)
    model = onnx.load(path)
    body = helper.make_function(
        "shiftadd",
        "Pooled",
        ["X"],
        ["Y"],
        [helper.make_node("GlobalAveragePool", ["X"], ["Y"])],
        [helper.make_opsetid("", 13)],
    )
    model.graph.node[0].op_type, model.graph.node[0].domain = "Pooled", "shiftadd"
    model.functions.append(body)
    helper.set_model_props(model, metadata(target="portable", operators='["Pooled"]'))
    onnx.save(model, path)
    batch = rng.normal(size=(2, *SIZE)).astype(np.float32)
    expected = batch.astype(float).mean(axis=(2, 3)) @ weight.astype(float).T
    logits = runtime.load(path).run(batch)
    assert np.linalg.norm(logits - expected) <= 2e-6 * np.linalg.norm(expected)


def test_a_library_that_is_none_is_refused(no_library: Path, rng: np.random.Generator) -> None:
    path, _ = linear(no_library / "m.onnx", rng)
    other = no_library / "other.so"
    assert f"no operator library at {other}" in refusal(path, library=str(other))
    other.write_bytes(b"no library")
    said = refusal(path, library=str(other))
    assert f"cannot load the operator library {other}: it is no native library" in said


@pytest.mark.parametrize(
    ("number", "order", "name"),
    [(183, "little", "aarch64"), (40, "little", "32-bit ARM"), (21, "big", "64-bit PowerPC"),
     (62, "little", "x86-64"), (999, "little", "machine 999 of ELF")],
)  # fmt: skip
def test_a_library_of_another_machine_is_told_from_this_one(
    no_library: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
    number: int, order: Any, name: str,
) -> None:  # fmt: skip
    """A bundle's library lies beside its runtime, wherever the bundle is unpacked."""
    here = elf.this_machine()
    if name == here:
        monkeypatch.setattr(elf, "this_machine", lambda: "aarch64")
        here = "aarch64"
    path, _ = shift(no_library / "m.onnx", rng)
    beside = no_library / library.ONNXRUNTIME.name
    ident = b"\x7fELF\x02" + (b"\x01" if order == "little" else b"\x02") + bytes(10)
    beside.write_bytes(ident + (3).to_bytes(2, order) + number.to_bytes(2, order) + bytes(44))
    assert refusal(path) == (
        f"{path}: cannot load the operator library {beside}: it is built for {name}, and this "
        f"machine is {here}: build it on this machine with `make plugins`, or point to another "
        "with --library or SHIFTADD_ORT_LIBRARY"
    )


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01", b"version https://git-lfs", None])
def test_what_is_no_library_says_so_in_every_kind(
    no_library: Path, content: Optional[bytes]
) -> None:
    other = no_library / "other.so"
    if content is None:
        other.mkdir()
    else:
        other.write_bytes(content)
    for kind in (library.ONNXRUNTIME, library.TENSORRT):
        with pytest.raises(ModelError) as refused:
            library.check_machine(str(other), kind)
        said = "Is a directory" if content is None else "it is no native library"
        assert f"cannot load the {kind.kind} {other}: {said}" in str(refused.value)


def test_this_machines_library_fits(operator_library: Path) -> None:
    assert elf.machine_of(str(operator_library)) == elf.this_machine()
    library.check_machine(str(operator_library))


def test_the_library_is_searched_in_order(
    no_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library.find() is None
    candidates = [
        no_library / "build" / "plugins" / library.ONNXRUNTIME.name,
        no_library / library.ONNXRUNTIME.name,
        no_library / "variable.so",
        no_library / "named.so",
    ]
    candidates[0].parent.mkdir(parents=True)
    for candidate in candidates:
        candidate.touch()
        if candidate.name == "variable.so":
            monkeypatch.setenv(library.ONNXRUNTIME.variable, str(candidate))
        named = str(candidate) if candidate.name == "named.so" else None
        assert library.find(named) == str(candidate)


def test_a_variable_that_names_nothing_is_refused(
    no_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.ONNXRUNTIME.variable, str(no_library / "gone.so"))
    with pytest.raises(ModelError, match=r"gone\.so \(from SHIFTADD_ORT_LIBRARY\)"):
        library.find()


def test_custom_operators_run_in_the_library(
    tmp_path: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    path, weight = shift(tmp_path / "m.onnx", rng)
    session = runtime.load(path, library=str(operator_library))
    assert isinstance(session, OnnxRuntimeSession)
    batch = rng.normal(size=(4, *SIZE)).astype(np.float32)
    expected = batch.astype(float).mean(axis=(2, 3)) @ weight.T
    bound = np.abs(batch).astype(float).mean(axis=(2, 3)) @ np.abs(weight).T
    assert np.linalg.norm(session.run(batch) - expected) <= 2e-6 * np.linalg.norm(bound)


def test_the_library_is_found_beside_a_deployed_package(
    no_library: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    shutil.copy(operator_library, no_library / library.ONNXRUNTIME.name)
    session = runtime.load(shift(no_library / "m.onnx", rng)[0])
    assert session.metadata.operators == ("ShiftConv",)


def test_a_broken_custom_node_fails_at_load_with_node_field_and_both_values(
    tmp_path: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    path, _ = shift(tmp_path / "m.onnx", rng, weight_bits=5)
    message = refusal(path, library=str(operator_library))
    for part in ("stem/shift", "weight_bits", "5", "4"):
        assert part in message


def test_native_stderr_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with NativeStderr() as printed:
        os.write(2, b"native \xff\n")
        subprocess.run(["sh", "-c", "echo child >&2"], check=True)
    os.write(2, b"after")
    assert printed.text == "native \\xff\nchild\n"
    assert capfd.readouterr().err == "before after"


def test_what_only_the_library_printed_becomes_part_of_the_error(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng, metadata(target="portable", operators='["X"]'))

    def refuse(self: OnnxRuntimeSession) -> None:
        os.write(2, b"node 'a': pads\nalready told\n")
        raise ModelError("unknown exception, already told")

    monkeypatch.setattr(onnxruntime_backend, "_library_prints", lambda: True)
    monkeypatch.setattr(OnnxRuntimeSession, "warm_up", refuse)
    message = refusal(path)
    assert message == f"{path}: unknown exception, already told; node 'a': pads"


def test_other_prints_are_not_lost(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng, metadata(target="portable", operators='["X"]'))
    monkeypatch.setattr(onnxruntime_backend, "_library_prints", lambda: True)
    monkeypatch.setattr(OnnxRuntimeSession, "warm_up", lambda self: os.write(2, b"a warning\n"))
    runtime.load(path)
    assert capfd.readouterr().err == "a warning\n"
