"""Which module of a network an operation of its trace is from."""

from __future__ import annotations

from typing import Any

from torch import nn


def module_of(node: Any) -> str:
    """ "features.3 (Conv2d)": the module's path and class, or the network's class alone."""
    path, name = "", "the network"
    for part in node.scopeName().split("/"):
        kind, _, attribute = part.rpartition("::")
        name = kind.rpartition(".")[2] or name
        if attribute:
            # A part may repeat its parent's path: "stem" and "stem.0" are stem.0.
            joined = attribute.startswith(path + ".") or not path
            path = attribute if joined else f"{path}.{attribute}"
    return f"{path} ({name})" if path else name


def title(path: str, module: nn.Module) -> str:
    """As `module_of`, for a module itself."""
    name = type(module).__name__
    return f"{path} ({name})" if path else name
