"""Trained PyTorch models to ONNX files with ShiftConv and AdderConv operators."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.onnx_export.model import export_model as export_model

__all__ = ["export_model"]


def __getattr__(name: str) -> Any:
    """Imports the exporter when it is asked for: training and the layers need no onnx."""
    if name == "export_model":
        from export.onnx_export.model import export_model

        return export_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
