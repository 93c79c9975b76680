"""Mixed precision where the GPU has it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Precision:
    """What convolutions are computed in; adders, BatchNorms' statistics and losses stay float32.

    bfloat16 has float32's range, so that losses need no scaling; powers of two are exact in it.
    """

    device: str
    mixed: bool

    @classmethod
    def of(cls, device: str) -> Precision:
        """bfloat16 on GPUs that compute in it (compute capability 8.0), else float32."""
        return cls(device, device == "cuda" and torch.cuda.get_device_capability() >= (8, 0))

    def machine(self) -> str:
        """What trains, in words: processor, precision and PyTorch's version."""
        if self.device == "cuda":
            where = f"one {torch.cuda.get_device_name()}"
        else:
            where = f"{torch.get_num_threads()} CPU threads"
        computed = "bfloat16, adders in float32" if self.mixed else "float32"
        return f"{where} ({computed}; PyTorch {torch.__version__})"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """To run a network in."""
        if not self.mixed:
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16)
