"""Exports a model's file where there is none, or one of something else or of older sources."""

import json
import os
from typing import Iterator, List, Optional

from device_scripts.host.commands.locks import locked
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.programs import LOCKS, ROOT, answer, module, run
from device_scripts.host.commands.variables import Variables

_SOURCES = os.path.join(ROOT, "export")
# What an exported file depends on, beside the sources and the form that stands in its name.
_DEPENDENCIES = (
    *("MODEL", "CHECKPOINT", "MODEL_ARGS", "FIXED_POINT"),
    *("INPUT", "MEAN", "STD", "RESIZE", "LABELS"),
)
_UNFINISHED = "being exported"


def check_model(variables: Variables) -> None:
    """Refuses a MODEL that is not known, before anything is compiled for it."""
    said = answer(module("device_scripts.host.commands.known_model", "--", variables["MODEL"]))
    if said.returncode != 0:
        lines = said.stderr.strip().splitlines() or ["MODEL={}: unknown".format(variables["MODEL"])]
        text = lines[-1]
        raise RefusedError(text[len("error: ") :] if text.startswith("error: ") else text)


def construction_options(variables: Variables) -> List[str]:
    """What tells a program how MODEL is made and what its files are called."""
    return [
        *variables.option("NAME", "--name"),
        *variables.option("MODEL_ARGS", "--model-args"),
    ]


def network_options(variables: Variables) -> List[str]:
    """What tells a program which network MODEL is and which weights it has."""
    return [
        *construction_options(variables),
        *variables.option("CHECKPOINT", "--checkpoint"),
    ]


def spec_options(variables: Variables) -> List[str]:
    """What has to be known of a network beside its weights, as far as it was given."""
    return [
        *variables.option("INPUT", "--input"),
        *variables.option("MEAN", "--mean"),
        *variables.option("STD", "--std"),
        *variables.option("RESIZE", "--resize"),
        *variables.option("LABELS", "--labels"),
    ]


def export_command(variables: Variables) -> List[str]:
    """The command that writes the exported file."""
    return module(
        "export",
        variables["MODEL"],
        "--target=" + variables.target,
        "--out=" + variables["OUT"],
        *network_options(variables),
        *spec_options(variables),
        *variables.option("FIXED_POINT", "--fixed-point"),
    )


def export(variables: Variables) -> None:
    """`make export`: writes the file, whatever is there."""
    variables.name  # noqa: B018 - refused here where it is none
    with locked(LOCKS, "export") as lock:
        _export(variables, lock)


def have_model(variables: Variables) -> None:
    """Exports the model's file unless it is up to date, or is one that MODEL_FILE names."""
    if not variables.is_own_export:
        return
    with locked(LOCKS, "export") as lock:
        if not is_up_to_date(variables):
            _export(variables, lock, with_args=False)


def is_up_to_date(variables: Variables) -> bool:
    """Whether the exported file is of this MODEL and these options, and newer than the sources.

    A file of weights that were named, or of a network that stands in a file of the user's, is
    always exported again: what else it depends on is not known here.
    """
    if variables.given("CHECKPOINT") or ":" in variables["MODEL"]:
        return False
    try:
        made = os.stat(variables.exported_file).st_mtime
    except OSError:
        return False
    written = _read(_stamp(variables))
    # A file without a stamp was brought here, or written by `python -m export`.
    expected = _shipped(variables) if written is None else written
    return expected == _record(variables) and all(m <= made for m in _source_times())


def _export(variables: Variables, lock: int, with_args: bool = True) -> None:
    stamp = _stamp(variables)
    # An export that is cut off leaves a stamp that fits no record.
    if os.path.isdir(os.path.dirname(stamp)):
        _write(stamp, _UNFINISHED)
    run([*export_command(variables), *(variables.words("ARGS") if with_args else [])], lock)
    _write(stamp, _record(variables))


def _record(variables: Variables) -> str:
    given = {name: variables[name] for name in _DEPENDENCIES if variables.given(name)}
    return json.dumps(dict(given, MODEL=variables["MODEL"]), sort_keys=True)


def _shipped(variables: Variables) -> str:
    return json.dumps({"MODEL": variables.name})


def _stamp(variables: Variables) -> str:
    """Beside the exported file, hidden: what it was exported from."""
    folder, name = os.path.split(os.path.join(ROOT, variables.exported_file))
    return os.path.join(folder, "." + name + ".made")


def _source_times() -> Iterator[float]:
    for folder, _, files in os.walk(_SOURCES):
        for file in files:
            if file.endswith((".py", ".safetensors")):
                yield os.stat(os.path.join(folder, file)).st_mtime


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RefusedError("{}: cannot be read: {}".format(path, error)) from error


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RefusedError("{}: cannot be written: {}".format(path, error.strerror)) from error
