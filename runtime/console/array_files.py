"""Inputs from NumPy's files, and outputs into them."""

import io
import os
import zipfile
from typing import IO, Any, Dict, Mapping

import numpy as np

from runtime.core import files
from runtime.core.arrays import AnyArray
from runtime.core.errors import DataError, reason
from runtime.core.session import Session

SUFFIXES = (".npy", ".npz")


def is_array_file(path: str) -> bool:
    """Whether the name of the file says that it holds arrays."""
    return path.lower().endswith(SUFFIXES)


def read(path: str, session: Session) -> Dict[str, AnyArray]:
    """The inputs of `session` by name: all arrays of a .npz, or the only input of a .npy.

    Raises DataError for a file that cannot be read, and for a .npy where a model has more inputs.
    """
    names = [tensor.name for tensor in session.inputs]
    try:
        with files.open_regular(path) as file:
            if path.lower().endswith(".npz"):
                return _members(file)
            found = _array(file)
    # NumPy and zipfile raise exceptions of many types for a damaged file: ValueError, EOFError,
    # BadZipFile, NotImplementedError, zlib.error, SyntaxError, MemoryError ...
    except Exception as error:
        raise DataError("{}: cannot read the arrays: {}".format(path, reason(error))) from error
    if len(names) != 1:
        raise DataError(
            "{}: one array where the model takes {}: give a .npz with these names".format(
                path, ", ".join(names)
            )
        )
    return {names[0]: found}


def _members(file: IO[bytes]) -> Dict[str, AnyArray]:
    """The arrays of a .npz. The reader of NumPy 1.19 prints a traceback for a damaged one."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                arrays[name[: -len(".npy")] if name.endswith(".npy") else name] = _array(member)
    return arrays


def _array(file: IO[bytes]) -> AnyArray:
    """Without pickles, which would run whatever a file says."""
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def write(path: str, outputs: Mapping[str, AnyArray]) -> None:
    """Writes the outputs as a .npz. Raises ShiftAddError where it cannot."""
    content = io.BytesIO()
    # numpy.savez takes names as keywords, and "file" is its own.
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in outputs.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, np.asarray(value), allow_pickle=False)
            archive.writestr(name.replace(os.sep, "_") + ".npy", array.getvalue())
    files.replace(path, content.getvalue(), "outputs")


def summary(value: AnyArray) -> Dict[str, Any]:
    """An output's type, shape, and least and greatest finite value (None where there is none), and
    how many of its values are not finite."""
    finite = value[np.isfinite(value)]
    return {
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "least": finite.min().item() if finite.size else None,
        "greatest": finite.max().item() if finite.size else None,
        "not_finite": int(value.size - finite.size),
    }


def line(name: str, value: AnyArray) -> str:
    """`summary` in words."""
    facts = summary(value)
    text = "{} {} {}".format(name, facts["dtype"], facts["shape"])
    if facts["least"] is not None:
        text += "  {:.6g} to {:.6g}".format(facts["least"], facts["greatest"])
    if facts["not_finite"]:
        text += "  {} of {} values are not finite".format(facts["not_finite"], value.size)
    return text
