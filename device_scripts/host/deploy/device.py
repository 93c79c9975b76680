"""What may be the name of a board; `make` asks before .venv exists: the standard library only."""

import re
from typing import Optional

# What ssh takes for a host: a name, an IPv4 or an IPv6 address, the latter with its zone.
_DEVICE = re.compile(r"(?:[\w.+-]+@)?[A-Za-z0-9_:.%\[\]-]+")


def device_problem(device: str) -> Optional[str]:
    """Why `device` is no board that ssh can reach, in a line; None where it may be one."""
    if _DEVICE.fullmatch(device) and not device.startswith("-") and "@-" not in device:
        return None
    return "{!r} is no board: user@host is expected, or a name of ~/.ssh/config".format(device)
