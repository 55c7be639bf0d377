"""Attention of domain com.microsoft over all heads (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

Names of sizes: N images, H heads, S queries, T keys (those of the past first), D elements of a head. What has its heads
split is (N, H, S, D). Masks are added to the scores: what is masked gets `mask_filter_value`, a finite number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.table import Ints, operator

_FILTER = -10000.0
_PACKED = 5
"""The rank of queries, keys and values in one tensor, (N, S, H, 3, D)."""
_HEADS = 4
"""The rank of what has its heads split: keys and values may come so."""
_MASK_RANKS = (2, 3)


@operator("Attention", domain=DOMAIN)
def attention(
    input: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask_index: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = _FILTER,
    num_heads: int,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: Ints | None = None,
    rotary_embedding_dim: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Self-attention with the projection of the input to queries, keys and values.

    Args:
        input: (N, S, C).
        weights: (C, E + E + F), side by side those of queries, keys and values.
        bias: Of the projections, (E + E + F,).
        mask_index: Which keys count; see `padding_mask`.
        past: Earlier keys and values, (2, N, H, P, D).
        attention_bias: Added to the scores, broadcast to (N, H, S, T).
        past_sequence_length: Not implemented, as what it belongs to.
        do_rotary: Not implemented.
        mask_filter_value: What is added to the score of a masked key.
        num_heads: H.
        past_present_share_buffer: Not implemented.
        qkv_hidden_sizes: E, E and F; by default all the same.
        rotary_embedding_dim: Not implemented.
        scale: Factor of the scores; by default 1 / sqrt(D).
        unidirectional: Whether a query sees no later key.
        outputs: With 2, also the keys and values, (2, N, H, T, D).

    Raises:
        UnsupportedOpError: Rotation, or one buffer for past and present.
    """
    _refuse("Attention", do_rotary=do_rotary, past_present_share_buffer=past_present_share_buffer)
    del past_sequence_length, rotary_embedding_dim
    projected = input @ weights if bias is None else input @ weights + bias
    sizes = qkv_hidden_sizes or (weights.shape[1] // 3,) * 3
    query, key, value = (split_heads(part, num_heads) for part in torch.split(projected, list(sizes), -1))
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    mask = _combined(padding_mask(mask_index, key, mask_filter_value), attention_bias)
    if unidirectional:
        mask = _combined(mask, causal_mask(query, key, 0 if past is None else past.shape[3]))
    Y, _ = attend(query, key, value, mask, scale)
    return merge_heads(Y) if outputs == 1 else (merge_heads(Y), torch.stack([key, value]))


@operator("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    cache_indirection: Tensor | None = None,
    *,
    mask_filter_value: float = _FILTER,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Attention of projected queries, keys and values, whose biases may still be to add.

    Args:
        query: (N, S, E), or with keys and values (N, S, H, 3, D).
        key: (N, T, E), with values (N, T, H, 2, D), or (N, H, T, D).
        value: (N, T, F) or (N, H, T, D).
        bias: Of queries, keys and values, (E + E + F,); keys and values whose heads are split have theirs already.
        key_padding_mask: Which keys count; see `padding_mask`.
        attention_bias: Added to the scores, broadcast to (N, H, S, T).
        past_key: Earlier keys, (N, H, P, D).
        past_value: Earlier values.
        past_sequence_length: Not implemented.
        cache_indirection: Not implemented.
        mask_filter_value: What is added to the score of a masked key.
        num_heads: H.
        scale: Factor of the scores; by default 1 / sqrt(D).
        unidirectional: Whether a query sees no later key.
        outputs: With 3, also keys and values, (N, H, T, D); with 4, also the scores before the softmax, (N, H, S, T).

    Raises:
        UnsupportedOpError: One buffer for past and present.
    """
    _refuse("MultiHeadAttention", past_sequence_length=past_sequence_length, cache_indirection=cache_indirection)
    query, key, value = _split(query, key, value, bias, num_heads)
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    mask = _combined(padding_mask(key_padding_mask, key, mask_filter_value), attention_bias)
    if unidirectional:
        mask = _combined(mask, causal_mask(query, key, 0 if past_key is None else past_key.shape[2]))
    Y, scores = attend(query, key, value, mask, scale)
    return merge_heads(Y) if outputs == 1 else (merge_heads(Y), key, value, scores)[:outputs]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, S, H D) -> (N, H, S, D)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(N, H, S, D) -> (N, S, H D)."""
    return x.transpose(1, 2).flatten(2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Return softmax(scale Q K' + mask) V, (N, H, S, D), and the scores before the softmax.

    Args:
        query: (N, H, S, D).
        key: (N, H, T, D).
        value: (N, H, T, D).
        mask: What is added to the scores, broadcast to (N, H, S, T).
        scale: By default 1 / sqrt(D).
    """
    # A scale of 0 is none, as in onnxruntime.
    factor = scale or 1 / math.sqrt(query.shape[-1])
    scores = factor * (query @ key.mT)
    scores = scores if mask is None else scores + mask
    return torch.softmax(scores, -1) @ value, scores


def padding_mask(mask: Tensor | None, key: Tensor, filtered: float) -> Tensor | None:
    """Return what a mask of keys adds to the scores, broadcast to (N, H, S, T).

    Args:
        mask: Integers: 1 for a key that counts and 0 for another, (N, T) or (N, S, T); or where the keys of each image
            end, (N,), and then where they start, (2 N,). What else stands behind the ends, (3 N + 2,), is not needed.
        key: (N, H, T, D).
        filtered: What is added to the score of a masked key.

    Raises:
        UnsupportedOpError: A mask of another rank.
    """
    if mask is None:
        return None
    if mask.ndim == 1:
        kept = _between(mask, key.shape[0], key.shape[2])[:, None, None]
    elif mask.ndim in _MASK_RANKS:
        # (N, T) -> (N, 1, 1, T), (N, S, T) -> (N, 1, S, T)
        kept = mask.reshape(mask.shape[0], *[1] * (_HEADS - mask.ndim), *mask.shape[1:]) > 0
    else:
        message = f"Attention: a mask of shape {tuple(mask.shape)} is not implemented; (N,), (N, T) and (N, S, T) are"
        raise UnsupportedOpError(message, shape=tuple(mask.shape))
    return torch.where(kept, 0.0, filtered)


def causal_mask(query: Tensor, key: Tensor, past: int) -> Tensor:
    """Return what is added to the scores, (S, T): each query sees the past and what comes up to its own place.

    The last one sees all keys, as in onnxruntime, also where there are more than the past and the queries.
    """
    S, T = query.shape[2], key.shape[2]
    places = past + torch.arange(S, device=key.device).unsqueeze(1)
    hidden = (torch.arange(T, device=key.device) > places) & (places < past + S - 1)
    return torch.where(hidden, torch.finfo(query.dtype).min, 0.0)


def _between(bounds: Tensor, images: int, keys: int) -> Tensor:
    """Which keys lie before the end of their image, and not before its start: (N, T)."""
    places = torch.arange(keys, device=bounds.device)
    kept = places < bounds[:images, None]
    return kept & (places >= bounds[images:, None]) if len(bounds) == 2 * images else kept


def _combined(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _split(
    query: Tensor, key: Tensor | None, value: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values with their biases, (N, H, S, D) each."""
    if query.ndim == _PACKED:
        # (N, S, H, 3, D) -> (N, S, H, D)
        parts = [part.flatten(2) for part in query.unbind(3)]
    elif key is not None and key.ndim == _PACKED:
        parts = [query, *(part.flatten(2) for part in key.unbind(3))]
    elif key is None or value is None:
        message = "MultiHeadAttention: neither keys nor a packed query are given"
        raise UnsupportedOpError(message, op_type="MultiHeadAttention")
    else:
        parts = [query, key, value]
    joined = [part for part in parts if part.ndim != _HEADS]
    if bias is not None:
        sizes = [parts[0].shape[-1], parts[0].shape[-1], bias.shape[0] - 2 * parts[0].shape[-1]]
        joined = [part + b for part, b in zip(joined, torch.split(bias, sizes), strict=False)]
    split = [split_heads(part, heads) for part in joined]
    first, second, third = (*split, *(part for part in parts if part.ndim == _HEADS))
    return first, second, third


def _refuse(op_type: str, **given: object) -> None:
    asked = [name for name, value in given.items() if value is not None and value != 0]
    if asked:
        message = f"{op_type} with {', '.join(asked)} is not implemented; export the model without a cache of its own"
        raise UnsupportedOpError(message, op_type=op_type, attributes=asked)
