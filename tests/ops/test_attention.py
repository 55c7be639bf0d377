from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.attention import attention, rotary_embedding
from tests.ops.oracle import assert_agrees, computed
from tests.ops.slopes import assert_gradient_agrees

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
N, HEADS, QUERIES, SIZE, VALUE_SIZE = 2, 4, 3, 8, 6
MASKS: dict[str, Array | None] = {
    "none": None,
    "bool": RNG.random((QUERIES, 5)) < 0.7,
    "of heads": RNG.normal(size=(HEADS, QUERIES, 5)).astype(np.float32),
    "of all": RNG.normal(size=(N, HEADS, QUERIES, 5)).astype(np.float32),
    "infinite": np.where(RNG.random((N, 1, QUERIES, 5)) < 0.4, -np.inf, 0.5).astype(np.float32),
}


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def heads(keys: int, kv_heads: int = HEADS) -> list[Array]:
    return [draw(N, HEADS, QUERIES, SIZE), draw(N, kv_heads, keys, SIZE), draw(N, kv_heads, keys, VALUE_SIZE)]


def packed(x: Array) -> Array:
    """(N, heads, length, size) -> (N, length, heads * size)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def slow_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | None = None,
    past: int = 0,
    lengths: Array | None = None,
    left: int = -1,
    right: int = -1,
) -> Array:
    """The definition, one query at a time; keys and values hold the past ones already."""
    Y = np.zeros((*q.shape[:3], v.shape[-1]))
    for n, h, i in np.ndindex(q.shape[:3]):
        of = h * k.shape[1] // q.shape[1]
        place = i + past if lengths is None else i + int(lengths[n]) - q.shape[2]
        terms = []
        for j in range(k.shape[2]):
            bias = 0.0
            if mask is not None:
                given = np.broadcast_to(mask, (*q.shape[:3], mask.shape[-1]))
                value = given[n, h, i, j] if j < mask.shape[-1] else -np.inf
                bias = (0.0 if value else -np.inf) if mask.dtype == bool and j < mask.shape[-1] else float(value)
            outside = (left >= 0 and j < place - left) or (right >= 0 and j > place + right)
            if outside or bias == -np.inf or (lengths is not None and j >= lengths[n]):
                continue
            score = float(q[n, h, i] @ k[n, of, j]) / math.sqrt(q.shape[-1])
            terms.append((math.exp(score + bias), v[n, of, j]))
        if terms:
            Y[n, h, i] = sum(e * value for e, value in terms) / sum(e for e, _ in terms)
    return Y


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(
    "attributes", [{}, {"is_causal": 1}, {"softcap": 1.5, "scale": 0.4}, {"softmax_precision": TensorProto.FLOAT}]
)
def test_attention_agrees(attributes: dict[str, Any], kv_heads: int, mask: str, opset: int) -> None:
    assert_agrees("Attention", [*heads(5, kv_heads), MASKS[mask]], opset, **attributes)


@pytest.mark.parametrize("mask", ["none", "bool", "infinite"])
@pytest.mark.parametrize("is_causal", [0, 1])
def test_packed_attention_with_a_past_agrees(is_causal: int, mask: str) -> None:
    inputs = [*(packed(x) for x in heads(3, 2)), MASKS[mask], draw(N, 2, 2, SIZE), draw(N, 2, 2, VALUE_SIZE)]
    attributes: dict[str, Any] = {"q_num_heads": HEADS, "kv_num_heads": 2, "is_causal": is_causal}
    assert_agrees("Attention", inputs, 23, outputs=3, **attributes)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("mask", ["none", "of heads"])
def test_steps_on_the_way_agree(mask: str, mode: int) -> None:
    # With a soft cap the reference hands out the capped scores for the raw ones.
    inputs = [*heads(5), MASKS[mask]]
    assert_agrees("Attention", inputs, 24, outputs=4, softcap=2.0, qk_matmul_output_mode=mode)


def test_the_score_of_a_masked_key_is_minus_infinity() -> None:
    # onnxruntime writes the lowest float.
    scores = computed("Attention", heads(3), 24, outputs=4, is_causal=1, qk_matmul_output_mode=2)[3]
    np.testing.assert_array_equal(np.isneginf(scores), np.broadcast_to(~np.tri(3, dtype=bool), scores.shape))


@pytest.mark.parametrize("seed", range(30))
def test_windows_lengths_and_short_masks_follow_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = int(rng.integers(-1, 3)), int(rng.integers(-1, 3))
    q, k, v = heads(6, 2)
    mask = (None, rng.random((HEADS, QUERIES, 5)) < 0.7, draw(N, 1, QUERIES, 6))[seed % 3]
    past = 2 if seed % 2 else 0
    lengths = None if past else rng.integers(0, 7, N)
    before = [k[:, :, :past], v[:, :, :past]] if past else [None, None]
    inputs = [q, k[:, :, past:], v[:, :, past:], mask, *before, lengths]
    found = computed("Attention", inputs, 25, left_window_size=left, right_window_size=right)[0]
    wanted = slow_attention(q, k, v, mask=mask, past=past, lengths=lengths, left=left, right=right)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_causal_attention_is_a_window_without_a_right_side() -> None:
    inputs = heads(5)
    (causal,) = computed("Attention", inputs, 25, is_causal=1, right_window_size=2)
    (window,) = computed("Attention", inputs, 25, right_window_size=0)
    np.testing.assert_array_equal(causal, window)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"is_causal": 1}, {"softcap": 1.5, "scale": 0.4}, {"q_num_heads": 2, "kv_num_heads": 1, "is_causal": 1}],
)
def test_attention_has_the_slope_of_onnxruntime(attributes: dict[str, Any]) -> None:
    inputs = [draw(1, 2, 3, 4), draw(1, 1, 3, 4), draw(1, 1, 3, 2)]
    if "q_num_heads" in attributes:
        inputs = [packed(x) for x in inputs]
    mask = np.where(np.eye(3, dtype=bool), 0.3, -0.2).astype(np.float32)
    assert_gradient_agrees("Attention", [*inputs, mask], 23, [0, 1, 2, 3], step=2e-2, tolerance=1e-2, **attributes)


def test_a_query_that_sees_nothing_gives_zeros_and_a_finite_gradient() -> None:
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in heads(5))
    for blind in (torch.tensor([False]), torch.tensor([-torch.inf])):
        mask = torch.where(torch.arange(QUERIES)[:, None] == 1, blind, torch.ones(1, dtype=blind.dtype))
        found = attention(q, k, v, mask.expand(QUERIES, 5))
        assert isinstance(found, torch.Tensor)
        assert found[:, :, 1].abs().max() == 0
        assert found[:, :, 0].abs().min() > 0
        slopes = torch.autograd.grad(found.square().sum(), (q, k, v))
        assert all(slope.isfinite().all() for slope in slopes)
        assert slopes[0][:, :, 1].abs().max() == 0
        assert slopes[0][:, :, 0].abs().max() > 0


def test_attention_and_its_gradient_can_be_mapped_over_a_batch() -> None:
    q, k, v = (torch.from_numpy(x) for x in heads(5, 2))
    mask = torch.from_numpy(MASKS["bool"])

    def energy(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        found = attention(q[None], k[None], v[None], mask, is_causal=1)
        assert isinstance(found, torch.Tensor)
        return found.square().sum()

    mapped = torch.func.vmap(torch.func.grad(energy))(q, k, v)
    alone = torch.stack([torch.func.grad(energy)(*image) for image in zip(q, k, v, strict=True)])
    torch.testing.assert_close(mapped, alone)


def test_the_softmax_is_computed_in_the_precision_asked_for_but_never_in_less_than_there_is() -> None:
    q, k, v = (torch.from_numpy(x) for x in heads(5))
    exact = attention(q, k, v)
    torch.testing.assert_close(attention(q, k, v, softmax_precision=TensorProto.BFLOAT16), exact, rtol=0, atol=0)
    halves = [x.bfloat16() for x in (q, k, v)]
    found = attention(*halves, softmax_precision=TensorProto.FLOAT)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.bfloat16
    wide = attention(*halves, softmax_precision=TensorProto.FLOAT, qk_matmul_output_mode=3, outputs=4)
    narrow = attention(*halves, qk_matmul_output_mode=3, outputs=4)
    assert isinstance(wide, tuple)
    assert isinstance(narrow, tuple)
    assert wide[3].dtype == narrow[3].dtype == torch.bfloat16


def test_packed_heads_that_are_not_counted_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match=r"\(2, 3, 32\) has its heads side by side"):
        computed("Attention", [packed(x) for x in heads(5)], 23)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("rotated", [0, 4])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("with_positions", [False, True])
def test_rotary_embedding_agrees(with_positions: bool, is_packed: bool, rotated: int, interleaved: int) -> None:
    X = draw(N, HEADS, 5, SIZE)
    pairs = (rotated or SIZE) // 2
    caches = [draw(9, pairs) if with_positions else draw(N, 5, pairs) for _ in range(2)]
    positions = [RNG.integers(0, 9, (N, 5))] if with_positions else []
    attributes: dict[str, Any] = {"interleaved": interleaved, "rotary_embedding_dim": rotated}
    if is_packed or rotated:  # onnxruntime wants it for a part of the features
        attributes["num_heads"] = HEADS
    assert_agrees("RotaryEmbedding", [packed(X) if is_packed else X, *caches, *positions], 23, **attributes)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_has_the_slope_of_onnxruntime(interleaved: int) -> None:
    inputs = [draw(1, 2, 3, 4), draw(1, 3, 2), draw(1, 3, 2)]
    assert_gradient_agrees("RotaryEmbedding", inputs, 23, [0, 1, 2], step=1e-2, interleaved=interleaved)


def test_rotation_keeps_lengths() -> None:
    angles = torch.from_numpy(draw(N, 5, SIZE // 2))
    X = torch.from_numpy(draw(N, HEADS, 5, SIZE))
    turned = rotary_embedding(X, angles.cos(), angles.sin())
    torch.testing.assert_close(turned.norm(dim=-1), X.norm(dim=-1))
    assert (turned - X).abs().max() > 0.1
