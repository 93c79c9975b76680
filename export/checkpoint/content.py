"""From a file's bytes to its tensors by name, or to what the file really is."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import safetensors.torch
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from export.checkpoint import inert
from export.checkpoint.errors import CheckpointError, some
from runtime.console.commandline import remark

State = dict[str, Tensor]

# Where training scripts put the weights, those to be deployed first.
_NESTS = (
    *("state_dict", "model_state_dict", "net", "model", "state_dict_ema", "swa_state_dict", "ema"),
)


def read_state(content: bytes, path: Path) -> State:
    """The tensors of a checkpoint by name, all strided and real, on the CPU.

    Args:
        content: a .safetensors file, or what torch.save wrote, in either of its formats: of a
            state_dict, of one within a larger record, or of a whole module.
        path: the file's, for messages.

    Nothing in a pickle is run. Raises CheckpointError, in one line, for anything else.
    """
    _refuse_others(content, path)
    try:
        if _is_safetensors(content, path):
            return _readable(safetensors.torch.load(content), path)
        loaded = _unpickled(content)
    except CheckpointError:
        raise
    # Foreign bytes make the readers raise nearly everything, from EOFError to AttributeError.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint, or a truncated one "
            f"({type(error).__name__}; .safetensors and torch.save files are read)"
        ) from error
    return _readable(_entries(loaded, path), path)


def _unpickled(content: bytes) -> Any:
    with warnings.catch_warnings():
        # PyTorch compares the sources of a pickled module's classes, which here are inert.
        warnings.simplefilter("ignore")
        return torch.load(
            io.BytesIO(content), map_location="cpu", pickle_module=inert, weights_only=False
        )


def _is_safetensors(content: bytes, path: Path) -> bool:
    """By the name, or by the format: a length of 8 bytes, and JSON."""
    return path.suffix == ".safetensors" or content[8:10] == b'{"'


def _refuse_others(content: bytes, path: Path) -> None:
    """Names the kinds of file that stand under a checkpoint's name now and then."""
    start = content[:1024].lstrip().lower()
    for is_one, what in _OTHERS:
        if is_one(content, start):
            raise CheckpointError(f"{path}: {what}")


def _is_onnx(content: bytes, _start: bytes) -> bool:
    # The first field of an ONNX file is its version, an integer.
    if content[:1] != b"\x08":
        return False
    try:
        return len(onnx.load_from_string(content).graph.node) > 0
    except DecodeError:
        return False


def _members(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return []


def _is_zip(content: bytes) -> bool:
    return content[:4] == b"PK\x03\x04"


def _is_torchscript(content: bytes, _start: bytes) -> bool:
    return _is_zip(content) and any(n.endswith("/constants.pkl") for n in _members(content))


def _is_other_zip(content: bytes, _start: bytes) -> bool:
    members = _members(content) if _is_zip(content) else []
    return bool(members) and not any(n.endswith("data.pkl") for n in members)


_OTHERS: tuple[tuple[Callable[[bytes, bytes], bool], str], ...] = (
    (lambda content, _: not content, "the file is empty, and no checkpoint"),
    (
        lambda _, start: start.startswith((b"<!doctype", b"<html", b"<?xml")),
        "an HTML page, and no checkpoint: the download gave a page in its place; fetch it again",
    ),
    (
        lambda _, start: start.startswith(b"version https://git-lfs"),
        "a pointer of Git LFS, and no checkpoint: `git lfs pull` fetches the file itself",
    ),
    (_is_onnx, "an ONNX file, and no checkpoint: give the weights that it was exported from"),
    (lambda content, _: content[:4] == b"\x89HDF", "an HDF5 file (Keras), and no checkpoint"),
    (lambda content, _: content[:2] == b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (
        _is_torchscript,
        "a TorchScript archive, which is a program: save its state_dict() with torch.save",
    ),
    (_is_other_zip, "a zip archive without a checkpoint in it: unpack it first"),
    (
        lambda content, _: _is_zip(content) and not _members(content),
        "a truncated checkpoint: its end is missing; fetch or copy it again",
    ),
)


def _entries(loaded: Any, path: Path) -> Mapping[Any, Any]:
    """The entries of the state_dict, wherever in `loaded` it is."""
    found = _find(loaded)
    if found is None:
        what = loaded.origin if isinstance(loaded, inert.Inert) else type(loaded).__name__
        raise CheckpointError(f"{path}: holds no state_dict but {what}")
    return found


def _find(loaded: Any, depth: int = 0) -> Mapping[Any, Any] | None:
    if isinstance(loaded, inert.Inert):
        return _of_module(loaded) or (_find(loaded.items, depth) if loaded.items else None)
    if not isinstance(loaded, Mapping) or not loaded:
        return None
    nests = [name for name in _NESTS if isinstance(loaded.get(name), (Mapping, inert.Inert))]
    within = {name: _find(loaded[name], depth + 1) for name in nests if depth < 3}
    filled = [name for name, value in within.items() if value]
    if not filled:
        return loaded
    if len(filled) > 1:
        remark(f"of the weights in the checkpoint, {', '.join(filled)}, {filled[0]} are taken")
    return within[filled[0]]


def _of_module(module: inert.Inert) -> Mapping[str, Any] | None:
    """The parameters and buffers of a pickled torch.nn.Module by path; None for another object."""
    state = dict(_tensors_of(module, ""))
    return state or None


def _tensors_of(module: inert.Inert, prefix: str) -> Iterator[tuple[str, Any]]:
    attributes = module.state if isinstance(module.state, Mapping) else {}
    transient = attributes.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        values = attributes.get(kind)
        for name, value in (values if isinstance(values, Mapping) else {}).items():
            if value is not None and name not in transient:
                yield f"{prefix}{name}", value
    children = attributes.get("_modules")
    for name, child in (children if isinstance(children, Mapping) else {}).items():
        if isinstance(child, inert.Inert):
            yield from _tensors_of(child, f"{prefix}{name}.")


def _readable(entries: Mapping[Any, Any], path: Path) -> State:
    """`entries`, all of them tensors that a network here can have."""
    strangers = [
        str(k) for k, v in entries.items() if not isinstance(v, (Tensor, inert.Unreadable))
    ]
    if strangers:
        raise CheckpointError(f"{path}: entries that are no tensors: {some(strangers)}")
    for key, value in entries.items():
        kind = _unusable(value)
        if kind:
            raise CheckpointError(f"{path}: {key} is {kind}, which no network here can take")
    return {str(key): value.detach() for key, value in entries.items()}


def _unusable(value: Tensor | inert.Unreadable) -> str:
    """What keeps a tensor from being loaded; "" where nothing does."""
    if isinstance(value, inert.Unreadable):
        return value.kind
    if value.is_quantized:
        return "a quantized tensor"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if value.is_meta:
        return "a meta tensor, without data"
    if value.is_complex():
        return f"a tensor of complex numbers ({value.dtype})"
    return ""
