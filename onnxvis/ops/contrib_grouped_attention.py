"""GroupQueryAttention of domain com.microsoft: several heads of queries share one of keys and values.

Ainslie et al. 2023, https://arxiv.org/abs/2305.13245. Names of sizes are those of `contrib_attention`, K is the number
of heads of keys and values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_attention import merge_heads, split_heads
from onnxvis.ops.contrib_positions import rotate
from onnxvis.ops.table import Ints, operator

_OUTPUTS = 3


@operator("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    seqlens_k: Ints,
    total_sequence_length: int,
    cos_cache: Tensor | None = None,
    sin_cache: Tensor | None = None,
    position_ids: Tensor | None = None,
    attention_bias: Tensor | None = None,
    head_sink: Tensor | None = None,
    k_scale: Tensor | None = None,
    v_scale: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    *,
    causal: int = 1,
    do_rotary: int = 0,
    k_quant_type: str = "NONE",
    kv_cache_bit_width: int = 0,
    kv_num_heads: int,
    local_window_size: int = -1,
    num_heads: int,
    qk_norm_epsilon: float = 1e-6,
    qk_output: int = 0,
    rotary_interleaved: int = 0,
    scale: float | None = None,
    sliding_window_cache: int = 0,
    smooth_softmax: int = -1,
    softcap: float = 0.0,
    v_quant_type: str = "NONE",
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Self-attention of tokens of which earlier ones may lie in a cache.

    Args:
        query: (N, S, H D), or with keys and values behind them, (N, S, (H + 2 K) D).
        key: (N, S, K D).
        value: (N, S, K D).
        past_key: The cache, (N, K, P, D), of which as many tokens count as `seqlens_k` says.
        past_value: Likewise.
        seqlens_k: How many tokens each image has, those of the cache included, less one.
        total_sequence_length: The largest number of tokens; where it is S, the cache is empty.
        cos_cache: Cosines by position, for `do_rotary`.
        sin_cache: Sines.
        position_ids: Positions, (N, S); by default what the number of tokens says.
        attention_bias: Added to the scores, broadcast to (N, H, S, T).
        head_sink: Scores of a key without a value, (H,).
        k_scale: Not implemented.
        v_scale: Not implemented.
        q_norm_weight: Not implemented.
        k_norm_weight: Not implemented.
        causal: Whether a query sees no later key.
        do_rotary: Whether queries and keys are rotated by their position.
        k_quant_type: Only "NONE".
        kv_cache_bit_width: Only 0.
        kv_num_heads: K.
        local_window_size: How many keys before its own a query sees; -1 for all.
        num_heads: H.
        qk_norm_epsilon: For what is not implemented.
        qk_output: For the fourth output, which is not implemented.
        rotary_interleaved: Whether the two elements of a rotated pair are neighbors.
        scale: Factor of the scores; by default 1 / sqrt(D).
        sliding_window_cache: Only 0.
        smooth_softmax: With 1, a key of score 0 without a value.
        softcap: Where above 0, scores x become softcap tanh(x / softcap).
        v_quant_type: Only "NONE".
        outputs: With 3, also the caches, (N, K, max(P, T), D).

    Raises:
        UnsupportedOpError: A quantized or sliding cache, norms of queries and keys, the fourth output.
    """
    _refuse(k_scale=k_scale, v_scale=v_scale, q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight)
    _refuse(quantization=kv_cache_bit_width or {k_quant_type, v_quant_type} != {"NONE"}, window=sliding_window_cache)
    _refuse(fourth_output=outputs > _OUTPUTS)
    del qk_norm_epsilon, qk_output
    q, k, v = _heads(query, key, value, num_heads, kv_num_heads)
    earlier = tuple(0 if total_sequence_length == q.shape[2] else last + 1 - q.shape[2] for last in seqlens_k)
    places = torch.tensor(earlier, device=q.device)[:, None] + torch.arange(q.shape[2], device=q.device)
    if do_rotary and cos_cache is not None and sin_cache is not None:
        positions = places if position_ids is None else position_ids
        q = rotate(q, positions, cos_cache, sin_cache, interleaved=rotary_interleaved)
        k = rotate(k, positions, cos_cache, sin_cache, interleaved=rotary_interleaved)
    k, v = (_cached(*pair, earlier, total_sequence_length) for pair in ((k, past_key), (v, past_value)))
    scores = (scale or 1 / math.sqrt(q.shape[-1])) * (q @ _shared(k, num_heads, total_sequence_length).mT)
    scores = softcap * torch.tanh(scores / softcap) if softcap > 0 else scores
    scores = scores if attention_bias is None else scores + attention_bias
    hidden = ~_visible(places, total_sequence_length, seqlens_k, causal, local_window_size)
    sink = q.new_zeros(num_heads) if head_sink is None and smooth_softmax == 1 else head_sink
    weights = _softmax(scores.masked_fill(hidden, -math.inf), sink)
    Y = merge_heads(weights @ _shared(v, num_heads, total_sequence_length))
    return Y if outputs == 1 else (Y, k, v)[:outputs]


def _heads(
    query: Tensor, key: Tensor | None, value: Tensor | None, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values with their heads split."""
    if key is None or value is None:
        size = query.shape[-1] // (heads + 2 * kv_heads)
        query, key, value = torch.split(query, [heads * size, kv_heads * size, kv_heads * size], -1)
    return split_heads(query, heads), split_heads(key, kv_heads), split_heads(value, kv_heads)


def _shared(cache: Tensor, heads: int, tokens: int) -> Tensor:
    """Give each head of the queries its keys or values: (N, K, max(P, T), D) -> (N, H, T, D)."""
    return cache[:, :, :tokens].repeat_interleave(heads // cache.shape[1], 1)


def _cached(new: Tensor, past: Tensor | None, earlier: Ints, total: int) -> Tensor:
    """Put the new tokens of each image behind the earlier ones, and zeros behind those: (N, K, max(P, T), D)."""
    size = total if past is None else max(past.shape[2], total)
    images = []
    for image, count in enumerate(earlier):
        parts = [new[image]] if past is None else [past[image, :, :count], new[image]]
        joined = torch.cat(parts, 1)
        images.append(functional.pad(joined, [0, 0, 0, size - joined.shape[1]]))
    return torch.stack(images)


def _visible(places: Tensor, keys: int, last: Ints, causal: int, window: int) -> Tensor:
    """Which keys each query sees, (N, 1, S, T): none behind the last one of its image."""
    key = torch.arange(keys, device=places.device)
    seen = (key <= torch.tensor(last, device=places.device)[:, None])[:, None]
    distance = places[:, :, None] - key
    seen = seen & (distance >= 0) if causal else seen
    return (seen & (distance < window) if window > 0 else seen).unsqueeze(1)


def _softmax(scores: Tensor, sink: Tensor | None) -> Tensor:
    """Softmax over the keys, and where there is a sink, (H,), over its score too, which then is left out."""
    if sink is None:
        return torch.softmax(scores, -1)
    extended = torch.cat([scores, sink[:, None, None].expand(*scores.shape[:-1], 1)], -1)
    return torch.softmax(extended, -1)[..., :-1]


def _refuse(**given: object) -> None:
    asked = [name for name, value in given.items() if value is not None and value is not False and value != 0]
    if asked:
        message = f"GroupQueryAttention with {', '.join(asked)} is not implemented; export the model without it"
        raise UnsupportedOpError(message, op_type="GroupQueryAttention", attributes=asked)
