"""Training by several processes, each on its part of every batch (torchrun).

    torchrun --nproc-per-node N -m export.training.train ghostshiftaddnet --data train.zip

A batch of the recipe is the batch of all processes together, so that N of them follow the same
course as one, to rounding: BatchNorms take their statistics over all parts, and an adder layer's
adaptive rate is that of the whole gradient.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from export.operators import adder
from export.training.recipe import TrainingError


@dataclass(frozen=True)
class Processes:
    """Which of how many this process is.

    Attributes:
        rank: from 0; the process of rank 0 writes the files.
        count: of processes.
        local_rank: among those of this machine, which is its GPU's number.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def start(cls) -> Processes:
        """Joins the processes that torchrun has started; alone, where it was not torchrun.

        Raises TrainingError where torchrun's variables are damaged.
        """
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls()
        try:
            rank, count, local = (
                int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
            )
        except (KeyError, ValueError) as error:
            raise TrainingError(f"torchrun's variables are damaged: {error}") from error
        if count == 1:
            return cls()
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            if local >= torch.cuda.device_count():
                raise TrainingError(
                    f"--nproc-per-node: there are {torch.cuda.device_count()} GPUs; start no more "
                    "processes"
                )
            torch.cuda.set_device(local)
        dist.init_process_group("nccl" if on_gpu else "gloo")
        return cls(rank, count, local)

    @property
    def leads(self) -> bool:
        """Whether this one writes files and reports."""
        return self.rank == 0

    def part(self, images: Tensor, batch_size: int) -> Tensor:
        """This process's images of whole batches: [steps*batch_size, ...] to a count-th of them."""
        if self.count == 1:
            return images
        batches = images.unflatten(0, (-1, self.count, batch_size // self.count))
        own: Tensor = batches[:, self.rank].flatten(0, 1)
        return own

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes; a new tensor."""
        if self.count == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.count

    def any(self, wish: bool, device: str) -> bool:
        """Whether any process has the wish."""
        if self.count == 1:
            return wish
        flag = torch.tensor(float(wish), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def end(self) -> None:
        """Leaves the others."""
        if self.count > 1:
            dist.destroy_process_group()


ALONE = Processes()


def synchronise(model: nn.Module) -> None:
    """Has the BatchNorms and the adders of a network reckon with all processes' parts."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = BatchNorm2d
    adder.reduce_gradient = dist.all_reduce


class BatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm whose statistics are those of the whole batch: [N, C, H, W] to the same.

    With a `momentum` of None it works alone: then statistics are taken afresh, by each process over
    the same images.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.momentum is None:
            out: Tensor = super().forward(x)
            return out
        processes = dist.get_world_size()
        mean = _sum(x.mean((0, 2, 3))) / processes
        # In two passes: an adder's sums are large and negative, and their squares lose digits.
        centred = x - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().mean((0, 2, 3))) / processes
        self._follow(mean, variance, x.numel() // x.shape[1] * processes)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Moves the running statistics as PyTorch does: the variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


class _Sum(torch.autograd.Function):
    """The sum over the processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total
