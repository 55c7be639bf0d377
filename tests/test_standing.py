from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxvis.standing import agreement, combined, kept, place, standardized, standing

NORMAL = np.random.default_rng(0).standard_normal
small = st.floats(-100, 100, width=32)


@pytest.mark.parametrize(
    ("activation", "seed", "reference", "direction", "expected"),
    [
        (10, 0, 10, 1, 1),  # nothing lost
        (5, 0, 10, 1, 0.5),
        (-7, -3, -7, -1, 1),  # minimized, at negative activations
        (-5, -3, -7, -1, 0.5),
        (-1, -3, 1, 1, 0.5),  # across zero
        (0, 0, 10, 1, 0),  # as good as the seed
        (-5, 0, 10, 1, -0.5),  # worse
        (5, 10, 0, -1, 0.5),
    ],
)
def test_kept_is_a_share_of_the_gain_over_the_seed(
    activation: float, seed: float, reference: float, direction: float, expected: float
) -> None:
    assert kept(activation, seed, reference, direction) == expected


@pytest.mark.parametrize(("seed", "reference", "direction"), [(3, 3, 1), (3, 2, 1), (3, 4, -1), (1e4, 1e4 + 0.5, 1)])
def test_where_nothing_was_gained_no_share_of_it_is_kept(seed: float, reference: float, direction: float) -> None:
    assert kept(5.0, seed, reference, direction) is None


@given(small, small, small, st.floats(0.5, 100), small)
def test_kept_does_not_depend_on_the_scale_of_a_unit(
    activation: float, seed: float, reference: float, factor: float, offset: float
) -> None:
    before = kept(activation, seed, reference)
    after = kept(activation * factor + offset, seed * factor + offset, reference * factor + offset)
    if before is not None and after is not None:
        assert after == pytest.approx(before, rel=1e-6, abs=1e-6)


def slow_rank(answers: list[float], filters: list[int]) -> int:
    weakest = min(answers[index] for index in filters)
    better = [index for index, answer in enumerate(answers) if index not in filters and answer > weakest]
    return 1 + len(better)


@given(st.lists(small, min_size=3, max_size=9), st.sets(st.integers(0, 2), min_size=1, max_size=2))
def test_a_rank_counts_the_other_units_that_answer_more(answers: list[float], filters: set[int]) -> None:
    found = standing(np.array(answers), sorted(filters))
    assert found is not None
    assert found.rank == slow_rank(answers, sorted(filters))
    assert (found.rank == 1) == (found.margin >= 0)
    assert found.margin == min(answers[index] for index in filters) - answers[found.rival]
    assert found.rival not in filters


def test_a_minimized_unit_is_first_where_it_is_lowest() -> None:
    found = standing(np.array([1.0, -5.0, 2.0]), (1,), -1.0)
    assert found is not None
    assert (found.rank, found.margin, found.rival) == (1, 6.0, 0)


def test_a_whole_tensor_and_a_single_unit_have_no_rank() -> None:
    assert standing(np.array([1.0, 2.0]), ()) is None
    assert standing(np.array([1.0]), (0,)) is None
    assert standing(np.array([1.0, 2.0]), (0, 1)) is None


def test_standardized_answers_have_mean_zero_and_spread_one_on_the_baseline() -> None:
    baseline = NORMAL((50, 4)) * [1, 2, 3, 4] + [5, 6, 7, 8]
    found = standardized(baseline, baseline)
    assert found is not None
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(0, ddof=1), 1)


def test_units_of_another_scale_and_offset_have_the_same_standardized_standing() -> None:
    baseline, answers = NORMAL((20, 5)), NORMAL(5)
    scale, offset = np.array([1, 2, 1.5, 3, 0.7]), NORMAL(5)
    first = standardized(answers, baseline)
    second = standardized(answers * scale + offset, baseline * scale + offset)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first, second)


def test_a_unit_that_sleeps_on_the_baseline_counts_as_varying_a_little() -> None:
    baseline = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0]])
    found = standardized(np.array([1.0, 2.0, 3.0]), baseline)
    assert found is not None
    assert found[0] == pytest.approx(1 / (0.1 * np.sqrt(2)))


@pytest.mark.parametrize("baseline", [np.ones((5, 3)), np.ones((1, 3)), np.ones((0, 3))])
def test_without_any_spread_nothing_is_standardized(baseline: np.ndarray[Any, Any]) -> None:
    assert standardized(np.zeros(3), baseline) is None


def test_filters_are_summed_and_a_whole_tensor_is_averaged() -> None:
    answers = np.array([[1.0, 2.0, 6.0], [0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(combined(answers, (0, 2)), [7, 2])
    np.testing.assert_array_equal(combined(answers, ()), [3, 1])


def test_a_place_is_the_share_of_natural_images_that_are_lower() -> None:
    found = place(2.5, np.array([1.0, 2.0, 3.0, 2.5]), ["a", "b", "c", "d"])
    assert (found.beyond, found.count, found.best, found.best_activation) == (0.5, 4, "c", 3.0)


def test_the_place_of_a_minimized_picture_counts_from_the_other_end() -> None:
    found = place(-1.0, np.array([1.0, 2.0, 3.0, -2.0]), ["a", "b", "c", "d"], -1.0)
    assert (found.beyond, found.best, found.best_activation) == (0.75, "d", -2.0)


def test_agreement_is_the_mean_cosine_of_all_pairs_without_the_own_unit() -> None:
    answers = NORMAL((4, 6))
    cosines = []
    for first in range(4):
        for second in range(first):
            a, b = np.delete(answers[first], 2), np.delete(answers[second], 2)
            cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    found = agreement(answers, (2,))
    assert found is not None
    assert found.count == 4
    assert found.mean == pytest.approx(np.mean(cosines))
    assert found.least == pytest.approx(min(cosines))


def test_the_same_picture_twice_agrees_wholly_whatever_the_own_unit_says() -> None:
    answers = np.tile(NORMAL(6), (2, 1))
    answers[:, 0] = [100, -100]
    found = agreement(answers, (0,), NORMAL((9, 6)))
    assert found is not None
    assert found.mean == pytest.approx(1)


def test_what_units_always_answer_makes_no_agreement() -> None:
    always = np.full(50, 100.0)
    answers, baseline = NORMAL((2, 50)) + always, NORMAL((100, 50)) + always
    plain, centered = agreement(answers), agreement(answers, (), baseline)
    assert plain is not None
    assert centered is not None
    assert plain.mean > 0.99
    assert abs(centered.mean) < 0.5


def test_one_picture_and_one_unit_agree_with_nobody() -> None:
    assert agreement(NORMAL((1, 6))) is None
    assert agreement(NORMAL((3, 2)), (0,)) is None
    assert agreement(np.zeros((3, 4))) is None
    assert agreement(NORMAL((3, 4)), (), np.ones((5, 4))) is None
