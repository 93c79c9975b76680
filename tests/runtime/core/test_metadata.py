"""The metadata of a model file: read without the graph, checked, refused in one line."""

import json
import math
from pathlib import Path
from typing import Dict, Union

import numpy as np
import onnx
import pytest
from onnx import helper

from runtime.core.errors import ModelError
from runtime.core.metadata import Classes, Metadata, parse, parse_any
from runtime.core.onnx_header import read_metadata
from tests.support.models.runtime import LABELS, MEAN, SIZE, STD, linear, metadata


def refusal(properties: Dict[str, str]) -> str:
    with pytest.raises(ModelError) as caught:
        parse(properties)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parse_gives_every_entry() -> None:
    parsed = parse(metadata(checkpoint_sha256="ab12", operators='["AdderConv"]'))
    assert parsed == Metadata(
        contract_version=1,
        model="small",
        target="standard",
        input_size=SIZE,
        resize=24,
        mean=MEAN,
        std=STD,
        labels=LABELS,
        checkpoint_sha256="ab12",
        operators=("AdderConv",),
    )


def test_other_metadata_is_left_alone() -> None:
    assert parse({**metadata(), "producer": "x", "shiftadd.note": "later"}).model == "small"


REQUIRED = [name for name in Metadata._fields if name != "classes"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_entry_is_named_with_the_way_to_write_it(name: str) -> None:
    message = refusal(metadata(**{name: None}))
    assert f"shiftadd.{name} is missing" in message
    assert "make export" in message


NO_IMAGE = {"input_size": "null", "resize": None, "mean": None, "std": None}


def test_a_model_of_other_inputs_needs_nothing_on_images() -> None:
    parsed = parse_any(metadata(**NO_IMAGE))
    assert not parsed.takes_images
    assert parsed.labels == LABELS
    assert parsed.classes == Classes("logits", "logits")
    assert "takes no images" in refusal(metadata(**NO_IMAGE))


def test_a_model_without_classes_needs_no_labels() -> None:
    parsed = parse_any(metadata(classes="null", labels=None))
    assert parsed.takes_images
    assert (parsed.classes, parsed.labels) == (None, ())
    assert "no output with classes" in refusal(metadata(classes="null", labels=None))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "or null is expected"),
        ('{"output": "y"}', "or null is expected"),
        ('{"output": 1, "values": "logits"}', "logits, probabilities, logit, probability"),
        ('{"output": "y", "values": "scores"}', "logits, probabilities, logit, probability"),
        ('{"output": "y", "values": "logit"}', "7 names where one logit tells two classes apart"),
        ("{", "not JSON"),
    ],
)
def test_classes_that_do_not_fit_are_refused(text: str, why: str) -> None:
    assert why in refusal(metadata(classes=text))


def test_all_missing_entries_are_named() -> None:
    message = refusal({})
    assert all(f"shiftadd.{name}" in message for name in REQUIRED)


def test_a_newer_contract_is_refused_with_both_versions_even_if_entries_are_gone() -> None:
    message = refusal(metadata(contract_version="7", labels=None))
    assert "version 7" in message
    assert "version 1" in message


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("contract_version", "one", "version from 1"),
        ("contract_version", "0", "version from 1"),
        ("target", "orin", "jetson-nano, portable, standard"),
        ("input_size", "[3, 32", "not JSON"),
        ("input_size", "[4, 32, 32]", "[3, height, width]"),
        ("input_size", "[3, 32]", "[3, height, width]"),
        ("input_size", "[3, 32, 0]", "positive integers"),
        ("input_size", "[3, 32.5, 32]", "positive integers"),
        ("resize", "true", "positive integers"),
        ("resize", '"24"', "positive integers"),
        ("mean", "[0.5, 0.5]", "three finite numbers"),
        ("mean", "[0.5, 0.5, NaN]", "three finite numbers"),
        ("mean", "[0.5, 0.5, 1" + "0" * 400 + "]", "shiftadd.mean"),
        ("std", "[0.5, 0.0, 0.5]", "three positive numbers"),
        ("labels", '{"cat": 0}', "list of strings"),
        ("labels", '["cat", 1]', "list of strings"),
        ("operators", "[" * 100000, "shiftadd.operators"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(name: str, text: str, why: str) -> None:
    message = refusal(metadata(**{name: text}))
    assert f"shiftadd.{name}" in message
    assert why in message


def test_entries_that_do_not_fit_each_other() -> None:
    message = refusal(metadata(resize="23"))
    assert "23" in message
    assert "20x24" in message
    assert "empty" in refusal(metadata(labels="[]"))


def test_a_grey_model_has_one_mean_and_one_deviation() -> None:
    grey = {"input_size": "[1, 20, 24]", "mean": "[0.4]", "std": "[0.2]"}
    parsed = parse(metadata(**grey))
    assert (parsed.input_size, parsed.mean, parsed.std) == ((1, 20, 24), (0.4,), (0.2,))
    assert "shiftadd.mean" in refusal(metadata(**{**grey, "mean": "[0.4, 0.5, 0.6]"}))
    assert "shiftadd.std" in refusal(metadata(std="[0.2]"))


def test_the_header_is_what_onnx_reads(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng, metadata(labels=json.dumps(["Schildkröte", "猫"])))
    expected = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert read_metadata(str(path)) == expected
    assert json.loads(expected["shiftadd.labels"]) == ["Schildkröte", "猫"]


def test_the_header_steps_over_weights_and_unknown_fields(tmp_path: Path) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    helper.set_model_props(model, {"a": "b" * 300, "empty": ""})
    # Fields of every wire type that no ModelProto has: varint, fixed64, bytes, fixed32.
    unknown = b"\xa0\x06\x96\x01" + b"\xa1\x06" + b"8" * 8 + b"\xa2\x06\x03abc" + b"\xa5\x06abcd"
    path = tmp_path / "m.onnx"
    path.write_bytes(unknown + model.SerializeToString() + unknown)
    assert read_metadata(str(path)) == {"a": "b" * 300, "empty": ""}


def read_or_refused(path: Path) -> Union[Dict[str, str], str]:
    """The metadata of a file, or the message of its refusal."""
    try:
        return read_metadata(str(path))
    except ModelError as error:
        return str(error)


def test_every_truncation_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    whole = path.read_bytes()
    complete = len(read_metadata(str(path)))
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        entries = read_or_refused(path)
        if isinstance(entries, str):
            assert "ONNX model" in entries
        else:
            # A cut between two fields leaves a valid message, which lacks the entries behind it.
            assert len(entries) < complete
            assert "missing" in refusal(entries)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"\xff" * 64, b"not a model\n" * 20, bytes(range(256))]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        read_metadata(str(path))


def test_random_bytes_never_crash_the_reader(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.onnx"
    refused = 0
    for _ in range(300):
        path.write_bytes(rng.bytes(int(rng.integers(1, 200))))
        refused += isinstance(read_or_refused(path), str)
    assert refused > 290


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_metadata(str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="directory"):
        read_metadata(str(tmp_path))


def test_parsed_numbers_are_finite() -> None:
    parsed = parse(metadata())
    assert all(math.isfinite(value) for value in parsed.mean + parsed.std)
