from __future__ import annotations

import functools
import math
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


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


COS, SIN = np.cos(draw(10, 2)), np.sin(draw(10, 2))
POSITIONS = [np.array([2]), np.array([[0, 1, 5], [3, 2, 1]])]


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", POSITIONS, ids=lambda positions: str(positions.shape))
@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 2, 3, 4)])
def test_pairs_of_elements_are_rotated(shape: tuple[int, ...], positions: Array, interleaved: int) -> None:
    assert_agrees("RotaryEmbedding", [draw(*shape), positions, COS, SIN], 17, interleaved=interleaved)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("shape", [(2, 3, 16), (2, 2, 3, 8)])
def test_the_rest_of_a_head_stays(shape: tuple[int, ...], interleaved: int) -> None:
    settings: dict[str, Any] = {"num_heads": 2, "rotary_embedding_dim": 4, "interleaved": interleaved}
    assert_agrees("RotaryEmbedding", [draw(*shape), POSITIONS[1], COS, SIN], 17, **settings)


def test_the_scale_of_a_rotation_is_ignored_as_in_onnxruntime() -> None:
    assert_agrees("RotaryEmbedding", [draw(2, 3, 8), POSITIONS[1], COS, SIN], 17, scale=0.5, is_packed_batching=1)


def test_a_rotation_has_the_slopes_of_onnxruntime() -> None:
    inputs = [draw(1, 2, 4), np.array([[1, 3]]), COS, SIN]
    slopes.assert_gradient_agrees("RotaryEmbedding", inputs, 17, [0], step=1e-2, domain=DOMAIN)


def bucket(distance: int, buckets: int, largest: int, *, both: int) -> int:
    """The bucket of one distance, key minus query, as T5 counts them."""
    first = 0
    if both:
        buckets //= 2
        first, distance = (buckets if distance > 0 else 0), abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    far = exact + int(math.log(distance / exact) / math.log(largest / exact) * (buckets - exact))
    return first + min(far, buckets - 1)


@pytest.mark.parametrize("both", [0, 1])
def test_a_relative_bias_is_looked_up_in_buckets_of_distances(both: int) -> None:
    # onnxruntime has it on the GPU alone; it wants the table's elements in the order of its transpose.
    by_head, buckets, largest = draw(3, 8), 8, 20
    inputs = [by_head.reshape(buckets, 3), np.array(30), np.array(30)]
    settings: dict[str, Any] = {"is_bidirectional": both, "max_distance": largest}
    (found,) = computed("RelativePositionBias", inputs, 17, domain=DOMAIN, **settings)
    assert found.shape == (1, 3, 30, 30)
    for query, key in np.ndindex(30, 30):
        place = bucket(key - query, buckets, largest, both=both)
        np.testing.assert_array_equal(found[0, :, query, key], by_head[:, place])


def test_a_gated_relative_bias_follows_its_definition() -> None:
    # onnxruntime has it on the GPU alone.
    N, H, S, D, E = 2, 3, 4, 5, 6
    query, query_bias, relative = draw(N, S, H * D), draw(H * D), draw(1, H, S, S)
    weight, bias, eco = draw(D, E), draw(E), draw(1, H, 1, 1)
    inputs = [query, query_bias, relative, weight, bias, eco]
    (found,) = computed("GatedRelativePositionBias", inputs, 17, domain=DOMAIN, num_heads=H)
    for n, h, s in np.ndindex(N, H, S):
        products = (query + query_bias)[n, s, h * D : (h + 1) * D] @ weight + bias
        update, reset = (1 / (1 + np.exp(-half.sum())) for half in (products[: E // 2], products[E // 2 :]))
        wanted = (update * (reset * eco[0, h, 0, 0] - 1) + 2) * relative[0, h, s]
        np.testing.assert_allclose(found[n, h, s], wanted, rtol=1e-4, atol=1e-5)


def test_a_gated_relative_bias_of_tokens_without_padding_is_refused() -> None:
    inputs = [
        draw(1, 2, 4),
        draw(4),
        draw(1, 2, 2, 2),
        draw(2, 2),
        draw(2),
        draw(1, 2, 1, 1),
        np.zeros((1, 2), np.int32),
    ]
    with pytest.raises(UnsupportedOpError, match="token_offset"):
        computed("GatedRelativePositionBias", inputs, 17, domain=DOMAIN, num_heads=2)
