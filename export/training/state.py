"""The checkpoint of a training: reading it, and telling whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.training.recipe import TrainingError
from runtime.core.errors import reason


def load_training_state(checkpoint: Path) -> dict[str, Any]:
    """What `Trainer.save` wrote, on the CPU; TrainingError for anything else."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{checkpoint}: cannot read it: {reason(error)}") from error
    # Foreign bytes make the reader raise nearly everything, from EOFError to AttributeError.
    except Exception as error:
        raise TrainingError(
            f"{checkpoint}: not a readable checkpoint ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict) or not {"model", "optimizer", "epoch", "recipe"} <= state.keys():
        raise TrainingError(f"{checkpoint}: not a checkpoint of a training")
    return state


def describe(model: nn.Module) -> str:
    """Every module with its settings, by which one network is told from another.

    In words of our own for BatchNorms, since PyTorch's differ from one version to the next.
    """
    lines = []
    for name, module in model.named_modules():
        norm = isinstance(module, nn.BatchNorm2d)
        settings = f"{module.num_features}, eps={module.eps}" if norm else module.extra_repr()
        lines.append(f"{name}: {type(module).__name__}({settings})")
    return "\n".join(lines)


def restore(model: nn.Module, state: dict[str, Any], checkpoint: Path) -> None:
    """Puts a training's weights into `model`; TrainingError where they are another network's."""
    if state.get("network") != describe(model):
        raise TrainingError(f"{checkpoint}: of another network, or of an earlier version of it")
    model.load_state_dict(state["model"])
