from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.errors import DataDependentShapeError
from onnxvis.ops import constant, indexing, reduction, shape
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
X = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
HUGE, TINY = np.iinfo(np.int64).max, np.iinfo(np.int64).min
REDUCTIONS = [(16, "none"), (16, "add"), (16, "mul"), (18, "max"), (18, "min"), (28, "add"), (28, "max")]


def ints(*values: Any) -> Array:
    """A constant input."""
    return np.array(values, np.int64)


def test_slice_with_attributes_agrees() -> None:
    assert_agrees("Slice", [X], 7, starts=[0, 1], ends=[1, 3])
    assert_agrees("Slice", [X], 9, starts=[1, -3], ends=[HUGE, -1], axes=[1, 2])
    assert_agrees("Slice", [X], 9, starts=[-100], ends=[100], axes=[0])


@pytest.mark.parametrize("step", [1, 2, 5, -1, -2, HUGE, TINY + 1])
def test_slice_with_every_start_and_end_agrees(step: int) -> None:
    bounds = [HUGE, 7, 4, 3, 1, 0, -1, -2, -4, -5, -9, TINY]
    for start, end in itertools.product(bounds, bounds):
        (found,) = computed("Slice", [X, ints(start), ints(end), ints(2), ints(step)], 13)
        clipped = min(max(start + 4 if start < 0 else start, 0), 3 if step < 0 else 4)
        stop = min(max(end + 4 if end < 0 else end, -1), 4)
        wanted = [position for position in range(clipped, stop, step) if 0 <= position < 4]
        np.testing.assert_array_equal(found, X[:, :, wanted])


@pytest.mark.parametrize("opset", [10, 11, 13, 28])
def test_slice_with_inputs_agrees(opset: int) -> None:
    assert_agrees("Slice", [X, ints(0, 1), ints(2, HUGE)], opset)
    assert_agrees("Slice", [X, ints(1, 0), ints(HUGE, 2), ints(2, 1)], opset)
    assert_agrees("Slice", [X, ints(3, -1), ints(TINY, -3), ints(2, 1), ints(-2, -1)], opset)
    assert_agrees("Slice", [X, ints(1), ints(3), None, ints(1)], opset)
    assert_agrees("Slice", [X, ints(-1), ints(0), ints(-1), ints(-1)], opset)
    assert_agrees("Slice", [X, ints(3), ints(1), ints(1), ints(1)], opset)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [7, 11, 13, 28])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather_agrees(axis: int, opset: int, constant: bool) -> None:
    for indices in (ints(1, 0), ints([[0, 1], [1, 1]]), np.array(1), np.array([], np.int64)):
        assert_agrees("Gather", [X, indices], opset, axis=axis, constant=constant)
        assert_agrees("Gather", [X, indices.astype(np.int32)], opset, axis=axis, constant=constant)


@pytest.mark.parametrize("constant", [False, True])
def test_gather_counts_from_the_end(constant: bool) -> None:
    assert_agrees("Gather", [X, ints(-1, 0, -2)], 13, axis=1, constant=constant)
    assert_agrees("Gather", [X, np.array(-1)], 13, axis=2, constant=constant)
    assert_agrees("Gather", [ints(5, 6, 7), np.array(-1)], 13, constant=constant)


@pytest.mark.parametrize(("axis", "opset"), [(0, 11), (1, 13), (-1, 13), (1, 28)])
def test_gather_elements_agrees(axis: int, opset: int) -> None:
    shape = [5 if dim == axis % 3 else size for dim, size in enumerate(X.shape)]
    indices = RNG.integers(-X.shape[axis], X.shape[axis], shape)
    assert_agrees("GatherElements", [X, indices], opset, axis=axis)
    assert_agrees("GatherElements", [X, indices.astype(np.int32)], opset, axis=axis)


def test_gather_elements_may_leave_out_the_end_of_other_dimensions() -> None:
    assert_agrees("GatherElements", [X, ints([[1, 0], [-1, 2]])], 13, axis=1)


def test_gather_nd_agrees() -> None:
    for opset in (11, 13, 28):
        assert_agrees("GatherND", [X, ints([0, 1], [-1, -2])], opset)
        assert_agrees("GatherND", [X, ints(1, 2)], opset)
        assert_agrees("GatherND", [X, ints([[0, 1, 2]], [[1, -1, 0]])], opset)
        assert_agrees("GatherND", [X, ints([1], [0], [1])], opset)


@pytest.mark.parametrize("opset", [12, 28])
def test_gather_nd_in_batches_agrees(opset: int) -> None:
    assert_agrees("GatherND", [X, ints([1], [-1])], opset, batch_dims=1)
    assert_agrees("GatherND", [X, ints([[1, 2], [0, -1]], [[2, 0], [1, 1]])], opset, batch_dims=1)
    assert_agrees("GatherND", [X, RNG.integers(0, 4, (2, 3, 1))], opset, batch_dims=2)
    assert_agrees("GatherND", [X, RNG.integers(-4, 4, (2, 3, 5, 1))], opset, batch_dims=2)


@pytest.mark.parametrize(("op_type", "opset"), [("Scatter", 9), ("ScatterElements", 11), ("ScatterElements", 13)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements_agrees(axis: int, op_type: str, opset: int) -> None:
    everywhere = np.moveaxis(np.broadcast_to(np.arange(X.shape[axis]), np.moveaxis(X, axis, -1).shape), -1, axis)
    indices = RNG.permuted(everywhere, axis=axis).take([0, 1], axis)
    indices = np.where(indices == X.shape[axis] - 1, -1, indices)
    updates = -np.arange(indices.size, dtype=np.float32).reshape(indices.shape)
    assert_agrees(op_type, [X, indices, updates], opset, axis=axis)


@pytest.mark.parametrize(("opset", "reduction"), REDUCTIONS)
def test_scatter_elements_reduces(reduction: str, opset: int) -> None:
    index = ints([[0, 2, -1, 1]], [[1, 0, 0, 2]]) if reduction == "none" else ints([[0, 2, 2, 1]], [[-1, -1, 0, 0]])
    updates = np.linspace(-3, 30, 8, dtype=np.float32).reshape(2, 1, 4)
    assert_agrees("ScatterElements", [X, index, updates], opset, axis=1, reduction=reduction)


def test_scatter_elements_adds_up_what_falls_on_one_place() -> None:
    inputs = [X[0, 0], ints(1, -3, 1), np.array([2, 3, 4], np.float32)]
    assert_agrees("ScatterElements", inputs, 18, reduction="add")
    assert_agrees("ScatterElements", inputs, 18, reduction="mul")


@pytest.mark.parametrize(("opset", "reduction"), [(11, None), (13, None), *REDUCTIONS])
def test_scatter_nd_agrees(reduction: str | None, opset: int) -> None:
    attributes: dict[str, Any] = {} if reduction is None else {"reduction": reduction}
    again = 1 if reduction in {"add", "mul", "max", "min"} else 0
    slices = ints([1, 2], [0, 1], [again, -2 + again])
    assert_agrees("ScatterND", [X, slices, np.full((3, 4), 7, np.float32)], opset, **attributes)
    elements = ints([[1, 2, 3], [-1, 0, -3]])
    assert_agrees("ScatterND", [X, elements, np.array([[5, 6]], np.float32)], opset, **attributes)
    assert_agrees("ScatterND", [X, ints(1), np.full((3, 4), 9, np.float32)], opset, **attributes)


@pytest.mark.parametrize("opset", [9, 11, 28])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_agrees(axis: int, opset: int) -> None:
    values = np.array([-1, 2], np.float32)
    for indices in (ints([0, 4], [2, 1]), ints([-1, -5], [-2, 3])):
        assert_agrees("OneHot", [indices, np.array(5), values], opset, axis=axis)


def test_one_hot_takes_floats_and_a_depth_of_one_dimension() -> None:
    values = np.array([-1, 2], np.float32)
    assert_agrees("OneHot", [np.array([0, 3], np.float32), np.array(5, np.float32), values], 11)
    assert_agrees("OneHot", [ints(0, 3), np.array([5]), values], 11)


def test_one_hot_is_off_everywhere_for_an_index_out_of_range() -> None:
    assert_agrees("OneHot", [ints(7, -9, 1), np.array(5), np.array([-1, 2], np.float32)], 11)


def test_compress_agrees() -> None:
    for opset in (9, 11, 28):
        assert_agrees("Compress", [X, np.array([True, False, True])], opset, axis=1)
        assert_agrees("Compress", [X, np.array([False, True])], opset)
    assert_agrees("Compress", [X, np.array([False, True])], 11, axis=-1)


def test_a_condition_that_the_input_determines_is_refused() -> None:
    with pytest.raises(DataDependentShapeError, match="Compress: condition depends on the values"):
        computed("Compress", [X, np.array([True, False])], 11, axis=1, constant=False)


@pytest.mark.parametrize("opset", [10, 28])
def test_reverse_sequence_agrees(opset: int) -> None:
    assert_agrees("ReverseSequence", [X, ints(2, 1, 0)[:3] + ints(0, 0, 1)], opset)
    assert_agrees("ReverseSequence", [X, ints(3, 2)], opset, batch_axis=0, time_axis=1)
    assert_agrees("ReverseSequence", [X.reshape(6, 4), ints(1, 3, 6, 4)], opset)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, 0, 1, -2, 9])
def test_triangles_agree(k: int | None, upper: int) -> None:
    assert_agrees("Trilu", [X] if k is None else [X, np.array(k)], 14, upper=upper)


def test_a_cache_is_written_from_each_entry_s_position_on() -> None:
    cache, update = np.zeros((2, 3, 4, 2), np.float32), np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) + 1
    for mode, positions in (("linear", ints(1, 2)), ("circular", ints(3, 2))):
        (found,) = computed("TensorScatter", [cache, update, positions], 24, mode=mode)
        wanted = cache.copy()
        for batch, step in itertools.product(range(2), range(2)):
            wanted[batch, :, (positions[batch] + step) % 4] = update[batch, :, step]
        np.testing.assert_array_equal(found, wanted)
    (found,) = computed("TensorScatter", [cache[:, :, 0], update[:, :2, 0]], 24, axis=1)
    np.testing.assert_array_equal(found[:, :2], update[:, :2, 0])
    assert not found[:, 2:].any()


@pytest.mark.parametrize("opset", [9, 13])
def test_the_coordinates_of_what_is_not_zero_agree(opset: int) -> None:
    assert_agrees("NonZero", [X % 3], opset)
    assert_agrees("NonZero", [X[0, 0] > 1], opset)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("sort", [0, 1])
@pytest.mark.parametrize("outputs", [1, 4])
def test_unique_agrees(axis: int | None, sort: int, outputs: int) -> None:
    x = np.array([[2, 1, 2, 1], [3, 0, 3, 0], [2, 1, 2, 1]], np.float32)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    assert_agrees("Unique", [x], 11, outputs=outputs, sorted=sort, **attributes)


ON_ANY_DEVICE = {
    "gather": lambda x, index: indexing.gather(x, index[0, 0], axis=1),
    "gather_nd": lambda x, index: indexing.gather_nd(x, index[:, :1], batch_dims=1),
    "scatter_nd": lambda x, index: indexing.scatter_nd(x, index, x[0, :2], reduction="mul"),
    "one_hot": lambda x, index: indexing.one_hot(index, 4, x[0, 0, :2]),
    "compress": lambda x, index: indexing.compress(x, (1, 0, 1), axis=index.ndim - 1),
    "reverse_sequence": lambda x, index: indexing.reverse_sequence(x, index[0, :1].expand(3)),
    "tensor_scatter": lambda x, index: indexing.tensor_scatter(x[:, None], x[:, None, :2], index[0]),
    "cum_sum": lambda x, index: reduction.cum_sum(x, index.ndim - 1, exclusive=1),
    "shape": lambda x, index: shape.shape(x[index]),
    "size": lambda x, index: shape.size(x[index]),
    "eye_like": lambda x, index: constant.eye_like(x[0], k=index.ndim),
}


@pytest.mark.parametrize("op_type", ["NonZero", "Unique"])
def test_what_the_input_s_values_give_a_shape_is_refused(op_type: str) -> None:
    with pytest.raises(DataDependentShapeError, match=f"{op_type}: X depends on the values"):
        computed(op_type, [X], 13, constant=False)


@pytest.mark.parametrize("name", ON_ANY_DEVICE)
def test_what_is_built_inside_is_on_the_device_of_the_input(name: str) -> None:
    x, index = torch.from_numpy(X), torch.tensor([[0, 1], [1, 0]])
    found = ON_ANY_DEVICE[name](x.to("meta"), index.to("meta"))
    assert found.device.type == "meta"
    assert found.shape == ON_ANY_DEVICE[name](x, index).shape


def test_gradients_pass() -> None:
    x = torch.tensor(X[:, :, :2] / 7 + 0.1, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, -1], [1, 1]])
    updates = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(lambda a: indexing.slice_axes(a, (2, 0), (0, 2), (1, 2), (-1, 2)), (x,))
    assert gradcheck(lambda a: indexing.gather(a, index, axis=1), (x,))
    assert gradcheck(lambda a: indexing.gather_elements(a, index[..., None], axis=1), (x,))
    assert gradcheck(lambda a: indexing.gather_nd(a, index, batch_dims=0), (x,))
    assert gradcheck(lambda a: indexing.reverse_sequence(a, torch.tensor([2, 1, 0])), (x,))
    for name in ("none", "add", "mul", "max", "min"):
        assert gradcheck(lambda a, u, r=name: indexing.scatter_nd(a, index, u, reduction=r), (x, updates))
