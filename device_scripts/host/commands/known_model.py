"""`python -m device_scripts.host.commands.known_model MODEL`: whether MODEL names a network.

A network of a file or a package is looked up as the programs do it, which runs the file or imports
the package; it is not made. Exit codes: 0 it is there; 2 it is not, which is said in a line. Runs
in `.venv`.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.loading.resolve import FORMS, resolve
from runtime.console.commandline import FINE, Parser, leave


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises SourceError for what is not there."""
    parser = Parser(description="Says whether a model is known.")
    parser.add_argument("model", metavar="MODEL", help=FORMS)
    resolve(parser.parse_args(arguments).model)
    return FINE


if __name__ == "__main__":
    leave(main)
