"""What keeps a network from being exported."""

from __future__ import annotations

from runtime.core.errors import ShiftAddError


class ExportError(ShiftAddError, ValueError):
    """A network that cannot be exported: one line with the layer, the reason and what to do."""
