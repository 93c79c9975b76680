"""The CUDA kernels on PyTorch's tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from device_scripts.host.gpu.library import BuildError, Convolution, Library, Pointers, build

Array = npt.NDArray[Any]


class GpuLibrary:
    """The kernels, built for the GPU at hand. Raises BuildError where there is none."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise BuildError("no GPU that PyTorch can use")
        properties = torch.cuda.get_device_properties(0)
        library = build(10 * properties.major + properties.minor)
        self._library = Library(library, properties.multi_processor_count)

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
            x=_on_gpu(x).to(dtype),
            w=_on_gpu(w),
            scale=_on_gpu(scale),
            bias=_on_gpu(bias),
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
        """Does the same with the plain kernel, which only has AdderConv in float32."""
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


def _on_gpu(array: Array) -> Tensor:
    # A tensor would keep the order of the array's memory, and the kernels accept only one order.
    return torch.from_numpy(np.ascontiguousarray(array)).cuda()
