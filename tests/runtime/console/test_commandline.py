"""What the commands share: their options, and the streams that they print to."""

import argparse
import subprocess
import sys
from typing import Any, List

import pytest

from runtime.console import commandline
from tests.support.models.runtime import REPOSITORY


def parser() -> commandline.Parser:
    result = commandline.Parser(prog="it")
    result.add_argument("model")
    result.add_argument("images", nargs="*")
    result.add_argument("--top-k", type=commandline.positive, default=5)
    result.add_argument("--json", action="store_true")
    result.add_argument("--size", type=int, nargs=2)
    result.add_argument("--camera", nargs="?", const="csi")
    result.add_argument("--numbers", type=int, nargs="+")
    commandline.add_engine_options(result)
    return result


def parsed(*arguments: str) -> argparse.Namespace:
    result: argparse.Namespace = parser().parse_args(arguments)
    return result


@pytest.mark.parametrize(
    "arguments",
    [
        ["m", "a", "b", "--top-k", "2"],
        ["m", "--top-k", "2", "a", "b"],
        ["m", "a", "--top-k", "2", "b"],
        ["--top-k", "2", "m", "a", "b"],
        ["m", "a", "--top-k=2", "b"],
        ["m", "--top", "2", "a", "b"],
        ["m", "a", "--top-k", "2", "--", "b"],
        ["--top-k", "2", "--", "m", "a", "b"],
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"], ["--size", "3", "4"], ["--numbers", "1", "2"]])
def test_options_stand_anywhere(arguments: List[str], more: List[str]) -> None:
    behind = "--" in arguments
    options = parsed(*more, "--json", *arguments) if behind else parsed(*arguments, *more)
    assert (options.model, options.images, options.top_k) == ("m", ["a", "b"], 2)
    assert options.json == (behind or "--json" in more)
    assert options.size == ([3, 4] if "--size" in more else None)
    assert options.numbers == ([1, 2] if "--numbers" in more else None)


def test_what_begins_like_an_option_is_a_file_behind_two_dashes() -> None:
    assert parsed("m", "--json", "--", "--top-k", "-").images == ["--top-k", "-"]
    assert parsed("m", "-", "--json").images == ["-"]


def test_an_option_with_a_value_that_may_be_left_out() -> None:
    assert parsed("m", "--camera").camera == "csi"
    assert parsed("m", "--camera", "--json").camera == "csi"
    assert parsed("--camera", "/dev/video0", "m").camera == "/dev/video0"


@pytest.mark.parametrize("wrong", ["--nonsense", "--top-k", "--size"])
def test_options_that_are_wrong_are_refused(
    wrong: str, capsys: "pytest.CaptureFixture[str]"
) -> None:
    with pytest.raises(SystemExit) as end:
        parsed("m", "a", wrong)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("count", ["257", "100000", "0", "-1", "two"])
def test_threads_without_end_are_refused(count: str, capsys: "pytest.CaptureFixture[str]") -> None:
    with pytest.raises(SystemExit) as end:
        parsed("m", "--threads", count)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert "--threads" in message
    assert message.count("\n") == 1
    assert parsed("m", "--threads", "256").threads == 256


_PRINTS = """
import os, sys
from runtime.console import commandline
def main(arguments):
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    assert min(files) > 2, files
    commandline.show("shown")
    print("printed")
    commandline.remark("remarked")
    print("written", file=sys.stderr)
    if arguments:
        raise commandline.ShiftAddError("refused")
    return 1
commandline.leave(main, sys.argv[1:])
"""


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("", 1), ("bad", 2)])
def test_closed_streams_change_no_exit_code(closed: str, arguments: str, code: int) -> None:
    answer: Any = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" {} {}'.format(arguments, closed), sys.executable, _PRINTS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=str(REPOSITORY),
        timeout=60,
    )  # fmt: skip
    assert answer.returncode == code, answer.stderr
    refused = "error: refused\n" if arguments else ""
    assert answer.stdout == ("" if ">&-" in closed.split() else "shown\nprinted\n")
    assert answer.stderr == ("" if "2>&-" in closed else "remarked\nwritten\n" + refused)
