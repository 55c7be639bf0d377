"""Attention and rotary positions of the newest opsets."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, booleans, chosen, integers, spread
from tests.ops.one_node import Case


@compares("Attention", oldest=23, precision="float32", examples=40)
def attention(draw: Draw) -> Case:
    """Heads apart and packed, shared keys, masks of truth values and of numbers, the past, caps and scales.

    In onnxruntime the only query of several keys sees them all where it has a past; in the specification it does not.
    """
    batch, groups, kv_heads = (draw(st.integers(1, 2)) for _ in range(3))
    heads, queries, keys, size, width = groups * kv_heads, *(draw(st.integers(1, 3)) for _ in range(4))
    past = draw(st.integers(0, 2))
    keys = 1 if queries == 1 and past else keys
    tokens = [(heads, queries, size), (kv_heads, keys, size), (kv_heads, keys, width)]
    inputs: list[Array | None] = [spread(draw, (batch, *shape)) for shape in tokens]
    attributes = chosen(draw, is_causal=(None, 0, 1), scale=(None, 0.7), softcap=(None, 1.5))
    if draw(st.booleans()):
        inputs = [_packed(x) for x in inputs if x is not None]
        attributes |= {"q_num_heads": heads, "kv_num_heads": kv_heads}
    inputs.append(_mask(draw, (batch, heads, queries, keys + past)))
    if past:
        inputs += [spread(draw, (batch, kv_heads, past, length)) for length in (size, width)]
    return Case(inputs, attributes, outputs=3 if past else 1)


def _packed(x: Array) -> Array:
    """(N, heads, length, size) -> (N, length, heads * size)."""
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1))


def _mask(draw: Draw, shape: tuple[int, ...]) -> Array | None:
    kind = draw(st.sampled_from(["none", "numbers", "truths"]))
    if kind == "none":
        return None
    broadcast = draw(st.sampled_from([shape, shape[2:], (1, *shape[1:]), (shape[0], 1, *shape[2:])]))
    if kind == "numbers":
        return spread(draw, broadcast)
    mask = booleans(draw, broadcast)
    mask[..., 0] = True  # a query that sees nothing gets zeros here, and a mean in onnxruntime
    return mask


@compares("RotaryEmbedding", oldest=23, precision="float32")
def rotary(draw: Draw) -> Case:
    """Heads apart and packed, a part of the features, neighbors and halves, with and without positions."""
    batch, heads, length = (draw(st.integers(1, 3)) for _ in range(3))
    size = 2 * draw(st.integers(1, 3))
    rotated = draw(st.sampled_from(range(2, size + 1, 2)))
    x = spread(draw, (batch, heads, length, size))
    attributes: dict[str, Any] = chosen(draw, interleaved=(None, 0, 1))
    if rotated < size:
        attributes |= {"rotary_embedding_dim": rotated, "num_heads": heads}
    if draw(st.booleans()):
        x, attributes["num_heads"] = _packed(x), heads
    if draw(st.booleans()):
        caches = [spread(draw, (5, rotated // 2)) for _ in "cs"]
        return Case([x, *caches, integers(draw, (batch, length), 0, 4)], attributes)
    return Case([x, *(spread(draw, (batch, length, rotated // 2)) for _ in "cs")], attributes)


@compares("LinearAttention", oldest=27, newest=28, oracle="onnx.reference", precision="float32")
def linear_attention(draw: Draw) -> Case:
    """Every rule of the update, with shared keys and a past state."""
    batch, length, groups, kv_heads, size, width = (draw(st.integers(1, 3)) for _ in range(6))
    rule = draw(st.sampled_from(["linear", "gated", "delta", "gated_delta"]))
    heads = groups * kv_heads
    inputs: list[Array | None] = [
        spread(draw, (batch, length, count)) for count in (heads * size, kv_heads * size, kv_heads * width)
    ]
    inputs.append(spread(draw, (batch, kv_heads, size, width)) if draw(st.booleans()) else None)
    inputs.append(spread(draw, (batch, length, kv_heads), -2, -0.1) if "gated" in rule else None)
    inputs.append(spread(draw, (batch, length, kv_heads), 0.1, 0.9) if "delta" in rule else None)
    attributes = {"q_num_heads": heads, "kv_num_heads": kv_heads, "update_rule": rule}
    return Case(inputs, attributes | chosen(draw, scale=(None, 0.3)), outputs=2)


@compares("CausalConvWithState", oldest=27, newest=28, oracle="onnx.reference", precision="float32")
def causal_convolution(draw: Draw) -> Case:
    """With and without a bias, an activation and a past state."""
    batch, channels, length, kernel = (draw(st.integers(1, 3)) for _ in range(4))
    bias = spread(draw, (channels,)) if draw(st.booleans()) else None
    state = spread(draw, (batch, channels, kernel - 1)) if kernel > 1 and draw(st.booleans()) else None
    inputs = [spread(draw, (batch, channels, length)), spread(draw, (channels, 1, kernel)), bias, state]
    return Case(inputs, chosen(draw, activation=(None, "silu")), outputs=2)


@compares("SwiGLU", oldest=28, newest=28, oracle="onnx.reference")
def swiglu(draw: Draw) -> Case:
    """A gate and what it lets through."""
    shape = (2, draw(st.integers(1, 4)))
    return Case([spread(draw, shape), spread(draw, shape)], chosen(draw, alpha=(None, 1.7)))
