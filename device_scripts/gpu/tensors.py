"""The CUDA kernels on PyTorch's tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from device_scripts.gpu.library import BuildError, Convolution, Library, Pointers, build

Array = npt.NDArray[Any]


class GpuLibrary:
    """The kernels, built for the GPU at hand. Raises BuildError where there is none."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise BuildError("no GPU that PyTorch can use")
        count = torch.cuda.get_device_properties(0).multi_processor_count
        self._library = Library(build(), count)

    def prepare(
        self, convolution: Convolution, x: Array, w: Array, scale: Array, bias: Array
    ) -> PreparedConvolution:
        """Brings a convolution's inputs to the GPU: x [N, C, H, W] of any float type, w as the
        operator is given it, scale and bias float32 [M]. Raises ValueError for what breaks the
        contract."""
        dtype = torch.float16 if convolution.half else torch.float32
        size = self._library.workspace_bytes(convolution)
        return PreparedConvolution(
            library=self._library,
            convolution=convolution,
            x=torch.from_numpy(x).to("cuda", dtype),
            w=torch.from_numpy(w).cuda(),
            scale=torch.from_numpy(np.ascontiguousarray(scale)).cuda(),
            bias=torch.from_numpy(np.ascontiguousarray(bias)).cuda(),
            workspace=torch.full((size,), 0xFF, dtype=torch.uint8, device="cuda"),
        )


@dataclass(frozen=True)
class PreparedConvolution:
    """A convolution whose inputs lie on the GPU."""

    library: Library
    convolution: Convolution
    x: Tensor
    w: Tensor
    scale: Tensor
    bias: Tensor
    workspace: Tensor

    def run(self, y: Tensor) -> None:
        """Enqueues it on PyTorch's current stream; y is dense, of the output's shape and type."""
        self.library.run(self.convolution, self._pointers(y))

    def run_plain_adder(self, y: Tensor) -> None:
        """The same by the plain kernel: float32 AdderConv only."""
        self.library.run_plain_adder(self.convolution, replace(self._pointers(y), workspace=0))

    def _pointers(self, y: Tensor) -> Pointers:
        return Pointers(
            x=self.x.data_ptr(),
            w=self.w.data_ptr(),
            scale=self.scale.data_ptr(),
            bias=self.bias.data_ptr(),
            y=y.data_ptr(),
            workspace=self.workspace.data_ptr(),
            stream=torch.cuda.current_stream().cuda_stream,
        )
