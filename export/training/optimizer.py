"""The optimizer of a training: which parameters decay, and which have a rate of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.operators import AdderConv2d
from export.training.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov's momentum over `parameter_groups`; one kernel a group on a GPU."""
    return torch.optim.SGD(
        parameter_groups(model, recipe),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        fused=next(model.parameters()).is_cuda,
    )


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Weights decay; biases and BatchNorm's scales, all of rank 1, do not.

    `scale` is what the learning rate is multiplied by: adders have a rate of their own, since their
    steps' size is that of AdderNet's adaptive rate (arXiv 1912.13200, eq. 12).
    """
    adders = {id(m.weight) for m in model.modules() if isinstance(m, AdderConv2d)}
    parameters = list(model.parameters())
    groups = [
        ([p for p in parameters if p.dim() > 1 and id(p) not in adders], recipe.weight_decay, 1.0),
        ([p for p in parameters if id(p) in adders], recipe.weight_decay, recipe.adder_rate),
        ([p for p in parameters if p.dim() <= 1], 0.0, 1.0),
    ]
    return [
        {"params": params, "weight_decay": decay, "scale": scale}
        for params, decay, scale in groups
        if params
    ]
