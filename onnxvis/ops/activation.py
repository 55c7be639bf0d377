"""Activation functions: elementwise, or over one axis; the equations are those of the ONNX specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.table import operator


@operator("Relu")
def relu(X: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(X)


@operator("LeakyRelu")
def leaky_relu(X: Tensor, *, alpha: float = 0.01) -> Tensor:
    """X where x >= 0, else alpha x."""
    return functional.leaky_relu(X, alpha)


@operator("PRelu", since=7)
def prelu(X: Tensor, slope: Tensor) -> Tensor:
    """X where x >= 0, else slope x; the slope broadcasts to X."""
    rank = X.ndim
    fits_torch = slope.numel() == 1 or (rank > 1 and slope.shape == (X.shape[1], *[1] * (rank - 2)))
    if fits_torch and X.is_floating_point():
        return functional.prelu(X, slope.reshape(-1))
    return torch.where(X < 0, X * slope, X)


@operator("PRelu")
def prelu_1(X: Tensor, slope: Tensor) -> Tensor:
    """X where x >= 0, else slope x; one slope, or one for each channel."""
    return functional.prelu(X, slope.reshape(-1))


@operator("ThresholdedRelu")
def thresholded_relu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X where x > alpha, else 0."""
    return torch.where(alpha < X, X, 0.0)


@operator("Elu")
def elu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X where x >= 0, else alpha (exp(x) - 1)."""
    return functional.elu(X, alpha)


@operator("Selu", since=6)
def selu(X: Tensor, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Tensor:
    """Gamma times (x where x > 0, else alpha (exp(x) - 1))."""
    return gamma * functional.elu(X, alpha)


@operator("Selu")
def selu_1(X: Tensor, *, alpha: float = 1.6732, gamma: float = 1.0507) -> Tensor:
    """As `selu`, with constants of four digits."""
    return selu(X, alpha=alpha, gamma=gamma)


@operator("Celu")
def celu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return functional.celu(X, alpha)


@operator("Gelu")
def gelu(X: Tensor, *, approximate: str = "none") -> Tensor:
    """X times the normal distribution function of x; `approximate` is "none" or "tanh"."""
    return functional.gelu(X, approximate=approximate)


@operator("Mish")
def mish(X: Tensor) -> Tensor:
    """X tanh(softplus(x))."""
    return functional.mish(X)


@operator("Swish")
def swish(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X sigmoid(alpha x)."""
    return functional.silu(X) if alpha == 1 else X * torch.sigmoid(alpha * X)


@operator("SwiGLU", since=28)
def swiglu(A: Tensor, B: Tensor, *, alpha: float = 1.0) -> Tensor:
    """A sigmoid(alpha a) b (Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202)."""
    return swish(A, alpha=alpha) * B


@operator("HardSwish")
def hard_swish(X: Tensor) -> Tensor:
    """X max(0, min(1, x / 6 + 1 / 2))."""
    return functional.hardswish(X)


@operator("Sigmoid")
def sigmoid(X: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(X)


@operator("HardSigmoid")
def hard_sigmoid(X: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """max(0, min(1, alpha x + beta))."""
    return torch.clamp(alpha * X + beta, 0.0, 1.0)


@operator("Tanh")
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(input)


@operator("ScaledTanh")
def scaled_tanh(input: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Alpha tanh(beta x); experimental in opset 1, and still in old files."""
    return alpha * torch.tanh(beta * input)


@operator("Softplus")
def softplus(X: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return functional.softplus(X)


@operator("ParametricSoftplus")
def parametric_softplus(X: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Alpha log(1 + exp(beta x)); experimental in opset 1, and still in old files."""
    return alpha * functional.softplus(beta * X)


@operator("Softsign")
def softsign(input: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return functional.softsign(input)


@operator("Shrink")
def shrink(input: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """X + bias below -lambd, x - bias above lambd, 0 between."""
    shrunk = torch.where(input < -lambd, input + bias, torch.where(input > lambd, input - bias, 0))
    return shrunk.to(input.dtype)


@operator("Clip")
def clip(input: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """min(max(x, lower), upper); the upper bound wins where the bounds cross."""
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        above = input if min is None else torch.clamp(input, min=min)
        return above if max is None else torch.clamp(above, max=max)
    return input if min is None and max is None else torch.clamp(input, min, max)


@operator("Softmax", since=13)
def softmax(input: Tensor, *, axis: int = -1) -> Tensor:
    """exp(x), divided by its sum over the axis."""
    return torch.softmax(input, axis)


@operator("Softmax")
def softmax_1(input: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax over all axes from `axis` on."""
    return torch.softmax(input.flatten(axis), -1).reshape(input.shape)


@operator("LogSoftmax", since=13)
def log_softmax(input: Tensor, *, axis: int = -1) -> Tensor:
    """Logarithm of the softmax over the axis."""
    return torch.log_softmax(input, axis)


@operator("LogSoftmax")
def log_softmax_1(input: Tensor, *, axis: int = 1) -> Tensor:
    """Logarithm of the softmax over all axes from `axis` on."""
    return torch.log_softmax(input.flatten(axis), -1).reshape(input.shape)


@operator("Hardmax", since=13, differentiable=False)
def hardmax(input: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first maximum along the axis, 0 elsewhere."""
    return torch.zeros_like(input).scatter(axis, input.argmax(axis, keepdim=True), 1)


@operator("Hardmax", differentiable=False)
def hardmax_1(input: Tensor, *, axis: int = 1) -> Tensor:
    """1 at the first maximum over all axes from `axis` on, 0 elsewhere."""
    return hardmax(input.flatten(axis)).reshape(input.shape)
