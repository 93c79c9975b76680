"""Trained PyTorch models to ONNX files with ShiftConv and AdderConv operators."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.onnx_export.model import export_model as export_model
    from export.onnx_export.writer import save as save
    from export.spec import Spec as Spec

__all__ = ["Spec", "export_model", "save"]

_PLACES = {
    "Spec": "export.spec",
    "export_model": "export.onnx_export.model",
    "save": "export.onnx_export.writer",
}


def __getattr__(name: str) -> Any:
    """Imports the exporter when it is asked for: training and the layers need no onnx."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
