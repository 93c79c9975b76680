"""What the commands share: exit codes, one-line errors, and leaving quietly."""

import argparse
import os
import signal
import sys
import threading
import warnings
from typing import Any, Callable, List, NoReturn, Optional, Sequence

from runtime.console.signals import Terminated
from runtime.console.streams import reopen_closed
from runtime.core.errors import OutputError, ShiftAddError, one_line, reason
from runtime.core.threads import MOST_THREADS

FINE, SOME_FAILED, BAD_INPUT = 0, 1, 2
# The packages that a device may lack: what pip calls them, by module. A missing engine is told by
# its own module.
_PACKAGES = {"numpy": "numpy", "PIL": "pillow"}
# 128 + SIGINT, SIGPIPE and SIGTERM, as a shell reports them.
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143
_at_once = threading.Event()


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        complain("{}: {} (see --help)".format(self.prog, one_line(message)))
        sys.exit(BAD_INPUT)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Takes options anywhere: argparse gives up on a list of files where an option begins."""
        arguments = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._options_first(arguments), namespace)

    def _options_first(self, arguments: List[str]) -> List[str]:
        options: List[str] = []
        others: List[str] = []
        while arguments:
            word = arguments.pop(0)
            if word == "--":
                others += arguments
                break
            if not word.startswith("-") or word == "-":
                others.append(word)
                continue
            options.append(word)
            for _ in range(self._values_of(word, arguments)):
                options.append(arguments.pop(0))
        return options + (["--"] + others if others else [])

    def _values_of(self, option: str, following: Sequence[str]) -> int:
        """How many of the words that follow an option belong to it."""
        known = self._option_string_actions
        names = [option] if option in known else [name for name in known if name.startswith(option)]
        nargs = known[names[0]].nargs if names else 0
        if nargs is None:
            return min(1, len(following))
        if isinstance(nargs, int):
            return min(nargs, len(following))
        words = 0
        while words < len(following) and not following[words].startswith("-"):
            words += 1
        return min(words, 1) if nargs == argparse.OPTIONAL else words


def positive(text: str) -> int:
    """An argparse type: an integer from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError("{!r} is not a positive integer".format(text))
    return value


def thread_count(text: str) -> int:
    """An argparse type: a number of threads, from 1 to `MOST_THREADS`."""
    value = positive(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError("{} are too many: {} at most".format(value, MOST_THREADS))
    return value


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a model is run."""
    parser.add_argument(
        "--threads", type=thread_count, metavar="N",
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
    reopen_closed()
    if not sys.warnoptions:
        # Pillow warns about oddities of files that it reads nevertheless.
        warnings.simplefilter("ignore")
    try:
        code = command(arguments)
        sys.stdout.flush()
    except ShiftAddError as error:
        if isinstance(error, OutputError):
            _give_up_stdout()
        complain(str(error))
        code = BAD_INPUT
    except ImportError as error:
        if error.name not in _PACKAGES:
            raise
        complain("{}: python3 -m pip install {}".format(error, _PACKAGES[error.name]))
        code = BAD_INPUT
    except MemoryError:
        complain("not enough memory: end what else runs, or take smaller files")
        code = BAD_INPUT
    except KeyboardInterrupt as interrupt:
        # A second interrupt must not disturb the end of the process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        code = PIPE_CLOSED
    if _at_once.is_set():
        os._exit(code)
    sys.exit(code)


def leave_at_once() -> None:
    """Has `leave` end the process without shutting down the interpreter: a thread hangs in native
    code, and if that returns after all it must not find the interpreter half gone."""
    _at_once.set()


def complain(message: str) -> None:
    """One line on stderr."""
    remark("error: " + message)


def remark(message: str) -> None:
    """One line on stderr that is no error."""
    _write(sys.stderr, one_line(message))


def remark_skipped(images: Any) -> None:
    """One line on stderr about the files that `images`, a data set, left out, if there are any."""
    if images.skipped:
        remark("{}: {}".format(images.path, images.skipped))


def show(line: str = "") -> None:
    """One line on stdout. Raises OutputError when it cannot be written: a full disk, for one."""
    try:
        _write(sys.stdout, line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError("cannot write to the output: {}".format(reason(error))) from error


def reserve_stdout() -> None:
    """Keeps stdout for `show` alone; what native code prints there goes to stderr. The driver of a
    CSI camera prints about itself, and would do so between lines of JSON."""
    sys.stdout.flush()
    own = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = os.fdopen(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _give_up_stdout() -> None:
    """Redirects stdout to nowhere: the interpreter flushes it once more at its end, and would
    complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(stream: Any, line: str) -> None:
    """Writes `line`, with escapes for control characters, which a file or its name may hold, and
    for what the stream cannot encode (in the C locale of Python 3.6, all but ASCII)."""
    encoding = stream.encoding or "ascii"
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
