"""`python -m device_scripts.host.commands.readable [--classes] DATA`: whether DATA holds images.

They are listed as the programs list them, and not decoded. Exit codes: 0 there are some; 2 there
are none, or they cannot be listed, which is said in a line. Runs in `.venv`.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.console.commandline import FINE, Parser, leave
from runtime.core.image_sets import ImageFolder, image_set


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises DataError where there is no image."""
    parser = Parser(prog="DATA", description="Says whether a data set holds images.")
    parser.add_argument("data", metavar="DATA", help="a folder or a zip")
    parser.add_argument("--classes", action="store_true", help="they have to lie in class folders")
    options = parser.parse_args(arguments)
    opened = (ImageFolder if options.classes else image_set)(options.data)
    opened.close()
    return FINE


if __name__ == "__main__":
    leave(main)
