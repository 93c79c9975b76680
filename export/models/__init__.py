"""The networks, and the registry that names them."""

from export.models.registry import MODELS, ModelSpec, find_model

__all__ = ["MODELS", "ModelSpec", "find_model"]
