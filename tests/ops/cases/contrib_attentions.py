"""The attention of onnxruntime's transformer optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, integers, spread
from tests.ops.one_node import Case

DOMAIN: dict[str, Any] = {"domain": "com.microsoft", "precision": "float32"}


def _flags(draw: Draw, *shape: int) -> Array:
    """Draw a mask whose every row keeps something: what attends to nothing is a matter of taste."""
    mask = integers(draw, shape, 0, 1, np.int32)
    mask[..., 0] = 1
    return mask


@compares("Attention", **DOMAIN, examples=40)
def attention(draw: Draw) -> Case:
    """Every kind of mask, a past, a bias of the scores, values of another size."""
    batch, heads, length, size, width = (draw(st.integers(1, 3)) for _ in range(5))
    past = draw(st.sampled_from([0, 0, 2]))
    width = size if past else width
    hidden = heads * (2 * size + width)
    inputs: list[Array | None] = [spread(draw, shape, -1, 1) for shape in ((batch, length, 4), (4, hidden), (hidden,))]
    masks = [None, _flags(draw, batch, length + past), _flags(draw, batch, length, length + past)]
    inputs.append(draw(st.sampled_from(masks)))
    inputs.append(spread(draw, (2, batch, heads, past, size)) if past else None)
    if not past and draw(st.booleans()):  # onnxruntime refuses both
        inputs.append(spread(draw, (batch, heads, length, length)))
    attributes = {"num_heads": heads, **chosen(draw, unidirectional=(None, 0, 1), scale=(None, 0.7))}
    if width != size:
        attributes["qkv_hidden_sizes"] = [heads * size, heads * size, heads * width]
    return Case(inputs, attributes, outputs=2 if past else 1)


@compares("MultiHeadAttention", **DOMAIN, examples=40)
def multi_head_attention(draw: Draw) -> Case:
    """Queries, keys and values apart; biases, masks of keys, and a bias of the scores."""
    batch, heads, queries, keys, size, width = (draw(st.integers(1, 3)) for _ in range(6))
    tokens = [(queries, heads * size), (keys, heads * size), (keys, heads * width)]
    inputs: list[Array | None] = [spread(draw, (batch, *shape)) for shape in tokens]
    inputs.append(spread(draw, (heads * (2 * size + width),)) if draw(st.booleans()) else None)
    inputs.append(_flags(draw, batch, keys) if draw(st.booleans()) else None)
    inputs.append(spread(draw, (batch, heads, queries, keys)) if draw(st.booleans()) else None)
    return Case(inputs, {"num_heads": heads, **chosen(draw, scale=(None, 0.7), unidirectional=(None, 0, 1))})


@compares("GroupQueryAttention", **DOMAIN)
def group_query_attention(draw: Draw) -> Case:
    """Shared keys, windows, caps and rotation, of a prompt."""
    batch, groups, kv_heads, length = (draw(st.integers(1, 2)) for _ in range(4))
    heads, size = groups * kv_heads, 16
    tokens = [spread(draw, (batch, length, count * size), -1, 1) for count in (heads, kv_heads, kv_heads)]
    lengths = [np.full((batch,), length - 1, np.int32), np.array([length], np.int32)]
    attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads}
    attributes |= chosen(draw, scale=(None, 0.3), softcap=(None, 1.5), local_window_size=(None, 1))
    caches: list[Array] = []
    if draw(st.booleans()):
        attributes |= {"do_rotary": 1, **chosen(draw, rotary_interleaved=(None, 0, 1))}
        caches = [spread(draw, (4, size // 2), -1, 1) for _ in "cs"]
    return Case([*tokens, None, None, *lengths, *caches], attributes, outputs=3, constants=frozenset({5, 6}))
