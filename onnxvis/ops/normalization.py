"""Normalization operators: statistics are given, or taken from the tensor itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Floats, Ints, operator


@operator("BatchNormalization", since=14)
def batch_normalization(
    X: Tensor,
    scale: Tensor,
    B: Tensor,
    input_mean: Tensor,
    input_var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Scale (x - mean) / sqrt(variance + epsilon) + B for each channel, with the given statistics.

    In training mode the statistics are those of the batch, and the running ones with them are further outputs.
    """
    if training_mode:
        variance, mean = torch.var_mean(X, (0, *range(2, X.ndim)), correction=0)
        running_mean = momentum * input_mean + (1 - momentum) * mean
        running_var = momentum * input_var + (1 - momentum) * variance
        # Not torch's: it passes no gradient to the statistics, and refuses one image of one pixel.
        Y = _normalized(X, scale, B, mean, variance, epsilon)
        return Y if outputs == 1 else (Y, running_mean, running_var)[:outputs]
    if input_mean.requires_grad or input_var.requires_grad:  # which torch's does not pass it to
        Y = _normalized(X, scale, B, input_mean, input_var, epsilon)
    else:
        Y = functional.batch_norm(X, input_mean, input_var, scale, B, training=False, eps=epsilon)
    return Y if outputs == 1 else (Y, input_mean, input_var, input_mean, input_var)[:outputs]


def _normalized(X: Tensor, scale: Tensor, B: Tensor, mean: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    factor, channels = scale * torch.rsqrt(variance + epsilon), (-1, *[1] * (X.ndim - 2))
    return (X - mean.reshape(channels)) * factor.reshape(channels) + B.reshape(channels)


@operator("BatchNormalization")
def batch_normalization_1(
    X: Tensor,
    scale: Tensor,
    B: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """As `batch_normalization`; with `spatial=0` the statistics are of each element, (C, D1, ..., Dn)."""
    if spatial:
        return batch_normalization(X, scale, B, mean, var, epsilon=epsilon, momentum=momentum, outputs=outputs)
    Y = (X - mean) * (scale * torch.rsqrt(var + epsilon)) + B
    return Y if outputs == 1 else (Y, mean, var, mean, var)[:outputs]


@operator("InstanceNormalization")
def instance_normalization(input: Tensor, scale: Tensor, B: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Normalize each channel of each image over its spatial axes."""
    # With the channels last in memory, torch sums up less exactly.
    return torch.group_norm(input.contiguous(), input.shape[1], scale, B, epsilon)


@operator("GroupNormalization", since=21)
def group_normalization(
    X: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Tensor:
    """Normalize each group of channels; scale and bias are of each channel."""
    del stash_type
    return torch.group_norm(X.contiguous(), num_groups, scale, bias, epsilon)


@operator("GroupNormalization", since=18)
def group_normalization_18(X: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int) -> Tensor:
    """Normalize each group of channels; scale and bias are of each group."""
    channels = X.shape[1] // num_groups
    scale, bias = scale.repeat_interleave(channels), bias.repeat_interleave(channels)
    return torch.group_norm(X.contiguous(), num_groups, scale, bias, epsilon)


@operator("LayerNormalization")
def layer_normalization(
    X: Tensor,
    Scale: Tensor,
    B: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Normalize over all axes from `axis` on; then also the mean and the inverse standard deviation."""
    del stash_type
    shape = X.shape[axis:]
    if Scale.shape == shape and (B is None or B.shape == shape):
        Y = functional.layer_norm(X, shape, Scale, B, epsilon)
    else:
        Y = functional.layer_norm(X, shape, eps=epsilon) * Scale
        Y = Y if B is None else Y + B
    if outputs == 1:
        return Y
    axes = tuple(range(-len(shape), 0))
    variance, mean = torch.var_mean(X, axes, correction=0, keepdim=True)
    return (Y, mean, torch.rsqrt(variance + epsilon))[:outputs]


@operator("RMSNormalization")
def rms_normalization(
    X: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Divide by the root mean square over all axes from `axis` on."""
    del stash_type
    shape = X.shape[axis:]
    if scale.shape == shape:
        return functional.rms_norm(X, shape, scale, epsilon)
    return functional.rms_norm(X, shape, None, epsilon) * scale


@operator("LRN")
def lrn(X: Tensor, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int) -> Tensor:
    """X / (bias + alpha mean(x^2) over `size` neighboring channels)^beta; an even size has one more channel above."""
    below, above = (size - 1) // 2, size // 2
    squares = X.square().reshape(X.shape[0], 1, X.shape[1], -1)
    mean = functional.avg_pool2d(functional.pad(squares, [0, 0, below, above]), (size, 1), 1)
    return X / (bias + alpha * mean.reshape(X.shape)) ** beta


@operator("LpNormalization")
def lp_normalization(input: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Divide by the Lp norm along the axis; zeros stay zeros."""
    norm = torch.linalg.vector_norm(input, p, axis, keepdim=True)
    return input / torch.where(norm == 0, 1.0, norm)


@operator("MeanVarianceNormalization", since=9)
def mean_variance_normalization(X: Tensor, *, axes: Ints = (0, 2, 3)) -> Tensor:
    """(x - mean) / (standard deviation + 1e-9) over the axes."""
    variance, mean = torch.var_mean(X, axes, correction=0, keepdim=True)
    return (X - mean) / (variance.sqrt() + 1e-9)


@operator("MeanVarianceNormalization")
def mean_variance_normalization_1(input: Tensor, *, across_channels: int = 0, normalize_variance: int = 1) -> Tensor:
    """Normalize over the batch and space, and over channels if `across_channels`; experimental in opset 1."""
    axes = tuple(axis for axis in range(input.ndim) if across_channels or axis != 1)
    if normalize_variance:
        return mean_variance_normalization(input, axes=axes)
    return input - input.mean(axes, keepdim=True)


@operator("Dropout", since=12)
def dropout(
    data: Tensor,
    ratio: Tensor | float | None = None,
    training_mode: int | None = None,
    *,
    seed: int | None = None,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the data, and a mask that keeps everything.

    Raises:
        UnsupportedOpError: The node is in training mode.
    """
    del seed
    if training_mode and not (isinstance(ratio, float) and ratio == 0):
        message = "Dropout with training_mode=true is not implemented; export the model in evaluation mode"
        raise UnsupportedOpError(message, op_type="Dropout")
    return data if outputs == 1 else (data, torch.ones_like(data, dtype=torch.bool))


@operator("Dropout", since=10)
def dropout_10(data: Tensor, *, ratio: float = 0.5, outputs: int = 1) -> Tensor | tuple[Tensor, Tensor]:
    """Return the data, and a mask of False: the specification leaves it open, onnxruntime fills it so."""
    del ratio
    return data if outputs == 1 else (data, torch.zeros_like(data, dtype=torch.bool))


@operator("Dropout")
def dropout_1(data: Tensor, *, ratio: float = 0.5, outputs: int = 1) -> Tensor | tuple[Tensor, Tensor]:
    """As `dropout_10`; the mask has the type of the data."""
    del ratio
    return data if outputs == 1 else (data, torch.zeros_like(data))


@operator("ImageScaler")
def image_scaler(input: Tensor, *, bias: Floats, scale: float = 1.0) -> Tensor:
    """Scale x + bias of each channel; experimental in opset 1, and still in old files."""
    return scale * input + torch.tensor(bias, dtype=input.dtype, device=input.device)[:, None, None]


@operator("Affine")
def affine(X: Tensor, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """Alpha x + beta; experimental in opset 1, and still in old files."""
    return alpha * X + beta


@operator("Scale")
def scale(input: Tensor, *, scale: float = 1.0) -> Tensor:
    """Scale x; experimental in opset 1, and still in old files."""
    return scale * input
