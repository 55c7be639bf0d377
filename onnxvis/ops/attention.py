"""Scaled dot-product attention and rotary position embedding, the operators of opset 23 and later.

Q is (N, heads, queries, size), K and V are (N, heads, keys, size); packed, all heads of a token lie side by side:
(N, length, heads * size). Written out rather than left to `torch.nn.functional.scaled_dot_product_attention`, which has
neither a soft cap nor its intermediate results, and no rule for `torch.func.vmap`.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.table import operator

_HALF = frozenset({torch.float16, torch.bfloat16})
_PACKED_RANK = 3
_RAW, _CAPPED, _BIASED, _WEIGHTS = range(4)
"""What `qk_matmul_output_mode` asks for."""


@operator("Attention", since=23)
def attention(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Return softmax(Q K^T scale + mask) V, then the keys and values with the past ones, and a step on the way.

    A query that may attend to no key gets zeros.

    Args:
        Q: (N, heads, queries, size), or packed (N, queries, heads * size).
        K: As Q; with fewer heads, each serves as many successive heads of Q.
        V: As K, of its own size.
        attn_mask: What may be attended to, or what is added to the scores; it broadcasts to
            (N, heads, queries, all keys), and keys beyond its end are not attended to.
        past_key: (N, heads, past, size), put before K.
        past_value: (N, heads, past, size), put before V.
        nonpad_kv_seqlen: (N,), the number of keys that are not padding; with it, queries are aligned to its end.
        is_causal: Whether a query is blind to what follows it.
        kv_num_heads: The heads in packed K and V.
        left_window_size: How far back a query sees; -1 is without bound.
        q_num_heads: The heads in packed Q.
        qk_matmul_output_mode: Which step is the fourth output: the scores (0), after the soft cap (1), after the
            mask (2), or the weights (3).
        right_window_size: How far ahead a query sees; -1 is without bound.
        scale: Factor of the scores; 1 / sqrt(size) where omitted.
        softcap: Scores s become softcap tanh(s / softcap), unless it is 0.
        softmax_precision: The element type of the softmax.
        outputs: How many of the four are returned.
    """
    queries = _heads(Q, q_num_heads)
    keys, values = _heads(K, kv_num_heads), _heads(V, kv_num_heads)
    past = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        keys, values = torch.cat([past_key, keys], 2), torch.cat([past_value, values], 2)
    root = queries.new_full((), math.sqrt(queries.shape[-1] ** -0.5 if scale is None else scale))
    scores = (queries * root) @ (_repeated(keys, queries) * root).transpose(-1, -2)
    capped = softcap * torch.tanh(scores / softcap) if softcap else scores
    right = 0 if is_causal else right_window_size
    allowed = _allowed(scores, past, nonpad_kv_seqlen, left_window_size, right)
    bias = _bias(attn_mask, allowed, scores)
    weights = _weights(capped, bias, softmax_precision)
    attended = weights @ _repeated(values, queries)
    Y = attended.transpose(1, 2).flatten(2) if Q.ndim == _PACKED_RANK else attended
    if outputs == 1:
        return Y
    steps = {_RAW: scores, _CAPPED: capped, _WEIGHTS: weights}
    if qk_matmul_output_mode == _BIASED:
        steps[_BIASED] = capped if bias is None else capped + bias
    return (Y, keys, values, steps[qk_matmul_output_mode])[:outputs]


@operator("RotaryEmbedding", since=23)
def rotary_embedding(
    X: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Rotate pairs of features by the angles of their token's position.

    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, https://arxiv.org/abs/2104.09864.

    Args:
        X: (N, heads, length, size), or packed (N, length, heads * size).
        cos_cache: (N, length, pairs), or with `position_ids` (positions, pairs).
        sin_cache: As `cos_cache`.
        position_ids: (N, length), rows of the caches.
        interleaved: Whether a pair is two neighbors, else one feature of each half.
        num_heads: The heads in packed X.
        rotary_embedding_dim: How many features of each head are rotated, from the first on; 0 is all.
    """
    x = _heads(X, num_heads)
    rotated, kept = x.tensor_split([rotary_embedding_dim or x.shape[-1]], -1)
    # (N, length, pairs) -> (N, 1, length, pairs)
    cos, sin = (
        (cache if position_ids is None else cache[position_ids.long()]).unsqueeze(1) for cache in (cos_cache, sin_cache)
    )
    first, second = (rotated[..., ::2], rotated[..., 1::2]) if interleaved else rotated.chunk(2, -1)
    turned = (cos * first - sin * second, sin * first + cos * second)
    joined = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
    y = torch.cat([joined, kept], -1)
    return y.transpose(1, 2).flatten(2) if X.ndim == _PACKED_RANK else y


def _heads(x: Tensor, heads: int | None) -> Tensor:
    """Unpack (N, length, heads * size) to (N, heads, length, size).

    Raises:
        UnsupportedOpError: The node does not say how many heads there are.
    """
    if x.ndim != _PACKED_RANK:
        return x
    if not heads:
        message = f"An input of shape {tuple(x.shape)} has its heads side by side, and the node does not say how many"
        raise UnsupportedOpError(message, shape=tuple(x.shape))
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _repeated(x: Tensor, queries: Tensor) -> Tensor:
    """Repeat each head for the group of query heads that share it (Ainslie et al. 2023, arXiv:2305.13245)."""
    group = queries.shape[1] // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, 1)


def _allowed(scores: Tensor, past: int, nonpad: Tensor | None, left: int, right: int) -> Tensor | None:
    """Which keys the queries may attend to by their places; None is all of them."""
    count, total = scores.shape[-2:]
    lengths = None if nonpad is None else nonpad.reshape(-1, 1, 1, 1)
    key = torch.arange(total, device=scores.device)
    offset = past if lengths is None or past else lengths - count
    ahead = key - (torch.arange(count, device=scores.device)[:, None] + offset)
    conditions = []
    if right >= 0:
        conditions.append(ahead <= right)
    if left >= 0:
        conditions.append(ahead >= -left)
    if lengths is not None:
        conditions.append(key < lengths)
    return functools.reduce(torch.logical_and, conditions) if conditions else None


def _bias(mask: Tensor | None, allowed: Tensor | None, scores: Tensor) -> Tensor | None:
    """What is added to the scores: the mask, and -inf where nothing may be attended to."""
    nothing = scores.new_full((), -torch.inf)
    if mask is not None:
        missing = scores.shape[-1] - mask.shape[-1]
        is_bool = mask.dtype == torch.bool
        if missing > 0:
            mask = torch.nn.functional.pad(mask, (0, missing), value=False if is_bool else -torch.inf)
        if not is_bool:
            mask = mask.to(scores.dtype)
            return mask if allowed is None else torch.where(allowed, mask, nothing)
        allowed = mask if allowed is None else allowed & mask
    return None if allowed is None else torch.where(allowed, 0.0, nothing)


def _weights(scores: Tensor, bias: Tensor | None, precision: int | None) -> Tensor:
    """Softmax of the scores plus bias; a row of which nothing is attended to becomes zeros, as does its gradient."""
    dtype = _softmax_dtype(scores.dtype, precision)
    if bias is None:
        return torch.softmax(scores, -1, dtype).to(scores.dtype)
    blind = bias.amax(-1, keepdim=True) == -torch.inf
    weights = torch.softmax(scores + torch.where(blind, 0.0, bias), -1, dtype)
    return torch.where(blind, 0.0, weights).to(scores.dtype)


def _softmax_dtype(held: torch.dtype, precision: int | None) -> torch.dtype:
    """The precision asked for; but what is held in more than half precision is not reduced to half precision."""
    if precision is None:
        return held
    wanted = torch_dtype(precision)
    return held if wanted in _HALF and held not in _HALF else wanted
