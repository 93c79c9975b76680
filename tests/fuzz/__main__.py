"""`python -m tests.fuzz [TARGET ...] [--seconds N] [--input FILE] [--keep FILE ...]`.

Exit codes: 0 nothing was found; 1 something was; 2 bad usage, or a tool is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.console.commandline import (
    BAD_INPUT,
    FINE,
    SOME_FAILED,
    Parser,
    complain,
    leave,
    positive,
    show,
)
from tests.fuzz import campaign, corpus
from tests.fuzz.native import MissingClangError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser(
        prog="tests.fuzz",
        description="Gives damaged files to everything that reads files. Targets: "
        + ", ".join(campaign.TARGETS) + ".",
    )  # fmt: skip
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help="what to run, one after another (default: all)"
    )
    parser.add_argument(
        "--seconds", type=positive, default=600, metavar="N", help="for each target (default: 600)"
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="runs the one target on this file only"
    )
    parser.add_argument(
        "--keep", type=Path, nargs="+", metavar="FILE",
        help="has every later run of the one target begin with these, too",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    targets = options.targets or list(campaign.TARGETS)
    unknown = [target for target in targets if target not in campaign.TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]}; there are {', '.join(campaign.TARGETS)}")
    for name in ("input", "keep"):
        if getattr(options, name) is not None and len(options.targets) != 1:
            parser.error(f"--{name} is for one target")
    try:
        if options.keep is not None:
            return _keep(targets[0], options.keep)
        if options.input is not None:
            return SOME_FAILED if campaign.reproduce(targets[0], options.input) else FINE
        return max([_run(target, options.seconds) for target in targets])
    except MissingClangError as error:
        complain(str(error))
        return BAD_INPUT


def _keep(target: str, files: Sequence[Path]) -> int:
    try:
        inputs = {file.name: file.read_bytes() for file in files}
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}")
        return BAD_INPUT
    show(f"{corpus.add(target, inputs)}: {len(corpus.read(target))} inputs")
    return FINE


def _run(target: str, seconds: int) -> int:
    outcome = campaign.run(target, seconds)
    verdict = "nothing found" if not outcome.findings else f"FOUND, see {outcome.log}:"
    show(f"{target}: {outcome.runs} runs, {outcome.reached}: {verdict}")
    for finding in outcome.findings:
        show(f"  {finding}")
    return SOME_FAILED if outcome.findings else FINE


if __name__ == "__main__":
    leave(main, sys.argv[1:])
