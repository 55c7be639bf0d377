from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


X, SKIP, GAMMA, BETA, BIAS = draw(2, 3, 8), draw(2, 3, 8), draw(8), draw(8), draw(8)
WORDS, PLACES, SEGMENTS = draw(6, 8), draw(5, 8), draw(2, 8)
IDS = np.array([[1, 2, 3], [4, 0, 2]], np.int32)
SEGMENT_IDS = np.array([[0, 1, 1], [0, 0, 1]], np.int32)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@pytest.mark.parametrize("inputs", [[X, SKIP, GAMMA], [X, SKIP, GAMMA, BETA], [X, SKIP, GAMMA, None, BIAS]])
def test_a_residual_sum_is_normalized(inputs: list[Array | None], outputs: int) -> None:
    assert_agrees("SkipLayerNormalization", inputs, 17, outputs=outputs, epsilon=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 8), (3, 8)])
def test_a_residual_is_broadcast(shape: tuple[int, ...]) -> None:
    assert_agrees("SkipLayerNormalization", [X, draw(*shape), GAMMA, BETA, BIAS], 17)
    assert_agrees("SkipSimplifiedLayerNormalization", [X, draw(*shape), GAMMA, BIAS], 17)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@pytest.mark.parametrize("inputs", [[X, SKIP, GAMMA], [X, SKIP, GAMMA, BIAS]])
def test_a_residual_sum_is_divided_by_its_root_mean_square(inputs: list[Array | None], outputs: int) -> None:
    assert_agrees("SkipSimplifiedLayerNormalization", inputs, 17, outputs=outputs, epsilon=1e-3)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("opset", [8, 14, 17])
def test_the_default_domain_of_onnxruntime_has_a_simplified_normalization(opset: int, outputs: int) -> None:
    oracle.assert_agrees("SimplifiedLayerNormalization", [X, GAMMA], opset, outputs=outputs, epsilon=1e-3)
    oracle.assert_agrees("SimplifiedLayerNormalization", [X, draw(3, 8)], opset, outputs=outputs, axis=1)


@pytest.mark.parametrize("activation", ["silu", "swish", "sigmoid"])
@pytest.mark.parametrize("size", [8, 4, 2])
def test_a_gate_multiplies_what_is_normalized(size: int, activation: str) -> None:
    assert_agrees("GatedRMSNorm", [X, draw(size), SKIP], 17, activation=activation)


@pytest.mark.parametrize("mask", [None, [[1, 1, 0], [1, 0, 1]], [[0, 1, 1], [2, 1, 0]]])
@pytest.mark.parametrize("position_ids", [None, [[0, 2, 1]], [[0, 2, 1], [4, 3, 0]]])
def test_embeddings_are_summed_and_normalized(
    mask: list[list[int]] | None, position_ids: list[list[int]] | None
) -> None:
    rest = [None if values is None else np.array(values, np.int32) for values in (mask, position_ids)]
    inputs = [IDS, SEGMENT_IDS, WORDS, PLACES, SEGMENTS, GAMMA, BETA, *rest]
    assert_agrees("EmbedLayerNormalization", inputs, 17, outputs=3)


def test_embeddings_need_no_segments() -> None:
    assert_agrees("EmbedLayerNormalization", [IDS, None, WORDS, PLACES, None, GAMMA, BETA], 17, outputs=2)


def normalized_groups(x: Array, groups: int, gamma: Array, beta: Array, *, silu: int) -> Array:
    """Group normalization of (N, H, W, C), image by image and group by group."""
    result = np.empty_like(x)
    size = x.shape[-1] // groups
    for n, g in np.ndindex(x.shape[0], groups):
        part = x[n, ..., g * size : (g + 1) * size].astype(np.float64)
        result[n, ..., g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    result = result * gamma + beta
    return result / (1 + np.exp(-result)) if silu else result


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("channels_last", [0, 1])
def test_groups_of_channels_are_normalized(channels_last: int, groups: int, activation: int) -> None:
    # onnxruntime has it on the GPU alone.
    image = draw(2, 3, 4, 8)
    given = image if channels_last else np.moveaxis(image, -1, 1)
    settings: dict[str, Any] = {"channels_last": channels_last, "groups": groups, "activation": activation}
    (found,) = computed("GroupNorm", [given, GAMMA, BETA], 17, domain=DOMAIN, **settings)
    wanted = normalized_groups(image, groups, GAMMA, BETA, silu=activation)
    np.testing.assert_allclose(found if channels_last else np.moveaxis(found, 1, -1), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (2, 1, 1, 8), (2, 8)])
@pytest.mark.parametrize("bias", [None, BIAS])
def test_a_residual_sum_is_normalized_by_groups(bias: Array | None, shape: tuple[int, ...]) -> None:
    image, skip = draw(2, 3, 4, 8), draw(*shape)
    inputs = [image, GAMMA, BETA, skip, bias]
    found, total = computed("SkipGroupNorm", inputs, 17, outputs=2, domain=DOMAIN, groups=2, activation=1)
    wanted = image + skip.reshape(2, *skip.shape[1:] if skip.ndim == 4 else (1, 1, 8)) + (0 if bias is None else bias)
    np.testing.assert_allclose(total, wanted, rtol=1e-5, atol=1e-6)
    normalized = normalized_groups(wanted, 2, GAMMA, BETA, silu=1)
    np.testing.assert_allclose(found, normalized, rtol=1e-4, atol=1e-5)


def test_normalizations_have_the_slopes_of_onnxruntime() -> None:
    small = [draw(1, 2, 4), draw(1, 2, 4), draw(4)]
    assert_gradient_agrees("SkipLayerNormalization", small, 17, [0, 1], step=1e-2, epsilon=0.1)
    assert_gradient_agrees("SkipLayerNormalization", [*small, draw(4), draw(4)], 17, [0, 4], step=1e-2, output=3)
    assert_gradient_agrees("SkipSimplifiedLayerNormalization", small, 17, [0, 1], step=1e-2, epsilon=0.1)
    assert_gradient_agrees("GatedRMSNorm", [small[0], small[2], small[1]], 17, [0, 2], step=1e-2, epsilon=0.1)
    slopes.assert_gradient_agrees("SimplifiedLayerNormalization", [small[0], small[2]], 17, [0], step=1e-2, epsilon=0.1)


def test_embeddings_have_the_slopes_of_onnxruntime() -> None:
    words, rest = draw(3, 4), [draw(3, 4), None, draw(4), draw(4)]
    ids = np.array([[1, 2]], np.int32)
    inputs = [ids, None, words, *rest]
    assert_gradient_agrees("EmbedLayerNormalization", inputs, 17, [2, 3], step=1e-2, output=2, epsilon=0.1)
