"""The modules that take the place of an author's layer, where ours alone does not do."""

from __future__ import annotations

from torch import Tensor, nn

from export.operators import ShiftConv2d


class RoundedInput(nn.Module):
    """A layer whose input is rounded first: what the two together take and give is the layer's."""

    def __init__(self, rounding: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.rounding, self.layer = rounding, layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.rounding(x))
        return out


class ShiftLinear(nn.Module):
    """A linear layer of powers of two: [N, C] to [N, M], or [N, T, C] to [N, T, M].

    It is a 1x1 ShiftConv2d over positions, as the operators' contract has no linear operator.
    """

    def __init__(self, layer: ShiftConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            out: Tensor = self.layer(x.unsqueeze(-1).unsqueeze(-1))
            return out.flatten(1)
        if x.dim() == 3:
            out = self.layer(x.transpose(1, 2).unsqueeze(-1))
            return out.squeeze(-1).transpose(1, 2)
        raise ValueError(f"expected an input [N, C] or [N, T, C], got {tuple(x.shape)}")
