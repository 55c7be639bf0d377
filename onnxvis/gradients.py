"""Gradient modifiers: what becomes of the ascent gradient, of an activation by the image, before a step is made by it.

A modifier maps the gradient of one image, (1, C, *spatial), elementwise or not, to a tensor of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from onnxvis.errors import SettingError

Modifier = Callable[[Tensor], Tensor]

EPSILON = 1e-7
"""keras-vis's, there Keras's own epsilon."""


def negate(gradient: Tensor) -> Tensor:
    """-g: away from what raises the activation."""
    return -gradient


def absolute(gradient: Tensor) -> Tensor:
    """|g|: brighter, wherever the activation changes."""
    return gradient.abs()


def invert(gradient: Tensor) -> Tensor:
    """1 / (g + 1e-7): most where the activation changes least."""
    return 1 / (gradient + EPSILON)


def relu(gradient: Tensor) -> Tensor:
    """max(g, 0): brighter, where that raises the activation."""
    return torch.relu(gradient)


def small_values(gradient: Tensor) -> Tensor:
    """|1 / (g + 1e-7)|: brighter, most where the activation changes least."""
    return (1 / (gradient + EPSILON)).abs()


GRADIENT_MODIFIERS: Mapping[str, Modifier] = {
    function.__name__: function for function in (negate, absolute, invert, relu, small_values)
}
"""The gradient modifiers of keras-vis by name, with its definitions.

In keras-vis "negate" turns the penalties too, and the best image is the one that is worst by them. `onnxvis.visualize`
lowers the activation instead: only the activation's term changes its sign.
"""


def modifier_of(given: str | Modifier) -> Modifier:
    """Return a gradient modifier by its name; a function is its own.

    Raises:
        SettingError: There is none of this name.
    """
    if callable(given):
        return given
    if given not in GRADIENT_MODIFIERS:
        message = f"No gradient modifier {given!r}. There are {', '.join(GRADIENT_MODIFIERS)}, and any function."
        raise SettingError(message, name=given, names=tuple(GRADIENT_MODIFIERS))
    return GRADIENT_MODIFIERS[given]


def modified(images: Tensor, modifier: Modifier) -> Tensor:
    """Return the images, the same bits, through which another gradient flows back.

    With the gradient g of a loss that is made small, a = -g is the ascent direction. For each image it is scaled to a
    root mean square of 1, so that epsilon means the same for every model; modified; and brought back to the length that
    it had, so that its balance with other losses stays. An image whose gradient is zero keeps it.

    Args:
        images: (N, C, *spatial) of a network's input, before the network.
        modifier: Called with the scaled ascent gradient of one image at a time, (1, C, *spatial), so that no image
            depends on its neighbors.

    Raises:
        SettingError: While the gradient is computed: the modifier returns something other than a tensor of its
            argument's shape.
    """
    result: Tensor = _Modified.apply(images, modifier)  # type: ignore[no-untyped-call] # torch's own
    return result


class _Modified(torch.autograd.Function):
    """images -> images; see `modified`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, modifier: Modifier) -> Tensor:  # noqa: ARG004 - for the gradient
        return images.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Modifier], output: Tensor) -> None:  # noqa: ARG004 - torch's
        _, ctx.modifier = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ascent = -gradient
        lengths = _lengths(ascent)
        scaled = _with_lengths(ascent, torch.full_like(lengths, ascent[0].numel() ** 0.5))
        changed = torch.cat([_called(ctx.modifier, scaled[index : index + 1]) for index in range(len(scaled))])
        return -_with_lengths(changed, lengths), None


def _called(modifier: Modifier, gradient: Tensor) -> Tensor:
    result: Any = modifier(gradient)
    name = getattr(modifier, "__name__", repr(modifier))
    if not isinstance(result, Tensor):
        message = f"Gradient modifier {name} returned {type(result).__name__}. It must return a tensor."
        raise SettingError(message, name=name)
    if result.shape != gradient.shape:
        message = (
            f"Gradient modifier {name} made {tuple(result.shape)} of a gradient of shape {tuple(gradient.shape)}. "
            "It must keep the shape."
        )
        raise SettingError(message, name=name, shape=tuple(result.shape))
    return result.to(gradient)


def _lengths(gradient: Tensor) -> Tensor:
    """Return the L2 norm of each image, (N, 1, ..., 1), in double precision, in which no square vanishes."""
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
    return norms.reshape(-1, *[1] * (gradient.ndim - 1))


def _with_lengths(gradient: Tensor, lengths: Tensor) -> Tensor:
    found = _lengths(gradient)
    return (gradient * torch.where(found > 0, lengths / found, 0.0)).to(gradient)
