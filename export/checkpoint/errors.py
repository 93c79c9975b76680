"""What a checkpoint can be refused with."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.core.errors import ShiftAddError

_SHOWN = 5


class CheckpointError(ShiftAddError):
    """A checkpoint that cannot be read, or that does not fit the network; one line."""


def some(items: Sequence[str]) -> str:
    """The first few of `items`, and how many more there are."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
