"""Whether what the variables name is there: refused before anything is set up or compiled."""

import os
import zipfile
from typing import Optional

from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.variables import Variables

LABEL_LISTS = ("imagenet", "cifar10")
"""Values of LABELS that are no paths; those of export.labels."""

_FILES = ("ARCHIVE", "CHECKPOINT", "MODEL_FILE", "REFERENCE")


def check_named(variables: Variables, *names: str) -> None:
    """Refuses what is not there, or cannot be what it is named as; what was not given is fine.

    Files that make would export itself need not be there yet.
    """
    for name in names:
        problem = _problem(variables, name) if variables.given(name) else None
        if problem:
            raise RefusedError("{}={}: {}".format(name, variables[name], problem))


def _problem(variables: Variables, name: str) -> Optional[str]:
    path = variables[name]
    if name == "LABELS" and path in LABEL_LISTS:
        return None
    if not os.path.exists(path):
        if name == "MODEL_FILE" and variables.is_own_export:
            return None
        return "no such file" if name in _FILES else "no such file or folder"
    if os.path.isdir(path):
        if name in _FILES:
            return "a folder, where a file is expected"
        return None if os.listdir(path) else "the folder is empty"
    if not os.path.isfile(path):
        return "not a regular file"
    if name == "DATA" and not zipfile.is_zipfile(path):
        return "neither a folder nor a zip"
    return None
