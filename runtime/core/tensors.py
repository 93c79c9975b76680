"""A model's inputs and outputs, and arrays that are given for them."""

from typing import Dict, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy as np

from runtime.core.arrays import AnyArray
from runtime.core.errors import ModelError

Extent = Union[int, str]


class Tensor(NamedTuple):
    """An input or output: an extent of `shape` is a number, or the name of one that is free."""

    name: str
    shape: Tuple[Extent, ...]
    dtype: "np.dtype[np.generic]"

    def __str__(self) -> str:
        return "{} {} [{}]".format(self.name, self.dtype, ", ".join(map(str, self.shape)))


def fitted(given: Mapping[str, AnyArray], inputs: Sequence[Tensor]) -> Dict[str, AnyArray]:
    """`given` by name as the model takes it: contiguous, and of the inputs' types.

    A type is changed where no kind of number is lost: float64 and integers become float32, but
    float32 does not become int64.

    Raises ModelError for an input that is missing or unknown, and for another shape or type.
    """
    _check_names(given, inputs)
    free = {}  # type: Dict[str, int]
    ready = {}
    for tensor in inputs:
        array = np.asarray(given[tensor.name])
        _check_shape(array.shape, tensor, free)
        if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
            raise ModelError(
                "the input {!r} is {} where {} is expected".format(
                    tensor.name, array.dtype, tensor.dtype
                )
            )
        ready[tensor.name] = np.ascontiguousarray(array, dtype=tensor.dtype)
    return ready


def blank(inputs: Sequence[Tensor]) -> Dict[str, AnyArray]:
    """Zeros for every input; free extents are 1."""
    return {
        tensor.name: np.zeros(
            [extent if isinstance(extent, int) else 1 for extent in tensor.shape], tensor.dtype
        )
        for tensor in inputs
    }


def _check_names(given: Mapping[str, AnyArray], inputs: Sequence[Tensor]) -> None:
    names = [tensor.name for tensor in inputs]
    for what, wrong in (
        ("no array for", [name for name in names if name not in given]),
        ("the model has no input", sorted(str(name) for name in given if name not in names)),
    ):
        if wrong:
            raise ModelError(
                "{} {}: its inputs are {}".format(
                    what, ", ".join(map(repr, wrong)), "; ".join(map(str, inputs))
                )
            )


def _check_shape(shape: Tuple[int, ...], tensor: Tensor, free: Dict[str, int]) -> None:
    """Holds `shape` against the tensor's, whose free extents are in `free` once they are known."""
    settled = dict(free)
    fits = len(shape) == len(tensor.shape) and all(
        extent == (free.setdefault(due, extent) if isinstance(due, str) else due)
        for extent, due in zip(shape, tensor.shape)
    )
    if not fits:
        # An extent that was settled by an input before this one is shown as a number.
        due = [settled.get(str(extent), extent) for extent in tensor.shape]
        raise ModelError(
            "the input {!r} of shape {} where [{}] is expected".format(
                tensor.name, list(shape), ", ".join(map(str, due))
            )
        )
