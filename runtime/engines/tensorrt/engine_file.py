"""What stands beside a TensorRT engine: `MODEL.engine.json`, its sidecar.

An engine runs only with the TensorRT and on the kind of GPU that it was built with, and says
nothing about its model. The sidecar says both, so that an engine that does not fit is refused
before TensorRT reads it, and so that no ONNX file is needed to run one. The engine's own file stays
as TensorRT wrote it: trtexec loads it too.
"""

import hashlib
import json
import os
import shlex
from typing import Any, Dict, NamedTuple

from runtime.core import files
from runtime.core.errors import ModelError, reason

FORMAT_VERSION = 1
SUFFIXES = (".engine", ".plan")
_BUILD = "`make engine MODEL=...`, or `python3 runtime/build_engine.py MODEL.onnx`"


class Sidecar(NamedTuple):
    """The entries of a sidecar, all of them required.

    `compute_capability` is that of the GPU, such as "5.3"; `precision` is fp32, fp16 or int8;
    `max_batch` is the most images that one execution takes (the least is 1); `onnx_file` is the
    path of the model that the engine was built from; `library_sha256` is "" where it needed no
    plugins; `metadata` holds the model's `shiftadd.*` entries as they stand in the ONNX file.
    """

    format_version: int
    tensorrt_version: str
    gpu: str
    compute_capability: str
    precision: str
    max_batch: int
    onnx_file: str
    onnx_sha256: str
    engine_sha256: str
    library_sha256: str
    metadata: Dict[str, str]


def is_engine(path: str) -> bool:
    """Whether the name of the file says that it is an engine."""
    return path.lower().endswith(SUFFIXES)


def sidecar_path(engine: str) -> str:
    """Where the sidecar of the engine at `engine` stands."""
    return engine + ".json"


def write(engine: str, sidecar: Sidecar) -> None:
    """Writes the sidecar of the engine at `engine`. Raises ShiftAddError where it cannot."""
    text = json.dumps(sidecar._asdict(), indent=2) + "\n"
    files.replace(sidecar_path(engine), text.encode("utf-8"), "engine's description")


def read(engine: str) -> Sidecar:
    """The sidecar of the engine at `engine`.

    Raises ModelError where it is missing, damaged, or of another format.
    """
    path = sidecar_path(engine)
    try:
        with files.open_regular(path) as file:
            return _checked(path, json.loads(file.read().decode("utf-8")))
    except FileNotFoundError:
        raise ModelError(
            "{} is missing, which says what the engine is of and for: copy it beside the engine, "
            "or build the engine with {}".format(path, _BUILD)
        ) from None
    except OSError as error:
        raise ModelError("cannot read {}: {}".format(path, reason(error))) from error
    # RecursionError comes from JSON that is nested without end, or so deeply that it can be read
    # but not printed.
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None


def _checked(path: str, entries: Any) -> Sidecar:
    if not isinstance(entries, dict):
        raise _damaged(path, "it is not a JSON object")
    # The version goes first: another format may name its entries differently.
    version = entries.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            "{} has format version {}, this runtime reads version {}: build the engine again with "
            "this version's {}".format(path, json.dumps(version), FORMAT_VERSION, _BUILD)
        )
    for name in Sidecar._fields:
        if name not in entries:
            raise _damaged(path, "the entry {} is missing".format(name))
        if not _fits(name, entries[name]):
            raise _damaged(path, "the entry {} is {}".format(name, json.dumps(entries[name])[:60]))
    return Sidecar(**{name: entries[name] for name in Sidecar._fields})


def _fits(name: str, value: Any) -> bool:
    if name == "metadata":
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    if name in ("format_version", "max_batch"):
        return isinstance(value, int) and value > 0
    return isinstance(value, str)


def _damaged(path: str, why: str) -> ModelError:
    return ModelError(
        "{} is damaged ({}): build the engine again with {}".format(path, why, _BUILD)
    )


def check_content(engine: str, content: bytes, sidecar: Sidecar) -> None:
    """Raises ModelError unless `content` is the engine that the sidecar describes."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != sidecar.engine_sha256:
        raise ModelError(
            "truncated, damaged or of another build: its SHA-256 is {}..., {} says {}...; copy "
            "both files again, or {}".format(
                digest[:12], sidecar_path(engine), sidecar.engine_sha256[:12],
                rebuild(engine, sidecar),
            )
        )  # fmt: skip


def check_machine(
    engine: str, sidecar: Sidecar, tensorrt_version: str, gpu: str, compute_capability: str
) -> None:
    """Raises ModelError unless the engine was built with this TensorRT and on such a GPU."""
    built = "{} of compute capability {}".format(sidecar.gpu, sidecar.compute_capability)
    here = "{} of compute capability {}".format(gpu, compute_capability)
    for what, there, mine in (
        ("with TensorRT", sidecar.tensorrt_version, tensorrt_version),
        ("on the GPU", built, here),
    ):
        if there != mine:
            raise ModelError(
                "built {} {}, here is {}: {}".format(what, there, mine, rebuild(engine, sidecar))
            )


def rebuild(engine: str, sidecar: Sidecar) -> str:
    """How to build this engine again, for the end of a message."""
    command = [
        "python3", os.path.join("runtime", "build_engine.py"), sidecar.onnx_file,
        "--precision", sidecar.precision, "--max-batch", str(sidecar.max_batch),
        "--output", engine,
    ]  # fmt: skip
    return (
        "build it again on this machine with `make engine MODEL={} PRECISION={}`, or `{}`".format(
            sidecar.metadata.get("shiftadd.model", "..."),
            sidecar.precision,
            " ".join(map(shlex.quote, command)),
        )
    )
