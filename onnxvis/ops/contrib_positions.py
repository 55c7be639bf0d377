"""Positions in attention: rotary embeddings and relative biases of domain com.microsoft."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_attention import split_heads
from onnxvis.ops.table import operator

_TOKENS = 3
"""The rank of (N, S, H D), whose heads are not split."""


@operator("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(
    input: Tensor,
    position_ids: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Rotate pairs of elements by their position (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    Args:
        input: (N, S, H D), or with the heads split, (N, H, S, D).
        position_ids: Of each token, (N, S), or of the first one, (1,).
        cos_cache: Cosines by position, (P, R / 2); R elements of each head are rotated.
        sin_cache: Sines, likewise.
        interleaved: Whether the two elements of a pair are neighbors; else the first are in the first half.
        is_packed_batching: Says that images of different lengths lie in one; the positions tell all that matters.
        num_heads: H; needed where `rotary_embedding_dim` is given and the heads are not split.
        rotary_embedding_dim: R; 0 for the whole head.
        scale: onnxruntime ignores it, and so does this.
    """
    del is_packed_batching, scale
    x = input
    if input.ndim == _TOKENS:
        size = input.shape[-1] // num_heads if rotary_embedding_dim and num_heads else 2 * cos_cache.shape[-1]
        x = input.reshape(*input.shape[:-1], -1, size).transpose(1, 2)
    rotated = rotate(x, token_positions(position_ids, x.shape[2]), cos_cache, sin_cache, interleaved=interleaved)
    return rotated.transpose(1, 2).flatten(2) if input.ndim == _TOKENS else rotated


def token_positions(position_ids: Tensor, tokens: int) -> Tensor:
    """Return the position of each token, (N, S); one number is that of the first."""
    if position_ids.ndim == 1:
        return (position_ids + torch.arange(tokens, device=position_ids.device)).unsqueeze(0)
    return position_ids


def rotate(x: Tensor, positions: Tensor, cos_cache: Tensor, sin_cache: Tensor, *, interleaved: int) -> Tensor:
    """Rotate the first elements of each head, as many as the caches are for; x is (N, H, S, D)."""
    cos, sin = cos_cache[positions.long()].unsqueeze(1), sin_cache[positions.long()].unsqueeze(1)
    turned, kept = torch.split(x, [2 * cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], -1)
    first, second = turned.reshape(*turned.shape[:-1], -1, 2).unbind(-1) if interleaved else turned.chunk(2, -1)
    parts = first * cos - second * sin, first * sin + second * cos
    turned = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    return torch.cat([turned, kept], -1)


@operator("RelativePositionBias", domain=DOMAIN)
def relative_position_bias(
    bias_table: Tensor, query_length: int, key_length: int, *, is_bidirectional: int = 0, max_distance: int
) -> Tensor:
    """Look up the bias of each distance, in buckets that grow with it: (1, H, S, T) of T5.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683.

    Args:
        bias_table: (buckets, H), whose elements lie in the order of its transpose: so it is written for onnxruntime.
        query_length: S.
        key_length: T.
        is_bidirectional: Whether half of the buckets are for keys behind the query; else those all share the first.
        max_distance: From where on all distances share the last bucket.
    """
    device = bias_table.device
    distance = torch.arange(key_length, device=device) - torch.arange(query_length, device=device)[:, None]
    buckets, bucket = bias_table.shape[0], torch.zeros_like(distance)
    if is_bidirectional:
        buckets //= 2
        bucket = torch.where(distance > 0, buckets, 0)
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact) * (buckets - exact)
    far = (exact + growth.long()).clamp(max=buckets - 1)
    bucket = bucket + torch.where(distance < exact, distance, far)
    table = bias_table.reshape(bias_table.shape[1], bias_table.shape[0])
    return table[:, bucket].unsqueeze(0)


@operator("GatedRelativePositionBias", domain=DOMAIN)
def gated_relative_position_bias(
    query_layer: Tensor,
    query_bias: Tensor,
    rel_pos: Tensor,
    weight: Tensor,
    bias: Tensor,
    eco_a: Tensor,
    token_offset: Tensor | None = None,
    *,
    num_heads: int,
) -> Tensor:
    """Multiply a relative bias (1, H, S, S) by two gates that the queries (N, S, H D) open: (N, H, S, S).

    Chi et al. 2022, XLM-E, https://arxiv.org/abs/2106.16138.

    Raises:
        UnsupportedOpError: Tokens without padding (`token_offset`).
    """
    if token_offset is not None:
        message = "GatedRelativePositionBias with token_offset is not implemented; export the model with its padding"
        raise UnsupportedOpError(message, op_type="GatedRelativePositionBias")
    query = split_heads(query_layer + query_bias, num_heads)
    # (N, H, S, D) -> (N, H, S, 2)
    gates = torch.sigmoid((query @ weight + bias).reshape(*query.shape[:-1], 2, -1).sum(-1))
    update, reset = gates.chunk(2, -1)
    return (update * (reset * eco_a - 1.0) + 2.0) * rel_pos
