"""Says whether pinned packages are installed completely: `python3 packages.py NAME==VERSION ...`

It prints one line for each: the pin, then `ok`, `missing`, `wrong` with the installed version, or
`damaged` with the first file that is missing or of another size, as after an interrupted
installation. With `--forget` the record of each package is removed, so that pip installs it anew
over what is there.

Exit codes: 0 all are ok, or were forgotten; 1 some are not.
"""

import csv
import os
import re
import shutil
import sys
import sysconfig
from typing import Dict, List, NamedTuple, Optional, Sequence

_RECORD = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.dist-info$")


class Installed(NamedTuple):
    """A package's version, and the folder with its record, `NAME-VERSION.dist-info`."""

    version: str
    record: str


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    forget = "--forget" in arguments
    there = installed(sysconfig.get_path("purelib"))
    code = 0
    for pin in arguments:
        if pin == "--forget":
            continue
        name, _, version = pin.partition("==")
        package = there.get(normalized(name))
        if forget:
            if package is not None:
                shutil.rmtree(package.record)
            continue
        state = _state(package, version)
        print(pin, state)
        code = code or int(state != "ok")
    return code


def normalized(name: str) -> str:
    """A package's name as the index compares it: `typing_extensions` is `typing-extensions`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folder: str) -> Dict[str, Installed]:
    """The packages of `folder`, a site-packages, by their normalized name."""
    found = {}
    for entry in sorted(os.listdir(folder)):
        match = _RECORD.match(entry)
        if match:
            record = os.path.join(folder, entry)
            found[normalized(match.group("name"))] = Installed(match.group("version"), record)
    return found


def _state(package: Optional[Installed], version: str) -> str:
    if package is None:
        return "missing"
    if package.version != version:
        return "wrong " + package.version
    broken = first_broken(package.record)
    return "ok" if broken is None else "damaged " + broken


def first_broken(record: str) -> Optional[str]:
    """The first file of a package that is missing or of another size than its record says.

    pip writes the record last, so where it is missing the installation was not completed.
    """
    folder = os.path.dirname(record)
    for row in _rows(os.path.join(record, "RECORD")):
        path, size = row[0], row[2]
        if path.endswith(".pyc"):
            continue
        try:
            found = os.stat(os.path.join(folder, path)).st_size
        except OSError:
            return path
        if size and found != int(size):
            return path
    return None if os.path.isfile(os.path.join(record, "INSTALLER")) else "RECORD"


def _rows(path: str) -> List[List[str]]:
    try:
        with open(path, newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3]
    except (OSError, ValueError, csv.Error):
        rows = []
    return rows or [["RECORD", "", ""]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
