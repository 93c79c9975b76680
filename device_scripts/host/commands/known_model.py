"""`python -m device_scripts.host.commands.known_model MODEL`: whether a name is that of a model.

A callable of a file or a package is left to the program that takes it: asking for it runs code.
Exit codes: 0 it may be a model; 2 it is none, which is said in a line. Runs in `.venv`.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.models import MODELS
from runtime.console.commandline import BAD_INPUT, FINE, Parser, complain, leave


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(description="Says whether a model is known.")
    parser.add_argument("model", metavar="MODEL")
    model = parser.parse_args(arguments).model
    if ":" not in model and model not in MODELS:
        complain(f"unknown model {model!r}; known models: {', '.join(MODELS)}")
        return BAD_INPUT
    return FINE


if __name__ == "__main__":
    leave(main)
