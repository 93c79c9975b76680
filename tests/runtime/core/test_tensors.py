"""Arrays that are given for a model's inputs."""

from typing import Any

import numpy as np
import pytest

from runtime.core.errors import ModelError
from runtime.core.tensors import Tensor, blank, fitted

FLOAT, INDEX = np.dtype(np.float32), np.dtype(np.int64)
INPUTS = [Tensor("image", ("N", 3, 4), FLOAT), Tensor("words", ("N", "length"), INDEX)]


def test_arrays_become_contiguous_and_of_the_inputs_types(rng: np.random.Generator) -> None:
    image = np.asfortranarray(rng.normal(size=(2, 3, 4)))
    words = rng.integers(-9, 9, size=(2, 5)).astype(np.int16)
    ready = fitted({"words": words, "image": image}, INPUTS)
    assert [ready[tensor.name].dtype for tensor in INPUTS] == [FLOAT, INDEX]
    assert all(array.flags.c_contiguous for array in ready.values())
    assert np.array_equal(ready["image"], image.astype(np.float32))
    assert np.array_equal(ready["words"], words)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"words": None}, "no array for 'words': its inputs are image float32 [N, 3, 4]; words"),
        ({"mask": (2, 3)}, "the model has no input 'mask': its inputs are image"),
        ({"image": (2, 3, 5)}, "'image' of shape [2, 3, 5] where [N, 3, 4] is expected"),
        ({"image": (3, 4)}, "'image' of shape [3, 4] where [N, 3, 4] is expected"),
        ({"words": (3, 5)}, "'words' of shape [3, 5] where [2, length] is expected"),
        ({"words": ()}, "'words' of shape [] where [2, length] is expected"),
        ({"words": "float32"}, "'words' is float32 where int64 is expected"),
        ({"image": "complex64"}, "'image' is complex64 where float32 is expected"),
        ({"image": "U3"}, "'image' is <U3 where float32 is expected"),
    ],
)
def test_what_does_not_fit_is_refused(changes: Any, why: str) -> None:
    given: Any = {"image": np.zeros((2, 3, 4), FLOAT), "words": np.zeros((2, 5), INDEX)}
    for name, change in changes.items():
        if change is None:
            del given[name]
        elif isinstance(change, str):
            given[name] = given[name].astype(change)
        else:
            given[name] = np.zeros(change, given[name].dtype if name in given else FLOAT)
    with pytest.raises(ModelError) as refused:
        fitted(given, INPUTS)
    assert why in str(refused.value)


def test_a_blank_input_has_one_of_what_is_free() -> None:
    zeros = blank(INPUTS)
    assert {name: array.shape for name, array in zeros.items()} == {
        "image": (1, 3, 4),
        "words": (1, 1),
    }
    assert fitted(zeros, INPUTS).keys() == zeros.keys()
