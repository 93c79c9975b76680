"""How many threads a model may be run by."""

from typing import Any

from runtime.core.errors import ModelError

MOST_THREADS = 256
"""As many as the operator library starts at most. Engines start as many as they are told, and for
thousands need minutes."""


def check_threads(threads: Any) -> None:
    """Raises ModelError for what is no number from 1 to `MOST_THREADS`."""
    if not hasattr(threads, "__index__") or not 1 <= threads <= MOST_THREADS:
        raise ModelError("threads is {!r} where 1 to {} are possible".format(threads, MOST_THREADS))
