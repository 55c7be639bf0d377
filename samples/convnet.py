"""The network that the samples share: convolutions with ReLU, a global average, one dense layer.

The input is blurred a little before the first convolution, and downsampled by averages, because a stride or a maximum
would leave its own checkerboard in the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True)
class Design:
    """What a network is made of.

    Attributes:
        shape: Of one input: channels, then one to three spatial sizes.
        widths: Channels of each convolution.
        kernels: Their sizes, odd.
        pooled: The convolutions after which each size is halved, counted from 0.
        outputs: Of the dense layer.
        blurs: Averages over three neighbors along each axis before the first convolution.
        mean: Subtracted from the input.
        std: What it is then divided by.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    pooled: tuple[int, ...]
    outputs: int
    blurs: int = 1
    mean: float = 0.0
    std: float = 1.0

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return len(self.shape) - 1


class ConvNet(nn.Module):
    """Convolutions, each with batch normalization and ReLU, a global average and one dense layer."""

    def __init__(self, design: Design) -> None:
        """Make the layers, with random weights."""
        super().__init__()
        self.design = design
        widths = (design.shape[0], *design.widths)
        convolution, norm = CONVOLUTIONS[design.axes], NORMS[design.axes]
        self.convolutions = nn.ModuleList(
            convolution(widths[i], widths[i + 1], kernel, padding="same") for i, kernel in enumerate(design.kernels)
        )
        self.norms = nn.ModuleList(norm(width) for width in design.widths)
        self.dense = nn.Linear(design.widths[-1], design.outputs)

    def blocks(self) -> list[tuple[Convolution, Norm]]:
        """Pair each convolution with the normalization after it."""
        pairs = zip(self.convolutions, self.norms, strict=True)
        return cast("list[tuple[Convolution, Norm]]", list(pairs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs (N, outputs) of inputs (N, *shape), not normalized yet."""
        average = AVERAGES[self.design.axes]
        x = (inputs - self.design.mean) / self.design.std
        for _ in range(self.design.blurs):
            x = average(x, 3, stride=1, padding=1, count_include_pad=False)
        for index, (convolution, norm) in enumerate(self.blocks()):
            x = functional.relu(norm(convolution(x)))
            if index in self.design.pooled:
                x = average(x, 2)
        outputs: Tensor = self.dense(x.mean(tuple(range(2, x.ndim))))
        return outputs
