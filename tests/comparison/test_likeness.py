"""Angles, kernel alignment and permutations against their textbook definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxvis.comparison.likeness import cosine, linear_cka, permutation
from onnxvis.comparison.sides import Array


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def hsic_cka(first: Array, second: Array) -> float:
    """Return CKA by HSIC: tr(K H L H), H the centering matrix, of linear kernels."""
    count = len(first)
    center = np.eye(count) - np.ones((count, count)) / count
    one, other = (np.asarray(item, np.float64) @ np.asarray(item, np.float64).T for item in (first, second))

    def hsic(a: Array, b: Array) -> float:
        return float(np.trace(a @ center @ b @ center))

    return hsic(one, other) / math.sqrt(hsic(one, one) * hsic(other, other))


@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_cka_is_that_of_the_textbook(examples: int, units: int, others: int, seed: int) -> None:
    first, second = noise(examples, units, seed=seed), noise(examples, others, seed=seed + 1)
    assert linear_cka(first, second) == pytest.approx(hsic_cka(first, second), abs=1e-4)


def test_cka_is_one_under_rotation_scale_shift_and_permutation_and_less_otherwise() -> None:
    layer = noise(100, 8)
    rotation = np.linalg.qr(noise(8, 8))[0]
    for other in (layer @ rotation, -3 * layer, layer + noise(1, 8), layer[:, ::-1], 1e6 * layer):
        assert linear_cka(layer, other) == pytest.approx(1, abs=1e-4)
    assert linear_cka(layer, layer * np.linspace(0.1, 3, 8, dtype=np.float32)) < 0.99
    assert linear_cka(layer, noise(100, 8, seed=1)) < 0.5


def test_cka_of_many_examples_is_near_that_of_all() -> None:
    first = noise(5000, 6)
    second = first + noise(5000, 6, seed=1)
    assert linear_cka(first, second) == pytest.approx(hsic_cka(first[::10], second[::10]), abs=0.05)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0, 1e30])
def test_layers_without_any_spread_or_with_nan_have_a_cka_without_a_warning(wrong: float) -> None:
    layer = noise(20, 3)
    other = layer.copy()
    other[:] = wrong
    assert math.isnan(linear_cka(layer, other))
    assert math.isnan(linear_cka(other, layer))


def test_cka_of_one_infinite_number_is_nan_without_a_warning() -> None:
    layer = noise(20, 3)
    other = layer.copy()
    other[0, 0] = math.inf
    assert math.isnan(linear_cka(layer, other))


def test_cka_of_huge_numbers_is_that_of_small_ones_or_none_without_a_warning() -> None:
    layer = noise(20, 3)
    found = linear_cka(layer, layer * np.float32(1e30))
    assert math.isnan(found) or found == pytest.approx(1, abs=1e-3)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9), st.floats(-10, 10))
def test_the_cosine_is_that_of_the_definition(numbers: list[float], factor: float) -> None:
    first = np.asarray(numbers)
    second = factor * first + np.arange(len(first))
    size = np.linalg.norm(first) * np.linalg.norm(second)
    found = cosine(first, second)
    if size > 1e-9:
        assert found == pytest.approx(float(first @ second) / size, abs=1e-6)
    assert math.isnan(found) or -1 <= found <= 1


@pytest.mark.parametrize("wrong", [0.0, math.nan, math.inf])
def test_there_is_no_angle_with_what_is_zero_or_not_finite(wrong: float) -> None:
    assert math.isnan(cosine(noise(5), np.full(5, wrong, np.float32)))
    assert math.isnan(cosine(np.full(5, wrong, np.float32), noise(5)))
    assert math.isnan(cosine(np.full(5, wrong, np.float32), np.full(5, wrong, np.float32)))


def shuffled(units: Array, noise_of: float, seed: int) -> tuple[Array, tuple[int, ...]]:
    generator = np.random.default_rng(seed)
    places = generator.permutation(len(units))
    other = np.empty_like(units)
    other[places] = units
    other += np.asarray(noise_of * generator.standard_normal(units.shape), np.float32)
    return other, tuple(int(place) for place in places)


@pytest.mark.parametrize(
    ("count", "rounding", "limit"), [(8, 0.0, 0.0), (64, 1e-6, 1e-4), (1280, 1e-6, 1e-4), (64, 1e-3, 2e-2)]
)
def test_any_permutation_is_found_under_rounding(count: int, rounding: float, limit: float) -> None:
    for seed in range(5):
        units = np.maximum(noise(count, 300, seed=seed), 0)
        other, places = shuffled(units, rounding, seed)
        assert permutation(units, other, limit) == places


def test_units_that_answer_to_nothing_are_exchanged_at_will() -> None:
    units = np.maximum(noise(16, 100), 0)
    units[[2, 5, 11]] = 0
    other, places = shuffled(units, 0, 1)
    found = permutation(units, other, 1e-4)
    assert found is not None
    assert sorted(found) == list(range(16))
    assert all(np.array_equal(units[unit], other[place]) for unit, place in enumerate(found))
    assert [found[unit] for unit in range(16) if units[unit].any()] == [
        places[unit] for unit in range(16) if units[unit].any()
    ]


def test_twins_within_the_limit_may_stand_for_each_other() -> None:
    units = noise(8, 200)
    units[3] = units[5] + np.float32(1e-7) * noise(200)
    other, _ = shuffled(units, 1e-7, 2)
    found = permutation(units, other, 1e-4)
    assert found is not None
    assert sorted(found) == list(range(8))
    assert np.abs(units - other[list(found)]).max() <= 1e-4 * np.abs(units).max()


def test_other_units_are_refused() -> None:
    units = noise(12, 200)
    other, _ = shuffled(units, 0, 3)
    wrong = other.copy()
    wrong[4] *= 1.5
    assert permutation(units, wrong, 1e-4) is None
    assert permutation(units, noise(12, 200, seed=4), 1e-4) is None
    assert permutation(units, units[:6], 1e-4) is None
    late = other.copy()
    late[4, 101] += 1
    assert permutation(units, late, 1e-4) is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_units_that_are_not_finite_are_refused(wrong: float) -> None:
    units = noise(4, 10)
    units[1, 1] = wrong
    assert permutation(units, units, 1e-4) is None
