"""Keyword arguments of a network's constructor, as they are written on a command line."""

from __future__ import annotations

import ast
import keyword
import shlex
from typing import Any

from runtime.core.errors import ShiftAddError


class ArgumentsError(ShiftAddError):
    """Arguments that cannot be read; one line."""


def parse(text: str) -> dict[str, Any]:
    """The arguments in `text`, such as "width=0.5 num_classes=10 norm='batch'".

    A value is a Python literal where it reads as one, and the text itself otherwise. Spaces within
    a value are quoted as for a shell.

    Raises ArgumentsError.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise ArgumentsError(f"the model's arguments {text!r}: {error}") from error
    arguments: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or keyword.iskeyword(name):
            raise ArgumentsError(
                f"the model's argument {part!r} is not of the form name=value, such as "
                "num_classes=10"
            )
        if name in arguments:
            raise ArgumentsError(f"the model's argument {name} is given twice")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    # What is no literal is a text; one that is nested without end, too.
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
