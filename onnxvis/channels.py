"""Which axis of a tensor holds the channels.

A convolution's output has them in axis 1, a matrix product's in the last one. Other operators hand on what they get:
`Transpose` permutes, `Reshape` keeps the axis where the shapes leave no doubt or makes units of all but the batch,
elementwise operators, normalizations, poolings and concatenations keep it. What cannot be told is None, and is asked
for, never guessed; so operators that are not listed here have none.

A channel axis that a Reshape has split into several (a channel shuffle) is carried as the tuple of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

Axes = tuple[int, ...]
Shape = Sequence[int | str | None] | None

_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_CHANNELS_SECOND = frozenset(
    {
        *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "FusedConv", "Col2Im"),
        *("DepthToSpace", "SpaceToDepth", "GridSample", "RoiAlign", "MaxRoiPool", "MaxUnpool"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN"),
        *("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
        *("ImageScaler", "Crop"),
    }
)
_CHANNELS_LAST = frozenset({"NhwcConv", "NhwcFusedConv", "NhwcMaxPool", "LSTM", "GRU", "RNN"})
_PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "QGemm", "MatMulNBits"})
_WITH_SCALES = frozenset({"QLinearMatMul", "QGemm"})
_AXES_KEPT = frozenset({"Resize", "Upsample", "Pad", "Slice", "Split", "Expand", "Tile", "CumSum", "ReverseSequence"})
_ELEMENTWISE = frozenset(
    {
        *("Abs", "Acos", "Acosh", "Affine", "Asin", "Asinh", "Atan", "Atanh", "BiasGelu", "Cast", "CastLike", "Ceil"),
        *("Celu", "Clip", "Concat", "Cos", "Cosh", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp"),
        *("FastGelu", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "LayerNormalization"),
        *("LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Max", "Mean", "MeanVarianceNormalization", "Min"),
        *("Mish", "Mod", "Mul", "Neg", "PRelu", "ParametricSoftplus", "Pow", "QLinearAdd", "QLinearConcat"),
        *("QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "QuickGelu"),
        *("RMSNormalization", "Reciprocal", "Relu", "Round", "Scale", "ScaledTanh", "Selu", "Shrink", "Sigmoid"),
        *("Sign", "SimplifiedLayerNormalization", "Sin", "Sinh", "SkipLayerNormalization", "Softmax", "Softplus"),
        *("Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Add"),
    }
)
"""Operators, concatenation among them, whose output has the axes of its inputs, aligned at the right."""


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
    # A plain feature vector is a batch of units.
    dynamic = {str(value.name) for value in graph.inputs if value.name not in graph.initializers}
    known.update({name: (1,) for name in dynamic if _rank(shapes.get(name)) == len(_MATRIX)})
    for node in graph:
        reads = [str(value.name) for value in node.inputs if value is not None]
        computed = [name for name in reads if name in dynamic]
        dynamic.update(str(value.name) for value in node.outputs if computed or node.op_type in ("If", "Loop", "Scan"))
        for value in node.outputs:
            shape = shapes.get(str(value.name))
            axes = _axes(node, shape, known, shapes, constants, computed)
            if axes and all(shape is None or 0 <= axis < len(shape) for axis in axes):
                known[str(value.name)] = axes
    return {name: axes[0] for name, axes in known.items() if len(axes) == 1}


def _rank(shape: Shape) -> int | None:
    return None if shape is None else len(shape)


def _axes(
    node: ir.Node,
    shape: Shape,
    known: Mapping[str, Axes],
    shapes: Mapping[str, Shape],
    constants: Mapping[str, Sequence[int]],
    computed: Sequence[str],
) -> Axes | None:
    rank = _rank(shape)
    if node.domain not in _DOMAINS:
        return None
    if node.op_type in _CHANNELS_SECOND:
        last = node.attributes.get("channels_last")
        return (1,) if last is None or not last.as_int() else _last(rank)
    if node.op_type in _CHANNELS_LAST:
        return _last(rank)
    if node.op_type in _PRODUCTS:
        return _product(node, rank, known, shapes, computed)
    if node.op_type in _ELEMENTWISE:
        return _broadcast(node, shape, known, shapes)
    source = None if not node.inputs or node.inputs[0] is None else str(node.inputs[0].name)
    before = shapes.get(source) if source else None
    return _moved(node, known.get(source) if source else None, before, shape, constants)


def _last(rank: int | None) -> Axes | None:
    return None if rank is None else (rank - 1,)


def _product(
    node: ir.Node,
    rank: int | None,
    known: Mapping[str, Axes],
    shapes: Mapping[str, Shape],
    computed: Sequence[str],
) -> Axes | None:
    """A dense layer makes channels of the last axis; of two computed factors, the second must have them there."""
    second = 3 if node.op_type in _WITH_SCALES else 1
    names = ["" if value is None else str(value.name) for value in node.inputs]
    if rank is None or len(names) <= second or not {names[0], names[second]} & set(computed):
        return None
    if names[second] not in computed:
        return _last(rank)
    shape, axes = shapes.get(names[second]), known.get(names[second])
    if shape is None or axes is None or any(name in node.attributes for name in ("transA", "transB")):
        return None
    if axes == _last(len(shape)):
        return _last(rank)
    # W @ x: the rows of the weights are the units.
    return (rank - 2,) if names[0] not in computed and axes == (len(shape) - 2,) else None


def _moved(
    node: ir.Node, axes: Axes | None, before: Shape, shape: Shape, constants: Mapping[str, Sequence[int]]
) -> Axes | None:
    """Follow the axes of the first input through an operator that rearranges them."""
    rank = _rank(shape)
    found: Axes | None = None
    if node.op_type in _AXES_KEPT:
        found = axes if None in (rank, _rank(before)) or rank == _rank(before) else None
    elif node.op_type == "Transpose":
        found = _transposed(axes, _attribute_ints(node, "perm"), rank)
    elif node.op_type in ("Reshape", "Flatten"):
        found = _reshaped(axes, before, shape) or _flattened(node, before, shape)
    elif node.op_type == "Squeeze":
        found = _squeezed(node, axes, before, rank, constants)
    elif node.op_type == "Unsqueeze":
        found = _unsqueezed(axes, _ints(node, "axes", 1, constants), rank)
    elif node.op_type == "Gather":
        found = _gathered(node, axes, before, rank)
    elif node.op_type.startswith("Reduce"):
        found = _reduced(node, axes, before, constants)
    return found


_MATRIX = ("N", "C")


def _flattened(node: ir.Node, before: Shape, after: Shape) -> Axes | None:
    """What a Reshape makes of each image of a batch is a vector of units, if it keeps the batch."""
    if before is None or after is None or len(after) != len(_MATRIX):
        return None
    axis = node.attributes.get("axis")
    keeps = node.op_type == "Flatten" and (axis is None or axis.as_int() == 1)
    same = bool(before) and before[0] is not None and before[0] == after[0]
    sizes = [dim for dim in before[1:] if isinstance(dim, int)]
    rest = len(sizes) == len(before) - 1 and after[1] == math.prod(sizes)
    return (1,) if keeps or same or rest else None


def _gathered(node: ir.Node, axes: Axes | None, before: Shape, rank: int | None) -> Axes | None:
    """The gathered axis is replaced by those of the indices: a scalar index removes it."""
    if axes is None or before is None or rank is None or len(axes) > 1:
        return None
    attribute = node.attributes.get("axis")
    gathered = (0 if attribute is None else attribute.as_int()) % len(before)
    added = rank - len(before)
    if axes[0] == gathered:
        return axes if added == 0 else None
    return axes if axes[0] < gathered else (axes[0] + added,)


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


def _squeezed(
    node: ir.Node, axes: Axes | None, before: Shape, rank: int | None, constants: Mapping[str, Sequence[int]]
) -> Axes | None:
    removed = _ints(node, "axes", 1, constants)
    if axes is None or before is None:
        return None
    gone = [axis % len(before) for axis in removed] if removed is not None else _ones(before)
    if set(axes) & set(gone) or (rank is not None and rank != len(before) - len(gone)):
        return None
    if removed is None and (rank is None or len(node.inputs) > 1):
        return None
    return tuple(axis - sum(g < axis for g in gone) for axis in axes)


def _ones(shape: Sequence[int | str | None]) -> list[int]:
    return [axis for axis, dim in enumerate(shape) if dim == 1]


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


def _broadcast(node: ir.Node, shape: Shape, known: Mapping[str, Axes], shapes: Mapping[str, Shape]) -> Axes | None:
    """The axes of the inputs that know them, aligned at the right; None where they contradict one another."""
    found = set()
    for value in node.inputs:
        name = "" if value is None else str(value.name)
        own = shapes.get(name)
        if name not in known:
            continue
        if own is None or shape is None:
            # Without shapes only an operator of one input is sure to change none.
            return known[name] if len(node.inputs) == 1 else None
        offset = len(shape) - len(own)
        if not all(own[axis] == 1 != shape[axis + offset] for axis in known[name]):
            found.add(tuple(axis + offset for axis in known[name]))
    return found.pop() if len(found) == 1 else None


def _attribute_ints(node: ir.Node, name: str) -> Sequence[int] | None:
    attribute = node.attributes.get(name)
    return None if attribute is None or attribute.is_ref() else list(attribute.as_ints())


def _ints(node: ir.Node, name: str, position: int, constants: Mapping[str, Sequence[int]]) -> Sequence[int] | None:
    """Read an argument that was an attribute in older opsets and is an input in newer ones."""
    if name in node.attributes:
        return _attribute_ints(node, name)
    value = node.inputs[position] if len(node.inputs) > position else None
    return None if value is None else constants.get(str(value.name))
