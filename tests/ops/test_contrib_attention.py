from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import UnsupportedOpError
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)
N, H, S, T, D = 2, 2, 4, 5, 3


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def flags(*shape: int) -> Array:
    """A mask whose every row keeps something."""
    mask = RNG.integers(0, 2, shape).astype(np.int32)
    mask[..., 1] = 1
    return mask


X, WEIGHTS, BIAS = draw(N, S, 6), draw(6, 3 * H * D), draw(3 * H * D)
QUERY, KEY, VALUE = draw(N, S, H * D), draw(N, T, H * D), draw(N, T, H * D)
MASKS = [
    None,
    np.array([2, 4], np.int32),
    np.array([3, 4, 1, 0], np.int32),
    np.array([3, 4, 0, 4, 8, 0, 3, 7], np.int32),
    flags(N, S),
    flags(N, S, S),
]


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("filtered", [{}, {"mask_filter_value": -1.0}])
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: "none" if mask is None else str(mask.shape))
def test_attention_masks_keys(mask: Array | None, filtered: dict[str, Any], unidirectional: int) -> None:
    settings: dict[str, Any] = {"num_heads": H, "unidirectional": unidirectional, **filtered}
    assert_agrees("Attention", [X, WEIGHTS, BIAS, mask], 17, **settings)


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("mask", [None, np.array([6, 9], np.int32), flags(N, S + T)])
def test_attention_looks_at_the_past_and_hands_on_the_present(mask: Array | None, unidirectional: int) -> None:
    inputs = [X, WEIGHTS, BIAS, mask, draw(2, N, H, T, D)]
    assert_agrees("Attention", inputs, 17, outputs=2, num_heads=H, unidirectional=unidirectional)


@pytest.mark.parametrize("shape", [(N, H, S, S), (1, H, S, S), (N, 1, S, S), (1, 1, S, S)])
def test_attention_adds_a_bias_to_the_scores(shape: tuple[int, ...]) -> None:
    assert_agrees("Attention", [X, WEIGHTS, BIAS, MASKS[1], None, draw(*shape)], 17, num_heads=H)


def test_attention_can_be_scaled_and_have_values_of_another_size() -> None:
    assert_agrees("Attention", [X, WEIGHTS, BIAS], 17, num_heads=H, scale=0.3)
    inputs = [X, draw(6, 6 + 6 + 8), draw(20)]
    assert_agrees("Attention", inputs, 17, num_heads=H, qkv_hidden_sizes=[6, 6, 8])


def test_attention_needs_no_bias() -> None:
    # onnxruntime fails without one.
    (found,) = computed("Attention", [X, WEIGHTS], 17, domain=DOMAIN, num_heads=H)
    (wanted,) = computed("Attention", [X, WEIGHTS, np.zeros_like(BIAS)], 17, domain=DOMAIN, num_heads=H)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("setting", ["do_rotary", "past_present_share_buffer"])
def test_attention_with_rotation_or_a_buffer_is_refused(setting: str) -> None:
    settings: dict[str, Any] = {"num_heads": H, setting: 1}
    with pytest.raises(UnsupportedOpError, match=f"Attention with {setting}"):
        computed("Attention", [X, WEIGHTS, BIAS], 17, domain=DOMAIN, **settings)


def test_a_mask_of_four_axes_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match=r"shape \(2, 1, 4, 4\)"):
        computed("Attention", [X, WEIGHTS, BIAS, flags(N, 1, S, S)], 17, domain=DOMAIN, num_heads=H)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("outputs", [1, 3, 4])
@pytest.mark.parametrize("size", [D, D + 1])
def test_multi_head_attention_adds_its_biases(size: int, outputs: int, biased: bool) -> None:
    inputs = [QUERY, KEY, draw(N, T, H * size)] + [draw(H * (2 * D + size))] * biased
    agree_with_scores(inputs, outputs=outputs, num_heads=H)


def agree_with_scores(inputs: Sequence[Array | None], *, outputs: int, **settings: Any) -> None:
    """Compare, with a type for the fourth output, which onnxruntime does not infer."""
    model = oracle.node_model("MultiHeadAttention", inputs, 17, outputs=outputs, domain=DOMAIN, **settings)
    for value in model.graph.output[3:]:
        value.type.tensor_type.elem_type = 1
    found = computed("MultiHeadAttention", inputs, 17, outputs=outputs, domain=DOMAIN, **settings)
    for mine, theirs in zip(found, oracle.expected(model, inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    "mask",
    [np.array([3, 5], np.int32), flags(N, T), flags(N, S, T), np.array([3, 5, 0, 4, 8, 0, 3, 8], np.int32)],
    ids=lambda mask: str(mask.shape),
)
@pytest.mark.parametrize("shape", [None, (N, H, S, T), (1, 1, S, T)])
def test_multi_head_attention_masks_keys_and_adds_a_bias(mask: Array, shape: tuple[int, ...] | None) -> None:
    inputs = [QUERY, KEY, VALUE, BIAS, mask, None if shape is None else draw(*shape)]
    assert_agrees("MultiHeadAttention", inputs, 17, num_heads=H)


@pytest.mark.parametrize("keys", [2, S, 7])
def test_unidirectional_multi_head_attention_counts_from_the_first_key(keys: int) -> None:
    inputs = [QUERY, draw(N, keys, H * D), draw(N, keys, H * D), BIAS]
    assert_agrees("MultiHeadAttention", inputs, 17, num_heads=H, unidirectional=1)


@pytest.mark.parametrize("unidirectional", [0, 1])
def test_multi_head_attention_looks_at_the_past(unidirectional: int) -> None:
    inputs = [QUERY, KEY[:, :S], VALUE[:, :S], BIAS, None, None, draw(N, H, T, D), draw(N, H, T, D)]
    assert_agrees("MultiHeadAttention", inputs, 17, outputs=3, num_heads=H, unidirectional=unidirectional)


@pytest.mark.parametrize("bias", [None, BIAS])
def test_keys_and_values_may_come_with_their_heads_split(bias: Array | None) -> None:
    assert_agrees("MultiHeadAttention", [QUERY, draw(N, H, T, D), draw(N, H, T, D), bias], 17, num_heads=H)


@pytest.mark.parametrize("bias", [None, BIAS])
def test_queries_keys_and_values_may_come_packed(bias: Array | None) -> None:
    # onnxruntime has it on the GPU alone.
    query, key, value = (draw(N, T, H, D) for _ in range(3))
    flat = [part.reshape(N, T, H * D) for part in (query, key, value)]
    (wanted,) = computed("MultiHeadAttention", [*flat, bias], 17, domain=DOMAIN, num_heads=H)
    packed = [np.stack([query, key, value], 3), None, None, bias]
    (found,) = computed("MultiHeadAttention", packed, 17, domain=DOMAIN, num_heads=H)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    packed = [flat[0], np.stack([key, value], 3), None, bias]
    (found,) = computed("MultiHeadAttention", packed, 17, domain=DOMAIN, num_heads=H)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_multi_head_attention_with_a_buffer_or_without_keys_is_refused() -> None:
    length = np.array([3], np.int32)
    buffered = [QUERY, KEY, VALUE, None, None, None, None, None, length]
    with pytest.raises(UnsupportedOpError, match="past_sequence_length"):
        computed("MultiHeadAttention", buffered, 17, domain=DOMAIN, num_heads=H)
    with pytest.raises(UnsupportedOpError, match="neither keys nor a packed query"):
        computed("MultiHeadAttention", [QUERY], 17, domain=DOMAIN, num_heads=H)


def test_attention_has_the_slopes_of_onnxruntime() -> None:
    inputs = [draw(1, 3, 4), draw(4, 12), draw(12), np.array([[1, 1, 0]], np.int32)]
    assert_gradient_agrees("Attention", inputs, 17, [0, 2], step=1e-2, num_heads=2, unidirectional=1)
    others: list[Array | None] = [draw(1, 2, 4), draw(1, 3, 4), draw(1, 3, 4), draw(12), None, draw(1, 1, 2, 3)]
    assert_gradient_agrees("MultiHeadAttention", others, 17, [0, 1, 2, 5], step=1e-2, num_heads=2)
