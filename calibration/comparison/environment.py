"""What a report tells about where it was made."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path


def now() -> str:
    """Date and time to the minute, in UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def library_facts(library: str | None) -> dict[str, str]:
    """The operator library at this path, by name and content."""
    path = Path(library) if library else None
    return {
        "operator library": str(path) if path else "none",
        "library's SHA-256": hashlib.sha256(path.read_bytes()).hexdigest() if path else "",
    }


def machine_facts(packages: Iterable[str]) -> dict[str, str]:
    """The machine, Python and the versions of these packages."""
    return {
        "machine": f"{platform.machine()}, {platform.system()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
