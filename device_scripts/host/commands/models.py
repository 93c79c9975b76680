"""Exports a model's file where there is none, or one of something else or of older sources."""

import json
import os
from typing import Dict, Iterator, List, Optional

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
    """Refuses a MODEL that is not known, or arguments and a spec that cannot be read, before
    anything is compiled for it."""
    _ask(
        "known_model",
        *construction_options(variables),
        *spec_options(variables),
        "--",
        variables["MODEL"],
    )


def check_data(variables: Variables, classes: bool = False) -> None:
    """Refuses a DATA without images, or without class folders where they are needed; one that was
    not given is fine."""
    if variables.given("DATA"):
        _ask("readable", *(["--classes"] if classes else []), "--", variables["DATA"])


def _ask(program: str, *arguments: str) -> None:
    """Runs a program of this folder in .venv; what it refuses is refused."""
    said = answer(module("device_scripts.host.commands." + program, *arguments))
    if said.returncode != 0:
        lines = said.stderr.strip().splitlines() or ["{}: refused".format(arguments[-1])]
        text = lines[-1]
        raise RefusedError(text[len("error: ") :] if text.startswith("error: ") else text)


def check_form(variables: Variables) -> None:
    """Refuses a MODEL that looks like a file and names no callable, with what to give instead."""
    model = variables["MODEL"]
    if model.endswith(":") or _is_path(model):
        check_model(variables)


def _is_path(model: str) -> bool:
    return ":" not in model and (os.sep in model or os.path.splitext(model)[1] != "")


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
    check_form(variables)
    variables.name  # noqa: B018 - refused here where it is none
    with locked(LOCKS, "export") as lock:
        _export(variables, lock, variables["ARGS"])


def have_model(variables: Variables) -> None:
    """Exports the model's file unless it is up to date, or is one that MODEL_FILE names."""
    check_form(variables)
    if not variables.is_own_export:
        return
    with locked(LOCKS, "export") as lock:
        if not is_up_to_date(variables):
            record = _recorded(variables)
            same = record.get("MODEL") == variables["MODEL"]
            _export(variables, lock, record.get("ARGS", "") if same else "")


def as_exported(variables: Variables) -> Variables:
    """The variables, and for those that were not given what MODEL's file was exported with: a
    target that exports it again, to have it of today's sources, leaves it what it is."""
    record = _recorded(variables)
    kept = {name: value for name, value in record.items() if not variables.given(name)}
    if record.get("MODEL") != variables["MODEL"] or not variables.is_own_export:
        return variables
    kept.pop("MODEL", None)
    if kept:
        said = " ".join("{}={}".format(name, kept[name]) for name in sorted(kept))
        print(
            "{}: taken as it was exported, with {}; `make export` writes it anew".format(
                variables.exported_file, said
            ),
            flush=True,
        )
    return variables.having(kept)


def _recorded(variables: Variables) -> Dict[str, str]:
    """What the exported file was made of; nothing where that is not known."""
    try:
        record = json.loads(_read(_stamp(variables)) or "")
    # MODEL may be no name of a file, which is said elsewhere; a stamp may be of a cut off export.
    except (RefusedError, ValueError):
        return {}
    return {str(name): str(value) for name, value in record.items()}


def is_up_to_date(variables: Variables) -> bool:
    """Whether the exported file is of this MODEL and these options, and newer than the sources.

    A file of weights that were named, or of a network that stands in a file of the user's, is
    always exported again: what else it depends on is not known here. One that was brought here, or
    written by `python -m export`, has no record: it stays where nothing is asked of it.
    """
    try:
        made = os.stat(variables.exported_file).st_mtime
    except OSError:
        return False
    asked, of_user = _record(variables), ":" in variables["MODEL"]
    if _read(_stamp(variables)) is None:
        if of_user:
            return list(asked) == ["MODEL"]
        expected = {"MODEL": variables.name}
    elif of_user or variables.given("CHECKPOINT"):
        return False
    else:
        expected = _recorded(variables)
        expected.pop("ARGS", None)
    return expected == asked and all(m <= made for m in _source_times())


def _export(variables: Variables, lock: int, args: str) -> None:
    """Exports with `args`, an ARGS of `make export`, in addition to what the variables say."""
    stamp = _stamp(variables)
    words = variables.having({"ARGS": args}).words("ARGS")
    # An export that is cut off leaves a stamp that fits no record.
    if os.path.isdir(os.path.dirname(stamp)):
        _write(stamp, _UNFINISHED)
    run([*export_command(variables), *words], lock)
    _write(stamp, json.dumps(_record(variables, args), sort_keys=True))


def _record(variables: Variables, args: str = "") -> Dict[str, str]:
    given = {name: variables[name] for name in _DEPENDENCIES if variables.given(name)}
    return dict(given, MODEL=variables["MODEL"], **({"ARGS": args} if args else {}))


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
