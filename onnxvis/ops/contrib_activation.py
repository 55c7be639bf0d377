"""Activations of domain com.microsoft: those that onnxruntime's optimizers fuse, with and without a bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import activation as plain
from onnxvis.ops.table import operator

DOMAIN = "com.microsoft"

ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "Celu": (plain.celu, ("alpha",)),
    "Clip": (plain.clip, ("min", "max")),
    "Elu": (plain.elu, ("alpha",)),
    "HardSigmoid": (plain.hard_sigmoid, ("alpha", "beta")),
    "HardSwish": (plain.hard_swish, ()),
    "LeakyRelu": (plain.leaky_relu, ("alpha",)),
    "ParametricSoftplus": (plain.parametric_softplus, ("alpha", "beta")),
    "Relu": (plain.relu, ()),
    "ScaledTanh": (plain.scaled_tanh, ("alpha", "beta")),
    "Selu": (plain.selu, ("alpha", "gamma")),
    "Sigmoid": (plain.sigmoid, ()),
    "Softplus": (plain.softplus, ()),
    "Softsign": (plain.softsign, ()),
    "Tanh": (plain.tanh, ()),
    "ThresholdedRelu": (plain.thresholded_relu, ("alpha",)),
}
"""What can be fused into a product or a convolution: the operator, and the names of its settings in their order."""


def activated(x: Tensor, activation: str, settings: Mapping[str, float | None]) -> Tensor:
    """Apply a fused activation.

    Args:
        x: Any tensor.
        activation: The name of the operator; "" for none.
        settings: Its attributes; what is None or left out has the operator's default.

    Raises:
        UnsupportedOpError: Another activation than those of `ACTIVATIONS`.
    """
    if not activation:
        return x
    if activation not in ACTIVATIONS:
        message = f"The fused activation {activation!r} is not implemented; {', '.join(ACTIVATIONS)} are"
        raise UnsupportedOpError(message, activation=activation)
    function, names = ACTIVATIONS[activation]
    given = {name: settings[name] for name in names if settings.get(name) is not None}
    return function(x, **given)


@operator("Gelu", domain=DOMAIN)
def gelu(X: Tensor) -> Tensor:
    """X times the normal distribution function of x."""
    return functional.gelu(X)


@operator("FastGelu", domain=DOMAIN)
def fast_gelu(X: Tensor, bias: Tensor | None = None) -> Tensor:
    """The tanh approximation of `gelu`, of X + bias."""
    return functional.gelu(X if bias is None else X + bias, approximate="tanh")


@operator("QuickGelu", domain=DOMAIN)
def quick_gelu(X: Tensor, *, alpha: float = 1.702) -> Tensor:
    """X sigmoid(alpha x)."""
    return plain.swish(X, alpha=alpha)


@operator("BiasGelu", domain=DOMAIN)
def bias_gelu(A: Tensor, B: Tensor) -> Tensor:
    """`gelu` of A + B."""
    return functional.gelu(A + B)


@operator("BiasSplitGelu", domain=DOMAIN)
def bias_split_gelu(X: Tensor, bias: Tensor) -> Tensor:
    """Split X + bias, (N, S, D), into halves of the last axis: the left one times `gelu` of the right one."""
    left, right = (X + bias).chunk(2, -1)
    return left * functional.gelu(right)


@operator("ScaledSiLU", domain=DOMAIN)
def scaled_silu(X: Tensor, scale: Tensor | None = None, *, alpha: float = 1.0) -> Tensor:
    """Z sigmoid(z) of z = scale x; without the scale, alpha x."""
    return functional.silu((alpha if scale is None else scale) * X)


@operator("BiasAdd", domain=DOMAIN)
def bias_add(X: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """X + bias + skip; X and skip are (N, S, C), the bias is (C,)."""
    return X + bias + skip


@operator("GatedAdd", domain=DOMAIN)
def gated_add(X: Tensor, Y: Tensor, gate: Tensor) -> Tensor:
    """X + gate Y; the gate is (..., 1)."""
    return X + Y * gate


@operator("BiasSoftmax", domain=DOMAIN)
def bias_softmax(data: Tensor, bias: Tensor, *, axis: int = 1, is_inner_broadcast: int) -> Tensor:
    """Softmax of data + bias over all axes from `axis` on.

    Args:
        data: Scores.
        bias: Of the scores' rank with ones, or of less: the axes that it lacks are the inner or the outer ones.
        axis: The first axis of the softmax.
        is_inner_broadcast: Whether a bias of smaller rank lacks the axes just before `axis`; else it lacks the first.
    """
    missing = data.ndim - bias.ndim
    if is_inner_broadcast and missing:
        outer = axis % data.ndim - missing
        bias = bias.reshape(*bias.shape[:outer], *[1] * missing, *bias.shape[outer:])
    return plain.softmax_1(data + bias, axis=axis)


@operator("BiasDropout", domain=DOMAIN)
def bias_dropout(
    data: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    ratio: float | None = None,
    training_mode: int | None = None,
    *,
    seed: int | None = None,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Data + bias + residual, and a mask that keeps everything.

    Raises:
        UnsupportedOpError: The node is in training mode.
    """
    del seed
    if training_mode and ratio != 0:
        message = "BiasDropout with training_mode=true is not implemented; export the model in evaluation mode"
        raise UnsupportedOpError(message, op_type="BiasDropout")
    biased = data + bias
    output = biased if residual is None else biased + residual
    return output if outputs == 1 else (output, torch.ones_like(biased, dtype=torch.bool))
