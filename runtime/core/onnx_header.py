"""Reads an ONNX file's metadata without parsing its graph, and without the onnx package.

A file is judged before a session is made from it: a model for a newer contract may hold nodes that
no session can load, and the session would then complain about the node, not about the contract. The
few fields needed stand at the top level of the `ModelProto` message (onnx.proto3: ir_version = 1,
graph = 7, metadata_props = 14), so everything else, in particular the weights, is skipped by its
length (Protocol Buffers, "Encoding": varints, tags, length-delimited fields).
"""

import os
from typing import BinaryIO, Dict, Iterator, Tuple, Union

from runtime.core.errors import ModelError, reason
from runtime.core.files import open_regular

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_IR_VERSION, GRAPH, _METADATA_PROPS = 1, 7, 14
# A metadata entry is text. Whatever claims to be longer than this is none, and is not read into
# memory.
_LONGEST_ENTRY = 1 << 26
# The most fields of a message that are looked at: an exporter writes some dozens, and a file that
# holds nothing but two-byte fields would take minutes.
_MOST_FIELDS = 1 << 16

Field = Tuple[int, Union[int, slice]]


class MalformedError(Exception):
    """The bytes are not a protobuf message."""


class TruncatedError(Exception):
    """A field would end beyond the end of the file."""


def read_metadata(path: str) -> Dict[str, str]:
    """The `metadata_props` of the ONNX model at `path`.

    Raises ModelError when the file is missing, unreadable, truncated or no ONNX model.
    """
    try:
        with open_regular(path) as file:
            return _metadata(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelError("cannot read the model: {}".format(reason(error))) from error
    except TruncatedError:
        raise ModelError(
            "truncated, or not an ONNX model: a field ends behind the end of the file; "
            "copy or export it again"
        ) from None
    except (MalformedError, UnicodeDecodeError):
        raise ModelError("not an ONNX model") from None


def _metadata(file: BinaryIO, size: int) -> Dict[str, str]:
    seen = set()
    properties = {}
    for number, value in fields(file, 0, size):
        seen.add(number)
        if number == _METADATA_PROPS:
            key, text = entry(file, value)
            properties[key] = text
    # An empty file is a valid, empty message, and other files parse by chance; only a model has
    # both fields.
    if not {_IR_VERSION, GRAPH} <= seen:
        raise MalformedError
    return properties


def entry(file: BinaryIO, span: Union[int, slice]) -> Tuple[str, str]:
    """Key and value of one StringStringEntryProto (key = 1, value = 2)."""
    if not isinstance(span, slice) or span.stop - span.start > _LONGEST_ENTRY:
        raise MalformedError
    parts = {1: "", 2: ""}
    for number, value in fields(file, span.start, span.stop):
        if number in parts:
            if not isinstance(value, slice):
                raise MalformedError
            file.seek(value.start)
            parts[number] = file.read(value.stop - value.start).decode("utf-8")
    return parts[1], parts[2]


def fields(file: BinaryIO, position: int, end: int) -> Iterator[Field]:
    """Field numbers with their value, or the place of it, of the message at [position, end)."""
    count = 0
    while position < end:
        count += 1
        if count > _MOST_FIELDS:
            raise MalformedError
        file.seek(position)
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        value: Union[int, slice] = 0
        if kind == _VARINT:
            value = _varint(file)
            position = file.tell()
        elif kind == _LENGTH_DELIMITED:
            length = _varint(file)
            value = slice(file.tell(), file.tell() + length)
            position = file.tell() + length
        elif kind in (_FIXED32, _FIXED64):
            position = file.tell() + (4 if kind == _FIXED32 else 8)
        else:
            raise MalformedError
        if number == 0:
            raise MalformedError
        if position > end:
            raise TruncatedError
        yield number, value


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise TruncatedError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise MalformedError
