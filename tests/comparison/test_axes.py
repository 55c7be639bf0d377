"""Every way from one tensor's axes to another's is found, and errors are what they are by definition."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxvis.comparison.axes import aligned, alignments, errors, nearest
from onnxvis.comparison.sides import Array

NUMBERS = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0]))


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 3, 2), (2, 2, 2), (1, 3, 4, 4), (1, 4, 4, 4), (2, 1, 3, 2, 3)])
def test_each_permutation_is_found_also_where_sizes_repeat(shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    for order in itertools.permutations(range(len(shape))):
        moved = array.transpose(0, *(axis + 1 for axis in order))
        found = aligned(array, moved, 0)
        assert found is not None, order
        assert np.array_equal(found[0](array), moved)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_what_one_alignment_brings_has_the_shape_that_is_asked_for(shape: list[int], data: st.DataObject) -> None:
    second = data.draw(st.one_of(st.permutations(shape), st.just([math.prod(shape)]), st.just([1, *shape, 1])))
    found = list(alignments(shape, second))
    assert found
    for alignment in found:
        result = alignment(noise(*shape))
        assert result.shape == (2, *second)
        assert np.array_equal(np.sort(result.reshape(2, -1)), np.sort(noise(*shape).reshape(2, -1)))


def test_the_order_as_it_is_comes_first_and_the_usual_layouts_next() -> None:
    orders = [alignment.order for alignment in alignments((4, 4, 4), (4, 4, 4))]
    assert orders[:3] == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    assert sorted(orders) == sorted(itertools.permutations(range(3)))
    assert next(alignments((4, 4, 4), (4, 4, 4))).is_identity


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_a_flattened_tensor_of_either_layout_is_found(batch: int, channels_last: bool, backward: bool) -> None:
    image = noise(batch, 3, 4, 5)
    turned = image.transpose(0, 1, 3, 4, 2) if channels_last else image
    flat = turned.reshape(2, batch, -1)
    one, other = (flat, image) if backward else (image, flat)
    found = aligned(one, other, 0)
    assert found is not None
    assert np.array_equal(found[0](one), other)


def test_places_in_a_row_are_found_as_tokens_are_made_of_an_image() -> None:
    image = noise(1, 6, 4, 5)
    tokens = image.transpose(0, 1, 3, 4, 2).reshape(2, 1, 20, 6)
    for one, other in ((image, tokens), (tokens, image)):
        found = aligned(one, other, 0)
        assert found is not None
        assert np.array_equal(found[0](one), other)


def test_tensors_of_other_sizes_have_no_alignment() -> None:
    assert list(alignments((3, 4), (3, 5))) == []
    assert aligned(noise(3, 4), noise(3, 5), 1.0) is None
    assert nearest(noise(3, 4), noise(3, 5)) is None


def test_a_scalar_and_an_empty_tensor_are_aligned_with_their_like() -> None:
    assert aligned(noise(), noise(1, 1), 0) is not None
    assert aligned(noise(0, 3), noise(3, 0), 0) is not None


def test_the_nearest_alignment_is_that_of_the_least_error() -> None:
    image = noise(3, 4, 5)
    moved = image.transpose(0, 2, 3, 1) + 0.1 * np.random.default_rng(1).standard_normal((2, 4, 5, 3))
    found = nearest(image, moved.astype(np.float32))
    assert found is not None
    assert found[0].order == (1, 2, 0)
    assert aligned(image, moved.astype(np.float32), 1e-3) is None


def slow_errors(first: list[float], second: list[float]) -> tuple[float, float, float]:
    pairs = []
    for one, other in zip(first, second, strict=True):
        if one == other or (math.isnan(one) and math.isnan(other)):
            pairs.append((one if math.isfinite(one) else 0.0, 0.0))
        elif not (math.isfinite(one) and math.isfinite(other)):
            return math.inf, math.inf, math.inf
        else:
            pairs.append((one, one - other))
    absolute = max(abs(difference) for _, difference in pairs)
    largest = max(abs(one) for one, _ in pairs)
    size = math.sqrt(sum(one**2 for one, _ in pairs) / len(pairs))
    root = math.sqrt(sum(difference**2 for _, difference in pairs) / len(pairs))
    return absolute, absolute / max(largest, 1e-12), root / max(size, 1e-12)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=12))
def test_errors_are_those_of_the_definition_with_nan_and_infinity_on_any_side(rows: list[Any]) -> None:
    first = [one for one, _, _ in rows]
    second = [one if same else other for one, other, same in rows]
    arrays = [np.asarray(numbers, np.float64).reshape(1, -1) for numbers in (first, second)]
    found = errors(*arrays)
    assert np.allclose((found.absolute, found.relative, found.mean), slow_errors(first, second), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 3e38])
def test_errors_of_very_large_and_small_numbers_are_silent_and_right(scale: float) -> None:
    first = np.asarray([[1.0, -0.5]], np.float32) * np.float32(scale)
    found = errors(first, first)
    assert (found.absolute, found.relative, found.mean) == (0.0, 0.0, 0.0)
    if scale > 1:
        found = errors(first, first * np.float32(0.99))
        assert found.relative == pytest.approx(0.01, rel=1e-3)
        assert found.mean == pytest.approx(0.01, rel=1e-3)


def test_half_precision_is_compared_in_more() -> None:
    first = np.full((1, 4), 60000, np.float16)
    assert errors(first, -first).absolute == pytest.approx(120000, rel=1e-3)


def test_the_error_is_relative_to_the_first() -> None:
    one, other = np.full((1, 2), 2.0, np.float32), np.full((1, 2), 1.0, np.float32)
    assert errors(one, other).relative == 0.5
    assert errors(other, one).relative == 1.0
