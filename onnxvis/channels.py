"""Which axis of a tensor holds the channels.

A convolution's output has them in axis 1, a matrix product's in the last one. Other operators hand on what they get:
`Transpose` permutes, `Reshape` keeps the axis where the shapes leave no doubt, elementwise operators, normalizations,
poolings and concatenations keep it. What cannot be told is None, and is asked for, never guessed.

A channel axis that a Reshape has split into several (a channel shuffle) is carried as the tuple of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

Axes = tuple[int, ...]
Shape = Sequence[int | str | None] | None

_CHANNELS_SECOND = frozenset(
    {
        *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "FusedConv", "DepthToSpace"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "PRelu"),
        *("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
        *("ImageScaler", "Crop"),
    }
)
_CHANNELS_LAST = frozenset(
    {
        *("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "QGemm"),
        *("LayerNormalization", "RMSNormalization"),
    }
)
_REARRANGED = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Expand", "Tile"}
)
_AXES_KEPT = frozenset({"Resize", "Upsample", "Pad", "Slice", "Split", "Expand", "Tile", "Gather", "CumSum", "Dropout"})


def channel_axes(
    graph: ir.Graph, shapes: Mapping[str, Shape], constants: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Return the channel axis of every value that has one.

    Args:
        graph: A topologically sorted graph.
        shapes: The shape of each value as far as it is known.
        constants: Small integer constants (axes, permutations) by value name.
    """
    known: dict[str, Axes] = {}
    for node in graph:
        for value in node.outputs:
            shape = shapes.get(str(value.name))
            axes = _axes(node, shape, known, shapes, constants)
            if axes and all(shape is None or axis < len(shape) for axis in axes):
                known[str(value.name)] = axes
    return {name: axes[0] for name, axes in known.items() if len(axes) == 1}


def _axes(
    node: ir.Node,
    shape: Shape,
    known: Mapping[str, Axes],
    shapes: Mapping[str, Shape],
    constants: Mapping[str, Sequence[int]],
) -> Axes | None:
    rank = None if shape is None else len(shape)
    if node.op_type in _CHANNELS_SECOND:
        return (1,)
    if node.op_type in _CHANNELS_LAST:
        return None if rank is None else (rank - 1,)
    source = None if not node.inputs or node.inputs[0] is None else str(node.inputs[0].name)
    before = shapes.get(source) if source else None
    axes = known.get(source) if source else None
    if node.op_type in _AXES_KEPT and axes is not None:
        return axes if rank is None or before is None or rank == len(before) else None
    moved = _moved(node, axes, before, shape, constants)
    if moved is not None or node.op_type == "Transpose":
        return moved
    return _broadcast(node, rank, known, shapes) or _dense(shape)


def _moved(
    node: ir.Node, axes: Axes | None, before: Shape, shape: Shape, constants: Mapping[str, Sequence[int]]
) -> Axes | None:
    """Follow the axes of the first input through an operator that rearranges them."""
    rank = None if shape is None else len(shape)
    found: Axes | None = None
    if node.op_type == "Transpose":
        found = _transposed(axes, _attribute_ints(node, "perm"), rank)
    elif node.op_type in ("Reshape", "Flatten"):
        found = _dense(shape) or _reshaped(axes, before, shape)
    elif node.op_type == "Squeeze":
        found = _squeezed(axes, _ints(node, "axes", 1, constants), before)
    elif node.op_type == "Unsqueeze":
        found = _unsqueezed(axes, _ints(node, "axes", 1, constants), rank)
    elif node.op_type.startswith("Reduce"):
        found = _reduced(node, axes, before, constants)
    return found


def _dense(shape: Shape) -> Axes | None:
    """A matrix (N, C) is a batch of vectors of units."""
    return (1,) if shape is not None and len(shape) == 2 else None  # noqa: PLR2004 - a matrix


def _transposed(axes: Axes | None, perm: Sequence[int] | None, rank: int | None) -> Axes | None:
    if axes is None or (perm is None and rank is None):
        return None
    order = list(perm) if perm is not None else list(range(rank or 0))[::-1]
    return tuple(order.index(axis) for axis in axes if axis in order)


def _reshaped(axes: Axes | None, before: Shape, after: Shape) -> Axes | None:
    """Follow axes through a Reshape by pairing the axes of both shapes from the left, and else from the right."""
    if axes is None or before is None or after is None:
        return None
    return _paired(axes, before, after, _groups(before, after)) or _paired(
        axes, before, after, _groups_from_the_right(before, after)
    )


def _paired(
    axes: Axes,
    before: Sequence[int | str | None],
    after: Sequence[int | str | None],
    groups: Sequence[tuple[list[int], list[int]]],
) -> Axes | None:
    for group_before, group_after in groups:
        if set(axes) <= set(group_before):
            kept = [axis for axis in group_after if after[axis] != 1] or list(group_after)
            whole = [axis for axis in group_before if before[axis] != 1]
            return tuple(kept) if whole == sorted(a for a in axes if before[a] != 1) or len(group_before) == 1 else None
    return None


def _groups(before: Sequence[int | str | None], after: Sequence[int | str | None]) -> list[tuple[list[int], list[int]]]:
    """Pair the smallest runs of axes of both shapes that hold the same number of elements, from the left."""
    groups: list[tuple[list[int], list[int]]] = []
    left, right = 0, 0
    while left < len(before) and right < len(after):
        start, begin = left, right
        if before[left] == after[right] and before[left] is not None:
            left, right = left + 1, right + 1
        else:
            sizes = _common_run(before[left:], after[right:])
            if sizes is None:
                return groups
            left, right = left + sizes[0], right + sizes[1]
        groups.append((list(range(start, left)), list(range(begin, right))))
    return groups


def _groups_from_the_right(
    before: Sequence[int | str | None], after: Sequence[int | str | None]
) -> list[tuple[list[int], list[int]]]:
    mirrored = _groups(before[::-1], after[::-1])
    return [
        (sorted(len(before) - 1 - axis for axis in left), sorted(len(after) - 1 - axis for axis in right))
        for left, right in mirrored
    ]


def _common_run(before: Sequence[int | str | None], after: Sequence[int | str | None]) -> tuple[int, int] | None:
    first, second, left, right = 1, 1, 0, 0
    while True:
        if left and right and first == second:
            return left, right
        grow_left = not left or (right and first < second)
        dims, position = (before, left) if grow_left else (after, right)
        if position >= len(dims) or not isinstance(dims[position], int):
            return None
        size = int(dims[position] or 0)
        if grow_left:
            first, left = first * size, left + 1
        else:
            second, right = second * size, right + 1


def _squeezed(axes: Axes | None, removed: Sequence[int] | None, before: Shape) -> Axes | None:
    if axes is None or before is None:
        return None
    gone = range(len(before)) if removed is None else [axis % len(before) for axis in removed]
    gone = [axis for axis in gone if removed is not None or before[axis] == 1]
    if set(axes) & set(gone):
        return None
    return tuple(axis - sum(g < axis for g in gone) for axis in axes)


def _unsqueezed(axes: Axes | None, added: Sequence[int] | None, rank: int | None) -> Axes | None:
    if axes is None or added is None or rank is None:
        return None
    new = {axis % rank for axis in added}
    old = [axis for axis in range(rank) if axis not in new]
    return tuple(old[axis] for axis in axes if axis < len(old))


def _reduced(node: ir.Node, axes: Axes | None, before: Shape, constants: Mapping[str, Sequence[int]]) -> Axes | None:
    removed = _ints(node, "axes", 1, constants)
    if axes is None or before is None or removed is None:
        return None
    gone = {axis % len(before) for axis in removed}
    if set(axes) & gone:
        return None
    keepdims = node.attributes.get("keepdims")
    if keepdims is None or keepdims.as_int():
        return axes
    return tuple(axis - sum(g < axis for g in gone) for axis in axes)


def _broadcast(node: ir.Node, rank: int | None, known: Mapping[str, Axes], shapes: Mapping[str, Shape]) -> Axes | None:
    """Elementwise operators and concatenations: the axes of the first input that knows them, aligned at the right."""
    if node.op_type in _REARRANGED or node.op_type.startswith("Reduce"):
        return None
    for value in node.inputs:
        name = "" if value is None else str(value.name)
        shape = shapes.get(name)
        if name in known and rank is None:
            return known[name]
        if name in known and rank is not None and shape is not None and len(shape) <= rank:
            return tuple(axis + rank - len(shape) for axis in known[name])
    return None


def _attribute_ints(node: ir.Node, name: str) -> Sequence[int] | None:
    attribute = node.attributes.get(name)
    return None if attribute is None or attribute.is_ref() else list(attribute.as_ints())


def _ints(node: ir.Node, name: str, position: int, constants: Mapping[str, Sequence[int]]) -> Sequence[int] | None:
    """Read an argument that was an attribute in older opsets and is an input in newer ones."""
    if name in node.attributes:
        return _attribute_ints(node, name)
    value = node.inputs[position] if len(node.inputs) > position else None
    return None if value is None else constants.get(str(value.name))
