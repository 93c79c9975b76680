"""Work on the GPU as contestants of a race.

Each is a CUDA graph of many launches, so that the time that the host needs to launch them is not
measured.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

_TURN_SECONDS = 1e-3
_WARM_UP_RUNS = 3


class Contestant:
    """Work that is enqueued on PyTorch's current stream, as a graph that repeats it."""

    def __init__(self, enqueue: Callable[[], object]) -> None:
        # The graph only knows addresses, so the work is kept, and with it the tensors at these
        # addresses.
        self._enqueue = enqueue
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # cuDNN chooses its algorithm, and PyTorch its memory, before the capture.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                enqueue()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph, self._repeats = _capture(enqueue, 1), 1
        self.seconds()
        self._repeats = max(1, round(_TURN_SECONDS / min(self.seconds() for _ in range(3))))
        self._graph = _capture(enqueue, self._repeats)
        self.seconds()

    def seconds(self) -> float:
        """The seconds of one run, as the mean of a turn."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self._graph.replay()
        end.record()
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return 1e-3 * milliseconds / self._repeats


def _capture(enqueue: Callable[[], object], repeats: int) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            enqueue()
    return graph
