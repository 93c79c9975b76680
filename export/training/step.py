"""Forward and backward pass of one batch: plainly, or on a GPU as one recorded graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from export.training.precision import Precision

Loss = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""Of logits [N, classes], labels [N] and, of a student, the teacher's logits [N, classes]."""

# What cuDNN tries out and Triton compiles has to be done before a graph is recorded.
_WARM_UPS = 3


class Step:
    """Leaves a batch's gradients in the parameters' `grad`, and returns its loss, detached."""

    def __init__(self, network: nn.Module, loss: Loss, precision: Precision) -> None:
        self._network = network
        self._loss = loss
        self._precision = precision

    def __call__(self, inputs: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        for parameter in self._network.parameters():
            parameter.grad = None
        return self._run(inputs, labels, taught)

    def _run(self, inputs: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        with self._precision.autocast():
            logits = self._network(inputs)
        loss = self._loss(logits, labels, taught)
        loss.backward()
        return loss.detach()


class GraphedStep(Step):
    """The same through a CUDA graph: hundreds of kernels are launched as one.

    The graph is recorded at the first batch, and again for batches of other shapes. Recording runs
    the network a few times more, which moves the BatchNorms' running statistics; they are put back.
    """

    def __init__(self, network: nn.Module, loss: Loss, precision: Precision) -> None:
        super().__init__(network, loss, precision)
        self._graph: Any = None
        self._inputs: list[Tensor] = []
        self._out = torch.empty(0)

    def __call__(self, inputs: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        given = [inputs, labels, *([] if taught is None else [taught])]
        if self._graph is None or [t.shape for t in given] != [t.shape for t in self._inputs]:
            self._record(given)
        for held, new in zip(self._inputs, given, strict=True):
            held.copy_(new)
        self._graph.replay()
        return self._out

    def _record(self, given: list[Tensor]) -> None:
        kept = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        self._graph = None
        self._inputs = [t.clone() for t in given]
        inputs, labels, *taught = self._inputs
        arguments = (inputs, labels, taught[0] if taught else None)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                super().__call__(*arguments)
        torch.cuda.current_stream().wait_stream(aside)
        for parameter in self._network.parameters():
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._out = self._run(*arguments)
        self._graph = graph
        with torch.no_grad():
            for name, buffer in self._network.named_buffers():
                buffer.copy_(kept[name])
