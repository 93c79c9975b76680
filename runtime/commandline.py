"""What the commands share: exit codes, one-line errors, and leaving quietly."""

import argparse
import os
import signal
import sys
import warnings
from typing import Any, Callable, NoReturn, Optional, Sequence

from runtime.errors import ShiftAddError, one_line

FINE, SOME_FAILED, BAD_INPUT = 0, 1, 2
# What a device may lack, by module: its name for pip. The engine says so itself.
_PACKAGES = {"numpy": "numpy", "PIL": "pillow"}
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT and 128 + SIGPIPE, as a shell reports them


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        complain("{}: {} (see --help)".format(self.prog, one_line(message)))
        sys.exit(BAD_INPUT)


def positive(text: str) -> int:
    """An argparse type: an integer from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError("{!r} is not a positive integer".format(text))
    return value


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a model is run."""
    parser.add_argument(
        "--threads", type=positive, metavar="N",
        help="CPU threads one run of an ONNX model may use (default: ONNX Runtime's choice, one a "
        "core)",
    )  # fmt: skip
    parser.add_argument(
        "--library", metavar="PATH",
        help="the operator library (default: $SHIFTADD_ORT_LIBRARY, libshiftadd_ort.so beside "
        "the runtime package, or build/plugins/ of the checkout; for an engine likewise with "
        "$SHIFTADD_TENSORRT_LIBRARY and libshiftadd_tensorrt.so)",
    )  # fmt: skip


def leave(
    command: Callable[[Optional[Sequence[str]]], int], arguments: Optional[Sequence[str]] = None
) -> NoReturn:
    """Runs `command` and ends the process with its exit code, without ever showing a traceback."""
    if not sys.warnoptions:
        # Pillow warns about oddities of files that it reads nevertheless.
        warnings.simplefilter("ignore")
    try:
        code = command(arguments)
        sys.stdout.flush()
    except ShiftAddError as error:
        complain(str(error))
        code = BAD_INPUT
    except ImportError as error:
        if error.name not in _PACKAGES:
            raise
        complain("{}: python3 -m pip install {}".format(error, _PACKAGES[error.name]))
        code = BAD_INPUT
    except KeyboardInterrupt:
        # A second one is not to interrupt the leaving.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    sys.exit(code)


def complain(message: str) -> None:
    """One line on stderr."""
    _write(sys.stderr, "error: " + one_line(message))


def show(line: str = "") -> None:
    """One line on stdout."""
    _write(sys.stdout, line)


def _write(stream: Any, line: str) -> None:
    """`line` with control characters, which a file or its name may hold, and what the stream cannot
    encode (Python 3.6 in the C locale: all but ASCII) written as escapes."""
    encoding = stream.encoding or "ascii"
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
