"""The networks, a file a family, and the registry in which each family enters its own.

Whatever stands in this folder is imported, in the order of the files' names: a new family needs
no list to name it.
"""

import importlib
import pkgutil

from export.models.registry import MODELS, ModelSpec, find_model

__all__ = ["MODELS", "ModelSpec", "find_model"]

for _name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_name}")
