"""Operators that arrange values anew without changing them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, axes_of, axis_of, broadcast_to, chosen, integers, shapes, spread, whole
from tests.ops.one_node import Case

FIRST_WITH_INPUTS = 13
FIRST_WITH_SLICE_INPUTS = 10
FIRST_WITH_NUM_OUTPUTS = 18
SECOND = frozenset({1})


@compares("Concat")
def concatenation(draw: Draw, version: int) -> Case:
    """Of one to four inputs, along any axis."""
    shape = shapes(draw, (1, 4), 3)
    axis = axis_of(draw, len(shape), None if version >= FIRST_WITH_INPUTS else 0)
    arrays = []
    for _ in range(draw(st.integers(1, 4))):
        part = list(shape)
        part[axis] = draw(st.integers(1, 3))
        arrays.append(spread(draw, part))
    return Case(arrays, {"axis": axis})


@compares("Split")
def split(draw: Draw, version: int) -> Case:
    """Equal parts, given parts, and from opset 18 on a number of parts of which the last may be smaller."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    shape = list(shapes(draw, (1, 3), 3))
    axis = axis_of(draw, len(shape), None if version >= FIRST_WITH_INPUTS else 0)
    way = draw(st.sampled_from(["given", "equal", "number"]))
    if way == "given":
        shape[axis] = sum(sizes)
        x = spread(draw, shape)
        if version < FIRST_WITH_INPUTS:
            return Case([x], {"axis": axis, "split": sizes}, outputs=len(sizes))
        return Case([x, whole(*sizes)], {"axis": axis}, outputs=len(sizes), constants=SECOND)
    count = len(sizes)
    uneven = way == "number" and version >= FIRST_WITH_NUM_OUTPUTS
    shape[axis] = 2 * count - (1 if uneven and draw(st.booleans()) else 0)
    number = {"num_outputs": count} if version >= FIRST_WITH_NUM_OUTPUTS else {}
    return Case([spread(draw, shape)], {"axis": axis, **number}, outputs=count)


@compares("Slice")
def slices(draw: Draw, version: int) -> Case:
    """Of any axes, forward and backward, with ends beyond the range.

    onnxruntime takes the largest integers as "to the beginning" where a step is negative, the specification does not.
    """
    shape = shapes(draw, (1, 4), 5)
    axes = axes_of(draw, len(shape), negative=version >= FIRST_WITH_SLICE_INPUTS)
    starts = [draw(st.integers(-6, 6)) for _ in axes]
    ends = [draw(st.sampled_from([-7, -3, -1, 1, 2, 5, 2**31 - 1])) for _ in axes]
    x = spread(draw, shape)
    if version < FIRST_WITH_SLICE_INPUTS:
        return Case([x], {"axes": axes, "starts": starts, "ends": ends})
    steps = [draw(st.sampled_from([1, 2, 3] if end > max(shape) else [1, 2, 3, -1, -2])) for end in ends]
    kind = draw(st.sampled_from([np.int32, np.int64]))
    inputs = [np.array(values, kind) for values in (starts, ends, axes, steps)]
    given = draw(st.sampled_from([4, 4, 3])) if axes == list(range(len(axes))) else 4
    return Case([x, *inputs[:given]], constants=frozenset(range(1, given + 1)))


@compares("Transpose")
def transpositions(draw: Draw) -> Case:
    """Any order; without one the axes are reversed."""
    shape = shapes(draw, (1, 5), 3)
    order = draw(st.permutations(range(len(shape))))
    return Case([spread(draw, shape)], chosen(draw, perm=(None, order)))


@compares("Reshape")
def reshape(draw: Draw, version: int) -> Case:
    """Sizes in another order, -1 and 0 among them; `allowzero` with an empty tensor."""
    shape = shapes(draw, (1, 4))
    if version >= 14 and draw(st.integers(0, 5)) == 0:
        return Case([spread(draw, (0, 3)), whole(3, 0)], {"allowzero": 1}, constants=frozenset({0, 1}))
    sizes = list(draw(st.permutations(shape)))
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    if sizes[0] == shape[0] and draw(st.booleans()):
        sizes[0] = 0
    return Case([spread(draw, shape), whole(*sizes)], constants=SECOND)


@compares("Flatten")
def flatten(draw: Draw, version: int) -> Case:
    """At any axis, the one behind the last included."""
    shape = shapes(draw, (1, 4))
    axes = (None, *range(0 if version < 11 else -len(shape), len(shape) + 1))
    return Case([spread(draw, shape)], chosen(draw, axis=axes if len(shape) > 1 else axes[1:]))


@compares("Squeeze")
def squeeze(draw: Draw, version: int) -> Case:
    """Of some axes of size 1, or of all of them."""
    shape = draw(st.permutations([1, 1, *shapes(draw, (0, 2))]))
    places = [axis for axis, size in enumerate(shape) if size == 1]
    axes = draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
    if draw(st.booleans()):
        return Case([spread(draw, shape)])
    if version < FIRST_WITH_INPUTS:
        return Case([spread(draw, shape)], {"axes": sorted(axes)})
    signed = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    return Case([spread(draw, shape), whole(*signed)], constants=SECOND)


@compares("Unsqueeze")
def unsqueeze(draw: Draw, version: int) -> Case:
    """At any axes."""
    shape = shapes(draw, (0, 3))
    axes = draw(st.lists(st.integers(0, len(shape) + 1), min_size=2, max_size=2, unique=True))
    if version < FIRST_WITH_INPUTS:
        return Case([spread(draw, shape)], {"axes": sorted(axes)})
    signed = [axis - len(shape) - 2 if draw(st.booleans()) else axis for axis in axes]
    return Case([spread(draw, shape), whole(*signed)], constants=SECOND)


@compares("Expand", oldest=8)
def expand(draw: Draw) -> Case:
    """By broadcasting in either direction."""
    shape = shapes(draw, (1, 4), 3)
    asked = tuple(1 if draw(st.booleans()) else size for size in shape)
    sizes = shape if draw(st.booleans()) else asked
    return Case([spread(draw, broadcast_to(draw, shape)), whole(*sizes)], constants=SECOND)


@compares("Tile")
def tile(draw: Draw) -> Case:
    """Once to three times along each axis."""
    shape = shapes(draw, (1, 4), 3)
    return Case([spread(draw, shape), integers(draw, (len(shape),), 1, 3)], constants=SECOND)


@compares("Trilu", oldest=14)
def trilu(draw: Draw) -> Case:
    """Both triangles, the diagonal omitted or anywhere."""
    x = spread(draw, shapes(draw, (2, 4)))
    diagonal = draw(st.sampled_from([None, np.int64(-3), np.int64(1), np.int64(5)]))
    attributes = chosen(draw, upper=(None, 0, 1))
    return Case([x] if diagonal is None else [x, np.array(diagonal)], attributes, constants=SECOND)


@compares("DepthToSpace")
def depth_to_space(draw: Draw, version: int) -> Case:
    """Both orders of the depth; one of them before opset 11."""
    n, c, h, w = shapes(draw, 4, 3)
    block = draw(st.integers(1, 3))
    modes = (None, "DCR", "CRD") if version >= 11 else (None,)
    return Case([spread(draw, (n, c * block**2, h, w))], {"blocksize": block, **chosen(draw, mode=modes)})


@compares("SpaceToDepth")
def space_to_depth(draw: Draw) -> Case:
    """Blocks of 1 to 3."""
    n, c, h, w = shapes(draw, 4, 3)
    block = draw(st.integers(1, 3))
    return Case([spread(draw, (n, c, block * h, block * w))], {"blocksize": block})


@compares("ReverseSequence", oldest=10)
def reverse_sequence(draw: Draw) -> Case:
    """Both arrangements of time and batch, every length; known lengths or not."""
    shape = shapes(draw, (2, 4))
    time = draw(st.integers(0, 1))
    lengths = integers(draw, (shape[1 - time],), 1, shape[time])
    known = draw(st.sampled_from([frozenset[int](), SECOND]))
    return Case([spread(draw, shape), lengths], {"time_axis": time, "batch_axis": 1 - time}, constants=known)


@compares("Compress", oldest=9)
def compress(draw: Draw, version: int) -> Case:
    """Along an axis and of all elements, by conditions that may be too short."""
    shape = shapes(draw, (1, 4))
    axis = None if draw(st.booleans()) else axis_of(draw, len(shape), None if version >= 11 else 0)
    whole_size = int(np.prod(shape)) if axis is None else shape[axis]
    condition = integers(draw, (draw(st.integers(1, whole_size)),), 0, 1, np.bool_)
    return Case([spread(draw, shape), condition], {} if axis is None else {"axis": axis}, constants=SECOND)


@compares("CenterCropPad", oldest=18)
def center_crop_pad(draw: Draw) -> Case:
    """Larger and smaller sizes of some axes or all."""
    shape = shapes(draw, (1, 4), 5)
    axes = axes_of(draw, len(shape)) if draw(st.booleans()) else None
    sizes = integers(draw, (len(shape if axes is None else axes),), 1, 7)
    return Case([spread(draw, shape), sizes], {} if axes is None else {"axes": axes}, constants=SECOND)


@compares("Col2Im", oldest=18, oracle="onnx.reference")
def col2im(draw: Draw) -> Case:
    """One to three dimensions, dilations, pads and strides.

    onnxruntime misplaces the blocks of one dimension where they are dilated and padded.
    """
    rank = draw(st.integers(1, 3))
    kernel, dilations, strides = (integers(draw, (rank,), 1, 2) for _ in range(3))
    image = integers(draw, (rank,), 4, 5)
    pads = integers(draw, (2 * rank,), 0, 1)
    blocks = (image + pads[:rank] + pads[rank:] - dilations * (kernel - 1) - 1) // strides + 1
    x = spread(draw, (draw(st.integers(1, 2)), 2 * int(kernel.prod()), int(blocks.prod())))
    attributes = {"dilations": dilations.tolist(), "pads": pads.tolist(), "strides": strides.tolist()}
    return Case([x, image, kernel], attributes, constants=frozenset({1, 2}))
