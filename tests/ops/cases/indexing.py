"""Operators that take, place, count and order elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, axis_of, chosen, integers, several, shapes, single, spread, whole
from tests.ops.one_node import Case

SECOND = frozenset({1})
FIRST_WITH_NEGATIVES = 11
FIRST_WITH_REDUCTIONS = 16
FIRST_WITH_EXTREMES = 18


def _places(draw: Draw, shape: Any, size: int, *, negative: bool = True, dtype: Any = np.int64) -> Array:
    return integers(draw, shape, -size if negative else 0, size - 1, dtype)


def _known(draw: Draw) -> frozenset[int]:
    return SECOND if draw(st.booleans()) else frozenset()


@compares("Gather")
def gather(draw: Draw, version: int) -> Case:
    """Indices of any rank and sign, known and not."""
    shape = shapes(draw)
    axis = axis_of(draw, len(shape))
    kind = draw(st.sampled_from([np.int32, np.int64]))
    negative = version >= FIRST_WITH_NEGATIVES
    places = _places(draw, shapes(draw, (0, 2)), shape[axis], negative=negative, dtype=kind)
    return Case([spread(draw, shape), places], {"axis": axis}, constants=_known(draw))


@compares("GatherElements", oldest=11)
def gather_elements(draw: Draw) -> Case:
    """Fewer or more elements along the axis, fewer along the others."""
    shape = shapes(draw)
    axis = axis_of(draw, len(shape))
    size = [draw(st.integers(1, x)) for x in shape]
    size[axis] = draw(st.integers(1, 5))
    return Case([spread(draw, shape), _places(draw, size, shape[axis])], {"axis": axis}, constants=_known(draw))


@compares("GatherND", oldest=11)
def gather_nd(draw: Draw, version: int) -> Case:
    """Slices and elements, with batch dimensions from opset 12 on."""
    shape = shapes(draw, (2, 4))
    batch = draw(st.integers(0, len(shape) - 1)) if version > FIRST_WITH_NEGATIVES else 0
    depth = draw(st.integers(1, len(shape) - batch))
    tuples = (*shape[:batch], *shapes(draw, (0 if batch else 1, 1)))
    columns = [_places(draw, tuples, shape[batch + axis]) for axis in range(depth)]
    attributes = {"batch_dims": batch} if batch else {}
    return Case([spread(draw, shape), np.stack(columns, -1)], attributes, constants=_known(draw))


@compares("ScatterElements", oldest=11)
def scatter_elements(draw: Draw, version: int) -> Case:
    """Different places without a reduction, any with one."""
    reductions = [None, "none"] if version >= FIRST_WITH_REDUCTIONS else [None]
    reductions += ["add", "mul"] if version >= FIRST_WITH_REDUCTIONS else []
    reductions += ["min", "max"] if version >= FIRST_WITH_EXTREMES else []
    return _scattered(draw, chosen(draw, reduction=reductions), negative=True)


@compares("Scatter", oldest=9, newest=10)
def scatter(draw: Draw) -> Case:
    """What became ScatterElements."""
    return _scattered(draw, {}, negative=False)


def _scattered(draw: Draw, attributes: dict[str, Any], *, negative: bool) -> Case:
    shape = shapes(draw, (1, 3))
    axis = axis_of(draw, len(shape))
    size = [draw(st.integers(1, x)) for x in shape]
    data, updates = several(draw, [shape, size], 0.4, 2)
    if attributes.get("reduction", "none") == "none":
        order = np.argsort(integers(draw, size, 0, 10**6), axis)
        rows = np.arange(shape[axis])[-size[axis] :]
        places = rows[order] - (shape[axis] if negative and draw(st.booleans()) else 0)
    else:
        places = _places(draw, size, shape[axis])
    return Case([data, places, updates], {"axis": axis, **attributes}, constants=_known(draw))


@compares("ScatterND", oldest=11)
def scatter_nd(draw: Draw, version: int) -> Case:
    """Slices and elements; different places without a reduction, any with one."""
    shape = shapes(draw, (1, 4))
    depth = draw(st.integers(1, len(shape)))
    reductions = [None, "add", "mul"] if version >= FIRST_WITH_REDUCTIONS else [None]
    attributes = chosen(draw, reduction=reductions + (["min", "max"] if version >= FIRST_WITH_EXTREMES else []))
    targets = int(np.prod(shape[:depth]))
    count = draw(st.integers(1, targets))
    repeats = bool(attributes)
    flat = np.array(draw(st.lists(st.integers(0, targets - 1), min_size=count, max_size=count, unique=not repeats)))
    places = np.stack(np.unravel_index(flat, shape[:depth]), -1)
    data, updates = several(draw, [shape, (count, *shape[depth:])], 0.4, 2)
    return Case([data, places, updates], attributes, constants=_known(draw))


@compares("TensorScatter", oldest=24)
def tensor_scatter(draw: Draw) -> Case:
    """Into a cache, at given positions, linear and circular."""
    batch, heads, length, width = draw(st.tuples(*[st.integers(1, 3)] * 2, st.integers(3, 6), st.integers(1, 3)))
    fresh = draw(st.integers(1, 3))
    cache, update = several(draw, [(batch, heads, length, width), (batch, heads, fresh, width)])
    attributes = chosen(draw, mode=(None, "linear", "circular"), axis=(None, -2, 2))
    last = length - 1 if attributes.get("mode") == "circular" else length - fresh
    places = integers(draw, (batch,), 0, last)
    return Case([cache, update, places] if draw(st.booleans()) else [cache, update], attributes)


@compares("OneHot", gradient="none", oldest=9, exact=True)
def one_hot(draw: Draw, version: int) -> Case:
    """Indices of any sign and rank, also outside the depth."""
    indices = integers(draw, shapes(draw, (1, 3)), -4 if version >= FIRST_WITH_NEGATIVES else 0, 4)
    values = np.array([draw(st.integers(-3, 3)), 5], draw(st.sampled_from([np.float32, np.int64])))
    return Case([indices, whole(3), values], {"axis": axis_of(draw, indices.ndim + 1)}, constants=frozenset({1, 2}))


@compares("TopK")
def top_k(draw: Draw, version: int) -> Case:
    """The largest and, from opset 11 on, the smallest; values and indices."""
    shape = shapes(draw, largest=5)
    axis = axis_of(draw, len(shape))
    count = draw(st.integers(1, shape[axis]))
    attributes: dict[str, Any] = {"axis": axis}
    if version < 10:
        return Case([spread(draw, shape)], {**attributes, "k": count}, outputs=2)
    if version >= FIRST_WITH_NEGATIVES:
        attributes |= chosen(draw, largest=(None, 0, 1), sorted=(None, 1))
    return Case([spread(draw, shape), whole(count)], attributes, outputs=2, constants=SECOND)


@compares("ArgMax", "ArgMin", gradient="none", exact=True)
def extremes(draw: Draw, version: int) -> Case:
    """First and, from opset 12 on, last of equal elements."""
    shape = shapes(draw, largest=5)
    axis = axis_of(draw, len(shape), None if version >= FIRST_WITH_NEGATIVES else 0)
    last = (None, 0, 1) if version > FIRST_WITH_NEGATIVES else (None,)
    attributes = chosen(draw, axis=(None, axis), keepdims=(None, 0, 1), select_last_index=last)
    return Case([integers(draw, shape, -2, 2, np.float32)], attributes, held=frozenset({0}))


@compares("NonZero", gradient="none", oldest=9, exact=True)
def non_zero(draw: Draw) -> Case:
    """Of known tensors: how many there are is the shape of the result."""
    return Case([integers(draw, shapes(draw), 0, 1, np.float32)], constants=frozenset({0}))


@compares("Unique", gradient="none", oldest=11, exact=True)
def unique(draw: Draw) -> Case:
    """Of elements and of slices, sorted or by appearance, with all four outputs."""
    shape = shapes(draw, (1, 3))
    attributes = chosen(draw, axis=(None, axis_of(draw, len(shape))), sorted=(None, 0, 1))
    x = integers(draw, shape, 0, 2, np.float32)
    return Case([x], attributes, outputs=4, constants=frozenset({0}))


@compares("NonMaxSuppression", gradient="none", oldest=10, exact=True)
def suppression(draw: Draw) -> Case:
    """Corners and centers, with and without thresholds; of known boxes."""
    batch, boxes, classes = draw(st.integers(1, 2)), draw(st.integers(1, 6)), draw(st.integers(1, 2))
    corner = spread(draw, (batch, boxes, 2), 0.2, 1)
    found = np.concatenate([corner, corner + spread(draw, (batch, boxes, 2), 0.1, 0.8)], -1)
    scores = spread(draw, (batch, classes, boxes), 0.1, 1)
    thresholds = (single(draw(st.sampled_from([0.1, 0.5]))) for _ in "xy")
    limits = [whole(draw(st.integers(1, 4))), *thresholds]
    given = draw(st.integers(1, 3))
    attributes = chosen(draw, center_point_box=(None, 0, 1))
    return Case([found, scores, *limits[:given]], attributes, constants=frozenset(range(5)))
