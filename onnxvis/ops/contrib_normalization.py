"""Normalizations of domain com.microsoft: with a residual sum, embeddings or an activation fused into them.

What is normalized is (N, S, C) or of any other rank, over the last axis, unless a function says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.normalization import layer_normalization
from onnxvis.ops.table import operator


@operator("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    X: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int = 1
) -> Tensor | tuple[Tensor, ...]:
    """Divide by the root mean square over all axes from `axis` on; then also the inverse of that.

    onnxruntime enters it into the default domain, where the specification does not have it.
    """
    del stash_type
    inverse = torch.rsqrt(X.square().mean(tuple(range(axis % X.ndim, X.ndim)), keepdim=True) + epsilon)
    return (X * inverse * scale, inverse)[:outputs] if outputs > 1 else X * inverse * scale


@operator("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(
    input: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Normalize input + skip + bias; then also the mean, the inverse standard deviation and the sum."""
    total = _summed(input, skip, bias)
    if outputs == 1:
        return functional.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
    normalized = layer_normalization(total, gamma, beta, epsilon=epsilon, outputs=3)
    return (*normalized, total)[:outputs]


@operator("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified_layer_normalization(
    input: Tensor,
    skip: Tensor,
    gamma: Tensor,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Divide input + skip + bias by its root mean square; the mean, which is second, is 0."""
    total = _summed(input, skip, bias)
    normalized = simplified_layer_normalization(total, gamma, epsilon=epsilon, outputs=2)
    Y, inverse = normalized
    return Y if outputs == 1 else (Y, torch.zeros_like(inverse), inverse, total)[:outputs]


@operator("GatedRMSNorm", domain=DOMAIN)
def gated_rms_norm(
    X: Tensor, scale: Tensor, gate: Tensor, *, activation: str = "silu", epsilon: float = 1e-5
) -> Tensor:
    """Divide runs of C elements by their root mean square, and multiply by the scale (C,) and the activated gate."""
    runs = X.reshape(*X.shape[:-1], -1, scale.shape[0])
    normalized = (runs * torch.rsqrt(runs.square().mean(-1, keepdim=True) + epsilon) * scale).reshape(X.shape)
    return normalized * (torch.sigmoid(gate) if activation == "sigmoid" else functional.silu(gate))


@operator("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    word_embedding: Tensor,
    position_embedding: Tensor,
    segment_embedding: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 1,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Normalize the sum of the embeddings of words, positions and segments, (N, S, C).

    Then also how many words the mask keeps, (N,) (zeros without one), and the sum.
    """
    del mask_index_type
    N, S = input_ids.shape
    places = torch.arange(S, device=input_ids.device) if position_ids is None else position_ids.long()
    total = word_embedding[input_ids.long()] + position_embedding[places]
    if segment_ids is not None and segment_embedding is not None:
        total = total + segment_embedding[segment_ids.long()]
    Y = functional.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
    kept = input_ids.new_zeros(N) if mask is None else (mask == 1).sum(1)
    return Y if outputs == 1 else (Y, kept.to(torch.int32), total)[:outputs]


@operator("GroupNorm", domain=DOMAIN)
def group_norm(
    X: Tensor,
    gamma: Tensor,
    beta: Tensor,
    *,
    activation: int,
    channels_last: int = 1,
    epsilon: float = 1e-5,
    groups: int,
) -> Tensor:
    """Normalize each group of channels, then apply SiLU if `activation`; X is (N, H, W, C), or (N, C, H, W)."""
    planes = X.movedim(-1, 1) if channels_last else X
    Y = torch.group_norm(planes.contiguous(), groups, gamma, beta, epsilon)
    Y = functional.silu(Y) if activation else Y
    return Y.movedim(1, -1) if channels_last else Y


@operator("SkipGroupNorm", domain=DOMAIN)
def skip_group_norm(
    X: Tensor,
    gamma: Tensor,
    beta: Tensor,
    skip: Tensor,
    bias: Tensor | None = None,
    *,
    activation: int,
    channels_last: int = 1,
    epsilon: float = 1e-5,
    groups: int,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """As `group_norm` of X + skip + bias; then also that sum. The skip has the shape of X or is of each channel."""
    channels = -1 if channels_last else 1
    total = X + (_channelwise(skip, X, channels) if skip.ndim < X.ndim else skip)
    total = total if bias is None else total + _channelwise(bias, X, channels)
    Y = group_norm(
        total, gamma, beta, activation=activation, channels_last=channels_last, epsilon=epsilon, groups=groups
    )
    return Y if outputs == 1 else (Y, total)


def _summed(input: Tensor, skip: Tensor, bias: Tensor | None) -> Tensor:
    return input + skip if bias is None else input + skip + bias


def _channelwise(values: Tensor, X: Tensor, axis: int) -> Tensor:
    """Give values of each channel, (C,) or (N, C), the rank of X."""
    shape = [1] * X.ndim
    shape[axis] = values.shape[-1]
    shape[0] = values.shape[0] if values.ndim > 1 else 1
    return values.reshape(shape)
