"""A compositional pattern-producing network: the image is what a small network makes of each pixel's coordinates.

Stanley, "Compositional pattern producing networks" (2007), https://doi.org/10.1007/s10710-007-9028-8; its weights are
optimized by gradients as in Mordvintsev et al., "Differentiable Image Parameterizations" (2018),
https://distill.pub/2018/differentiable-parameterizations/. The pictures are smooth shapes that exist at any size.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.colors import Colors, as_colors, color_matrix, mixed, unmixed
from onnxvis.errors import SettingError
from onnxvis.images import normal, seed_logits, uniform

_GAIN = 1.6
"""Standard deviation of the weights, in units of one over the root of the number of inputs: enough for tanh to bend."""
RATE = 0.5
"""What the parameters of weights are multiplied by, such that they share a learning rate with other parameters."""
FIT_STEPS = 300
"""Of Adam, in which a network learns a seed image, looking at so many of its pixels in each:"""
FIT_PIXELS = 2048
_FIT_LEARNING_RATE = 0.05


@dataclass(frozen=True)
class Cppn:
    """The weights of a small network from coordinates to logits, of its own for each image.

    Its first layer makes sine waves of the coordinates, in all directions (Tancik et al., "Fourier Features Let
    Networks Learn High Frequency Functions in Low Dimensional Domains", 2020, https://arxiv.org/abs/2006.10739); the
    others are fully connected with tanh between them.

    A seed image is first learned by the network, in some hundred steps. On photos of 224 x 224 pixels it comes within
    0.06 on average, and the fine detail is missing. What it cannot reproduce is kept as a last parameter, a constant
    that is added to its output: so the start is the seed image itself, and the network changes it smoothly.

    Attributes:
        width: Units of each hidden layer.
        depth: Number of hidden layers, that of the waves included.
        waves: Standard deviation, along each axis, of the number of periods over the longest side; more give finer
            shapes.
        std: Standard deviation of the starting logits, roughly.
        decorrelate: Whether images of three channels are RGB and get the colors of natural images.
        colors: Their color matrix, as `onnxvis.colors` tells; None: that of natural images.
    """

    width: int = 24
    depth: int = 4
    waves: float = 3.0
    std: float = 0.5
    decorrelate: bool = True
    colors: Colors | None = None

    def __post_init__(self) -> None:
        """Read the color matrix as plain numbers, and refuse networks without layers or units."""
        object.__setattr__(self, "colors", as_colors(self.colors))
        if min(self.width, self.depth) < 1:
            message = f"A CPPN needs hidden units and layers, not width={self.width}, depth={self.depth}."
            raise SettingError(message, width=self.width, depth=self.depth)

    def start(
        self,
        shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        *,
        seed_image: Tensor | None = None,
        contrast: float = 1.0,
    ) -> tuple[Tensor, ...]:
        """Give random weights, or those that come near the seed image and the rest; see `Parameterization.start`."""
        weights = self._drawn(shape, generators, contrast)
        if seed_image is None:
            return weights
        logits = seed_logits(seed_image, shape) * contrast
        wanted = unmixed(self._color_matrix(shape[1], logits.device), logits).flatten(2)
        coordinates = _coordinates(shape[2:], logits.device)
        weights = self._fitted(weights, coordinates, wanted, generators)
        with torch.no_grad():
            return (*weights, (wanted - self._outputs(weights, coordinates)).view(shape))

    def render(self, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Compute the images, (N, C, H, W) in [0, 1]; see `Parameterization.render`."""
        weights, rest = parameters[: self.depth + 1], parameters[self.depth + 1 :]
        channels = self._outputs(weights, _coordinates(shape[2:], weights[0].device)).view(shape)
        if rest:
            channels = channels + rest[0].detach()
        return torch.sigmoid(mixed(self._color_matrix(shape[1], channels.device), channels))

    def _drawn(
        self, shape: tuple[int, ...], generators: Sequence[torch.Generator], contrast: float
    ) -> tuple[Tensor, ...]:
        """Draw weights and, as their last column, biases: (N, outputs, inputs + 1) for each layer."""
        sizes = [len(shape) - 2, *[self.width] * self.depth, shape[1]]
        weights = [
            normal((shape[0], outputs, inputs + 1), generators) * (_GAIN / RATE)
            for inputs, outputs in itertools.pairwise(sizes)
        ]
        return (*weights[:-1], weights[-1] * (self.std * contrast / _GAIN))

    def _outputs(self, weights: Sequence[Tensor], coordinates: Tensor) -> Tensor:
        """Compute the network of each image at some places, (axes, P) or (N, axes, P) -> (N, C, P)."""
        first, *hidden, last = weights
        # Of d coordinates from -1 to 1, a layer makes waves of `waves` periods over the length 2.
        stretched = coordinates * (math.pi * self.waves * math.sqrt(first.shape[-1]) / _GAIN)
        units = torch.sin(_linear(first, stretched))
        for layer in hidden:
            units = torch.tanh(_linear(layer, units))
        return _linear(last, units)

    def _fitted(
        self, weights: tuple[Tensor, ...], coordinates: Tensor, wanted: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, ...]:
        """Let the networks learn what is wanted at each place, (N, C, P), each from pixels of its own choice."""
        weights = tuple(layer.requires_grad_() for layer in weights)
        optimizer = torch.optim.Adam(weights, lr=_FIT_LEARNING_RATE)
        pixels = coordinates.shape[1]
        for step in range(FIT_STEPS):
            for group in optimizer.param_groups:
                group["lr"] = _FIT_LEARNING_RATE * (1 - step / FIT_STEPS)
            chosen = (uniform((len(wanted), min(pixels, FIT_PIXELS)), generators) * pixels).long()
            seen = coordinates[:, chosen].transpose(0, 1)
            target = wanted.gather(2, chosen[:, None].expand(-1, wanted.shape[1], -1))
            # Added up over the images, such that each learns as if alone.
            error = (self._outputs(weights, seen) - target).square().mean(dim=(1, 2)).sum()
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()
        return tuple(layer.detach() for layer in weights)

    def _color_matrix(self, channels: int, device: torch.device) -> Tensor | None:
        return color_matrix(channels, device, decorrelate=self.decorrelate, colors=self.colors)


def _linear(layer: Tensor, inputs: Tensor) -> Tensor:
    scaled = layer * (RATE / math.sqrt(layer.shape[-1]))
    return scaled[..., :-1] @ inputs + scaled[..., -1:]


@functools.lru_cache(maxsize=4)
def _coordinates(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Give the places of all pixels, (axes, pixels), from -1 to 1 along the longest side, and in its units."""
    axes = [(torch.arange(length) + 0.5 - length / 2) * (2 / max(size)) for length in size]
    return torch.stack(torch.meshgrid(axes, indexing="ij")).flatten(1).to(device)
