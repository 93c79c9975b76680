"""`python -m device_scripts.host.commands TARGET`: what the Makefile's recipes start."""

import os
import sys
from typing import Sequence

from device_scripts.host.commands.names import check_names
from device_scripts.host.commands.problems import FailedError, RefusedError
from device_scripts.host.commands.taken import check_taken
from device_scripts.host.commands.targets import TARGETS
from device_scripts.host.commands.values import check_values
from device_scripts.host.commands.variables import Variables

BAD_INPUT, INTERRUPTED = 2, 130


def main(arguments: Sequence[str]) -> int:
    """Runs one target; returns its exit code, unless a program takes this process's place."""
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        print("usage: make TARGET; `make help` lists them", file=sys.stderr)
        return BAD_INPUT
    try:
        check_names(arguments[0], os.environ)
        check_taken(arguments[0], os.environ)
        variables = Variables(os.environ)
        check_values(arguments[0], variables)
        TARGETS[arguments[0]](variables)
    except RefusedError as refusal:
        line = " ".join(str(refusal).split())
        # A name may have bytes that are no text.
        print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        return BAD_INPUT
    except FailedError as failed:
        return failed.code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
