"""Inputs with the logits that a model has to give for them: what runtime/check.py compares with."""

import io
import zipfile
from typing import Any, NamedTuple

import numpy as np

from runtime.core.arrays import FloatArray
from runtime.core.errors import ModelError, reason
from runtime.core.files import open_regular


class Reference(NamedTuple):
    """The entries of a reference file, an .npz.

    `names` says what the inputs are, [N]; `images` are preprocessed, float32 [N, 3, H, W];
    `logits`, [N, classes], are computed by PyTorch in float64 and rounded to float32, from the
    weights whose file has the SHA-256 `checkpoint_sha256`. `int8_logits`, float32 [N, classes], are
    what ONNX Runtime computes with the integer model, whose file has the SHA-256 `int8_sha256`.
    Where there is no integer model the SHA-256 is "" and its logits have the shape [0, classes].
    """

    model: str
    checkpoint_sha256: str
    names: FloatArray
    images: FloatArray
    logits: FloatArray
    int8_sha256: str
    int8_logits: FloatArray


_TEXTS = ("model", "checkpoint_sha256", "int8_sha256")


def to_bytes(reference: Reference) -> bytes:
    """The content of the reference's file; it depends on the entries alone and not on the time."""
    buffer = io.BytesIO()
    np.savez(buffer, **reference._asdict())
    return buffer.getvalue()


def read(path: str) -> Reference:
    """The reference at `path`. Raises ModelError, naming it, where it is missing or damaged."""
    try:
        # np.load is not used, since NumPy 1.19 prints a traceback of its own on a damaged file.
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = {name: _array(archive.read(name + ".npy")) for name in Reference._fields}
    # The readers raise exceptions of nearly every type on bytes that are something else.
    except Exception as error:
        raise ModelError(
            "{}: cannot read the reference: {}: unpack the bundle again".format(path, reason(error))
        ) from error
    for name in _TEXTS:
        entries[name] = str(entries[name])
    reference = Reference(**entries)
    _check(path, reference)
    return reference


def _array(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _check(path: str, reference: Reference) -> None:
    count = len(reference.names)
    shape = reference.logits.shape
    int8_shape = ((count if reference.int8_sha256 else 0),) + shape[1:]
    fits = (
        count > 0
        and reference.images.ndim == 4
        and len(reference.images) == count
        and len(shape) == 2
        and shape[0] == count
        and reference.int8_logits.shape == int8_shape
    )
    if not fits:
        raise ModelError(
            "{}: damaged: its images and logits do not fit together: unpack the bundle "
            "again".format(path)
        )
