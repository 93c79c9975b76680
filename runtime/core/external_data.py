"""Weights that lie in other files than the model, which an ONNX file names.

ONNX Runtime 1.10 opens whatever is named, a file outside of the model's folder and a pipe included,
and says "SystemError : 2" where there is none. Newer versions refuse these themselves.
"""

import os
from typing import BinaryIO, List, Set

from runtime.core.errors import ModelError
from runtime.core.files import open_regular
from runtime.core.onnx_header import GRAPH, MalformedError, TruncatedError, entry, fields

# GraphProto.initializer and TensorProto.external_data (onnx.proto3).
_INITIALIZER, _EXTERNAL_DATA = 5, 13


def check_external_data(path: str) -> None:
    """Raises ModelError unless the files of the model's weights are regular ones, in its folder or
    below."""
    folder = os.path.dirname(os.path.abspath(path))
    for location in sorted(_locations(path)):
        if os.path.isabs(location) or ".." in location.split("/"):
            why = "outside of the model's folder"
        elif not os.path.exists(os.path.join(folder, location)):
            why = "which is missing: copy it beside the model"
        elif not os.path.isfile(os.path.join(folder, location)):
            why = "which is not a regular file"
        else:
            continue
        raise ModelError("its weights lie in {}, {}".format(location, why))


def _locations(path: str) -> Set[str]:
    """The names of the files that initializers lie in; none where the graph is damaged, of which
    the engine says more."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return {
                text
                for graph in _parts(file, slice(0, size), GRAPH)
                for tensor in _parts(file, graph, _INITIALIZER)
                for data in _parts(file, tensor, _EXTERNAL_DATA)
                for key, text in [entry(file, data)]
                if key == "location"
            }
    except (OSError, MalformedError, TruncatedError, UnicodeDecodeError):
        return set()


def _parts(file: BinaryIO, span: slice, wanted: int) -> List[slice]:
    """The places of a message's fields of one number, which are messages themselves."""
    found = fields(file, span.start, span.stop)
    return [value for number, value in found if number == wanted and isinstance(value, slice)]
