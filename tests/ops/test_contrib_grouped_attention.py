from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import DataDependentShapeError, UnsupportedOpError
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
OP = "GroupQueryAttention"
N, H, K, S, D = 2, 4, 2, 4, 16
HEADS: dict[str, Any] = {"num_heads": H, "kv_num_heads": K}
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN, **HEADS)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def lengths(*total: int) -> list[Array]:
    return [np.array(total, np.int32) - 1, np.array([max(total)], np.int32)]


QUERY, KEY, VALUE = draw(N, S, H * D), draw(N, S, K * D), draw(N, S, K * D)
COS, SIN = np.cos(draw(20, D // 2)), np.sin(draw(20, D // 2))
PROMPT = [QUERY, KEY, VALUE, None, None, *lengths(S, S)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale": 0.3},
        {"softcap": 1.5},
        {"smooth_softmax": 1},
        {"causal": 0},
        {"local_window_size": 1},
        {"local_window_size": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_heads_of_queries_share_those_of_keys(outputs: int, settings: dict[str, Any]) -> None:
    assert_agrees(OP, PROMPT, 17, outputs=outputs, **settings)


def test_queries_keys_and_values_may_lie_side_by_side() -> None:
    packed = np.concatenate([QUERY, KEY, VALUE], -1)
    assert_agrees(OP, [packed, None, None, None, None, *lengths(S, S)], 17, outputs=3)


@pytest.mark.parametrize("rotary_interleaved", [0, 1])
@pytest.mark.parametrize("first", [None, 2])
def test_queries_and_keys_are_rotated(first: int | None, rotary_interleaved: int) -> None:
    positions = [] if first is None else [np.tile(np.arange(S) + first, (N, 1))]
    settings: dict[str, Any] = {"do_rotary": 1, "rotary_interleaved": rotary_interleaved}
    assert_agrees(OP, [*PROMPT, COS, SIN, *positions], 17, outputs=3, **settings)


@pytest.mark.parametrize("softcap", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, H, S, S), (1, 1, S, S), (N, H, S, S)])
def test_a_bias_is_added_after_the_cap(shape: tuple[int, ...], softcap: float) -> None:
    assert_agrees(OP, [*PROMPT, None, None, None, draw(*shape)], 17, softcap=softcap)


def test_a_sink_takes_its_share_of_each_head() -> None:
    assert_agrees(OP, [*PROMPT, None, None, None, None, draw(H)], 17)


@pytest.mark.parametrize("total", [(2, 4), (4, 1)])
def test_images_may_be_shorter_than_the_prompt(total: Sequence[int]) -> None:
    assert_agrees(OP, [QUERY, KEY, VALUE, None, None, *lengths(*total)], 17, outputs=3)


@pytest.mark.parametrize("total", [(6, 6), (4, 6), (6, 2)])
def test_a_token_is_put_behind_those_of_its_image(total: Sequence[int]) -> None:
    token = [QUERY[:, :1], KEY[:, :1], VALUE[:, :1]]
    inputs = [*token, draw(N, K, 5, D), draw(N, K, 5, D), *lengths(*total)]
    wanted = oracle.expected(oracle.node_model(OP, inputs, 17, outputs=3, domain=DOMAIN, **HEADS), inputs)
    found = computed(OP, inputs, 17, outputs=3, domain=DOMAIN, **HEADS)
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-5)
    for image, count in enumerate(total):
        # What lies behind the last token of a cache means nothing.
        np.testing.assert_array_equal(found[1][image, :, :count], wanted[1][image, :, :count])
        np.testing.assert_array_equal(found[2][image, :, :count], wanted[2][image, :, :count])


@pytest.mark.parametrize("window", [-1, 3])
def test_several_tokens_are_put_behind_those_of_their_image(window: int) -> None:
    tokens = [QUERY[:1], KEY[:1], VALUE[:1], draw(1, K, 5, D), draw(1, K, 5, D), *lengths(9)]
    assert_agrees(OP, [*tokens, COS, SIN], 17, outputs=3, do_rotary=1, local_window_size=window)


def test_lengths_that_depend_on_the_input_are_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="seqlens_k"):
        computed(OP, PROMPT, 17, domain=DOMAIN, constant=False, **HEADS)


@pytest.mark.parametrize(
    "settings", [{"kv_cache_bit_width": 8}, {"k_quant_type": "PER_TENSOR"}, {"sliding_window_cache": 1}], ids=str
)
def test_what_is_not_implemented_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOpError, match="is not implemented"):
        computed(OP, PROMPT, 17, domain=DOMAIN, **HEADS, **settings)


def test_the_scores_are_no_output() -> None:
    with pytest.raises(UnsupportedOpError, match="fourth_output"):
        computed(OP, PROMPT, 17, outputs=4, domain=DOMAIN, **HEADS)


def test_grouped_attention_has_the_slopes_of_onnxruntime() -> None:
    small = [draw(1, 2, 2 * 8), draw(1, 2, 8), draw(1, 2, 8), None, None, *lengths(2)]
    settings: dict[str, Any] = {"num_heads": 2, "kv_num_heads": 1, "softcap": 2.0}
    slopes.assert_gradient_agrees(OP, small, 17, [0, 1, 2], step=1e-2, domain=DOMAIN, **settings)
