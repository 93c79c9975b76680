"""Counting and matching classes by name, for `runtime/evaluate.py`."""

from pathlib import Path

import numpy as np
import pytest

from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder
from runtime.core.selection import class_names, match_classes, subset
from runtime.evaluate import Counts
from tests.support.models.runtime import LABELS, labelled_folder


def test_counting(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(50, 9)).astype(np.float32)
    truth = rng.integers(0, 9, size=50)
    ranks = [int((row > row[c]).sum()) for row, c in zip(logits, truth)]
    counts = Counts()
    counts.add(logits[:20], truth[:20].tolist())
    counts.add(logits[20:], truth[20:].tolist())
    assert counts.images == 50
    assert counts.top1 == sum(rank < 1 for rank in ranks)
    assert counts.top5 == sum(rank < 5 for rank in ranks)


def test_a_constant_output_is_not_always_right() -> None:
    counts = Counts()
    counts.add(np.zeros((8, 8), np.float32), list(range(8)))
    assert (counts.top1, counts.top5) == (1, 5)


def test_a_subset_is_spread_evenly() -> None:
    assert subset(10, None) == list(range(10))
    assert subset(10, 25) == list(range(10))
    assert subset(10, 5) == [0, 2, 4, 6, 8]
    chosen = subset(50000, 77)
    assert len(chosen) == len(set(chosen)) == 77
    assert set(np.diff(chosen).tolist()) == {649, 650}


def test_classes_are_matched_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    root = labelled_folder(tmp_path / "set", rng, ["ship", "cat"], 1)
    data = ImageFolder(str(root))
    assert match_classes(data, LABELS) == [LABELS.index("cat"), LABELS.index("ship")]
    with pytest.raises(DataError, match="does not know 1 of the 2 classes: ship; it knows a, cat"):
        match_classes(data, ["a", "cat"])


def test_a_model_without_names_of_classes_says_how_to_name_them(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    data = ImageFolder(str(labelled_folder(tmp_path / "set", rng, ["ship", "cat"], 1)))
    for labels, remedy in (
        (["class 0", "class 1"], "export it again with their names (LABELS={}, --labels)"),
        (["class 0", "class 1", "class 2"], "with their names (LABELS=file, a name on each line"),
        (["class 1", "class 0"], "name the folders as the model names its classes"),
    ):
        with pytest.raises(DataError) as refused:
            match_classes(data, labels)
        assert "does not know 2 of the 2 classes: cat, ship; it knows class" in str(refused.value)
        assert remedy.format(data.path) in str(refused.value)


def test_classes_that_share_a_label_are_told_apart_by_index(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    labels = ["crane", "cat", "crane", "dog", "dog", "crane"]
    assert class_names(labels) == ["crane#0", "cat", "crane#2", "dog#3", "dog#4", "crane#5"]
    clear = labelled_folder(tmp_path / "clear", rng, ["crane#5", "cat", "crane#0", "dog#3"], 1)
    assert match_classes(ImageFolder(clear), labels) == [1, 0, 5, 3]
    vague = labelled_folder(tmp_path / "vague", rng, ["crane", "cat"], 1)
    with pytest.raises(DataError, match=r"label crane: .* one of crane#0, crane#2, crane#5"):
        match_classes(ImageFolder(vague), labels)
