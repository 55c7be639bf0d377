from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnxvis.errors import DataDependentShapeError
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LONE = np.arange(6, dtype=np.float32).reshape(1, 2, 1, 3, 1)


def ints(*values: int) -> Array:
    """A constant input."""
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", [7, 13, 28])
def test_shape_and_size_agree(opset: int) -> None:
    for x in (X, np.array(1.0, np.float32), np.zeros((0, 2), np.float32)):
        assert_agrees("Shape", [x], opset)
        assert_agrees("Size", [x], opset)


@pytest.mark.parametrize("start", [0, 1, -2, -9, 9])
@pytest.mark.parametrize("end", [None, 0, 2, -1, 9, -9])
def test_a_part_of_the_shape_agrees(start: int, end: int | None) -> None:
    attributes: dict[str, Any] = {"start": start} if end is None else {"start": start, "end": end}
    assert_agrees("Shape", [X], 15, **attributes)


@pytest.mark.parametrize("opset", [7, 13, 28])
@pytest.mark.parametrize("shape", [(4, 6), (-1,), (0, -1), (0, 0, 2, -1), (2, 0, 4), (1, 24, 1), (4, -1, 3)], ids=str)
def test_reshape_infers_and_keeps_sizes(shape: tuple[int, ...], opset: int) -> None:
    assert_agrees("Reshape", [X, ints(*shape)], opset)


def test_reshape_to_a_scalar_agrees() -> None:
    assert_agrees("Reshape", [np.ones((1, 1), np.float32), ints()], 13)


def test_reshape_with_allowzero_makes_an_empty_tensor() -> None:
    empty = np.zeros((0, 3, 4), np.float32)
    assert_agrees("Reshape", [empty, ints(3, 4, 0)], 14, allowzero=1)
    assert_agrees("Reshape", [empty, ints(0, 12)], 14, allowzero=0)


def test_before_opset_5_the_shape_is_an_attribute() -> None:
    (found,) = computed("Reshape", [X], 1, shape=[0, -1])
    np.testing.assert_array_equal(found, X.reshape(2, 12))


def test_a_shape_that_the_input_determines_is_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="Reshape: shape depends on the values"):
        computed("Reshape", [X, ints(-1)], 13, constant=False)


@pytest.mark.parametrize("opset", [9, 11, 13, 28])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_flatten_agrees(axis: int, opset: int) -> None:
    assert_agrees("Flatten", [X], opset, axis=axis)


def test_flatten_defaults_to_axis_1_and_counts_from_the_end() -> None:
    assert_agrees("Flatten", [X], 7)
    for axis in (-1, -2, -3):
        assert_agrees("Flatten", [X], 11, axis=axis)
    assert_agrees("Flatten", [np.array(1.0, np.float32)], 11, axis=0)
    assert_agrees("Flatten", [np.zeros((0, 2, 3), np.float32)], 11, axis=2)


def test_squeeze_agrees_with_axes_as_attribute_as_input_and_without() -> None:
    assert_agrees("Squeeze", [LONE], 7)
    assert_agrees("Squeeze", [LONE], 7, axes=[0, 2])
    assert_agrees("Squeeze", [LONE], 11, axes=[-1, 0])
    assert_agrees("Squeeze", [LONE], 13)
    assert_agrees("Squeeze", [LONE, ints(-1, 2)], 13)
    assert_agrees("Squeeze", [LONE, ints(0)], 28)


def test_unsqueeze_counts_in_the_result() -> None:
    assert_agrees("Unsqueeze", [X], 7, axes=[0, 4])
    assert_agrees("Unsqueeze", [X], 11, axes=[-1, 1])
    for axes in ((3, 0), (1, 2), (-1, -2), (-4, 2), (5, 4, 2)):
        assert_agrees("Unsqueeze", [X, ints(*axes)], 13)
    assert_agrees("Unsqueeze", [np.array(1.0, np.float32), ints(0)], 28)


@pytest.mark.parametrize("opset", [7, 13, 28])
def test_transpose_permutes_and_reverses(opset: int) -> None:
    assert_agrees("Transpose", [X], opset)
    assert_agrees("Transpose", [X], opset, perm=[1, 2, 0])


@pytest.mark.parametrize("opset", [7, 11, 13, 28])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat_agrees(axis: int, opset: int) -> None:
    assert_agrees("Concat", [X, X + 1, X - 1], opset, axis=axis)
    assert_agrees("Concat", [X], opset, axis=axis)


def test_concat_counts_from_the_end_and_takes_empty_tensors() -> None:
    assert_agrees("Concat", [X, X[:, :, :0], X[:, :, :1]], 11, axis=-1)


def test_concat_before_opset_4_defaults_to_axis_1() -> None:
    (found,) = computed("Concat", [X, X], 1)
    np.testing.assert_array_equal(found, np.concatenate([X, X], 1))


def test_split_agrees_with_sizes_as_attribute_and_as_input() -> None:
    assert_agrees("Split", [X], 7, outputs=2, axis=2, split=[1, 3])
    assert_agrees("Split", [X], 11, outputs=2, axis=-1, split=[3, 1])
    assert_agrees("Split", [X, ints(1, 0, 3)], 13, outputs=3, axis=2)
    assert_agrees("Split", [X, ints(1, 3)], 28, outputs=2, axis=2)


def test_split_without_sizes_makes_equal_pieces() -> None:
    for opset in (7, 13):
        assert_agrees("Split", [X], opset, outputs=2)
        assert_agrees("Split", [X], opset, outputs=3, axis=1)
    assert_agrees("Split", [X], 18, outputs=2, axis=2, num_outputs=2)
    assert_agrees("Split", [X], 18, outputs=2, axis=1, num_outputs=2)
    assert_agrees("Split", [X], 18, outputs=1, axis=1, num_outputs=1)


def test_split_makes_the_number_of_pieces_asked_for_even_if_the_last_is_empty() -> None:
    found = computed("Split", [np.arange(5)], 18, outputs=4, num_outputs=4)
    assert [piece.tolist() for piece in found] == [[0, 1], [2, 3], [4], []]


@pytest.mark.parametrize("opset", [8, 13, 28])
@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 4), (1,), (5, 1, 1, 1, 4), (2, 1, 3, 1)], ids=str)
def test_expand_broadcasts_both_ways(shape: tuple[int, ...], opset: int) -> None:
    x = X[:, :, :1] if shape[-1] != 1 else X[:, :1]
    assert_agrees("Expand", [X[:, :1, None] if len(shape) == 4 else x, ints(*shape)], opset)


def test_expand_to_nothing_agrees() -> None:
    assert_agrees("Expand", [X[:1], ints(0, 3, 4)], 13, reference=True)


@pytest.mark.parametrize("opset", [7, 13, 28])
def test_tile_repeats_each_dimension(opset: int) -> None:
    assert_agrees("Tile", [X, ints(1, 2, 3)], opset)
    assert_agrees("Tile", [X, ints(2, 1, 0)], opset)


def test_tile_before_opset_6_repeats_one_dimension() -> None:
    (found,) = computed("Tile", [X, np.array(3), np.array(1)], 1)
    np.testing.assert_array_equal(found, np.tile(X, (1, 3, 1)))


@pytest.mark.parametrize("opset", [7, 13, 14, 16, 28])
def test_identity_agrees(opset: int) -> None:
    assert_agrees("Identity", [X], opset)
