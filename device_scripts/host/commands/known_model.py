"""`python -m device_scripts.host.commands.known_model MODEL`: whether MODEL names a network.

A network of a file or a package is looked up as the programs do it, which runs the file or imports
the package; it is not made. What was given of its arguments and its spec is read, too. Exit codes:
0 all of it can be used; 2 something cannot, which is said in a line. Runs in `.venv`.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.loading.options import add_model, add_spec, find_source, given_spec
from runtime.console.commandline import FINE, Parser, leave


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises ShiftAddError for what cannot be used."""
    parser = Parser(prog="MODEL", description="Says whether a model is known.")
    add_model(parser)
    add_spec(parser)
    options = parser.parse_args(arguments)
    find_source(options)
    given_spec(options)
    return FINE


if __name__ == "__main__":
    leave(main)
