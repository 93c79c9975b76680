"""A teacher's logits, and the loss of a student that follows them (arXiv 1503.02531)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.checkpoint import load_model
from export.models import MODELS
from export.training.precision import Precision
from export.training.recipe import Recipe, TrainingError


class Teacher:
    """A trained network of the registry that only looks on.

    Attributes:
        digest: SHA-256 (hex) of the file that its weights are from.
    """

    def __init__(self, name: str, labels: tuple[str, ...], precision: Precision) -> None:
        if name not in MODELS:
            raise TrainingError(
                f"--teacher {name}: unknown; known models: {', '.join(MODELS)}, or '' for none"
            )
        if MODELS[name].labels != labels:
            raise TrainingError(f"--teacher {name}: its classes are not those of the student")
        model, self.digest = load_model(name)
        if not self.digest:
            raise TrainingError(
                f"--teacher {name}: it has no trained weights; train it first "
                f"(make train MODEL={name}) and publish them, or set --teacher ''"
            )
        self._network: nn.Module = model.to(precision.device).eval().requires_grad_(False)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._precision = precision

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Normalized images [N,3,H,W] to float32 [N, classes]."""
        with self._precision.autocast():
            out: Tensor = self._network(inputs)
        return out.float()


def loss_of(recipe: Recipe, logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
    """The recipe's loss: over the labels, and with a teacher's logits the distance from those.

    Args:
        logits: [N, classes].
        labels: int64 [N].
        taught: the teacher's logits [N, classes].
    """
    logits = logits.float()
    hard = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if taught is None:
        return hard
    student = F.log_softmax(logits / recipe.temperature, 1)
    teacher = F.log_softmax(taught / recipe.temperature, 1)
    # The square gives the gradient the size that it has over labels (section 2).
    soft = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    soft = soft * recipe.temperature**2
    return recipe.distillation * soft + (1.0 - recipe.distillation) * hard


def cache_file(folder: Path, key: str, epoch: int) -> Path:
    """Where one epoch's logits lie."""
    return folder / f"{key}-{epoch:04d}.safetensors"
