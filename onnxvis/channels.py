"""Which axis of a tensor holds the channels.

A convolution's output has them in axis 1, a matrix product's in the last one. Other operators hand on what they get:
`Transpose` permutes, `Reshape` regroups, elementwise operators, normalizations, poolings and concatenations keep the
axis. What cannot be told is None, and is asked for, never guessed; so operators that are not listed here have none.

A tensor has a channel axis if one axis holds all of its channels and nothing else. On the way channels may be split
over several axes, or merged with others: that is followed by `onnxvis.factors`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxvis.factors import (
    Factor,
    Layout,
    Size,
    channel_axis,
    counts_channels,
    is_pure,
    marks,
    plain,
    regrouped,
    resized,
    size_of,
    widened,
    without,
)

Shape = Sequence[Size] | None

_MATRIX = ("N", "C")
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True)
class Facts:
    """What is known while the nodes of a graph are visited.

    Attributes:
        shapes: The shape of each value as far as it is known.
        constants: Small integer constants by value name.
        layouts: The layouts that have been found.
        computed: The names of the values that descend from an input.
    """

    shapes: Mapping[str, Shape]
    constants: Mapping[str, Sequence[int]]
    layouts: dict[str, Layout] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)

    def shape(self, value: ir.Value | None) -> Shape:
        """Return a value's shape."""
        return None if value is None else self.shapes.get(str(value.name))

    def layout(self, value: ir.Value | None) -> Layout | None:
        """Return a value's layout."""
        return None if value is None else self.layouts.get(str(value.name))

    def is_computed(self, value: ir.Value | None) -> bool:
        """Whether a value descends from an input."""
        return value is not None and str(value.name) in self.computed

    def ints(self, node: ir.Node, name: str, position: int = 1) -> Sequence[int] | None:
        """Read an argument that was an attribute in older opsets and is an input in newer ones."""
        attribute = node.attributes.get(name)
        if attribute is not None:
            return None if attribute.is_ref() else list(attribute.as_ints())
        value = _input(node, position)
        return None if value is None else self.constants.get(str(value.name))


Rule = Callable[[Facts, ir.Node, ir.Value], Layout | None]
"""Finds the layout of one output of a node."""


def channel_axes(
    graph: ir.Graph, shapes: Mapping[str, Shape], constants: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Return the channel axis of every value that has one.

    Args:
        graph: A topologically sorted graph.
        shapes: The shape of each value as far as it is known.
        constants: Small integer constants (axes, permutations) by value name.
    """
    facts = Facts(shapes, constants)
    for value in graph.inputs:
        if value.name not in graph.initializers:
            facts.computed.add(str(value.name))
            shape = facts.shape(value)
            if shape is not None and len(shape) == len(_MATRIX):
                # A plain feature vector is a batch of units.
                facts.layouts[str(value.name)] = plain(shape, 1)
    for node in graph:
        _visit(facts, node)
    found = {name: channel_axis(layout) for name, layout in facts.layouts.items()}
    return {name: axis for name, axis in found.items() if axis is not None}


def _visit(facts: Facts, node: ir.Node) -> None:
    if any(map(facts.is_computed, node.inputs)) or node.op_type in ("If", "Loop", "Scan"):
        facts.computed.update(str(value.name) for value in node.outputs)
    rule = _RULES.get(node.op_type) if node.domain in _DOMAINS else None
    for value in node.outputs if rule else ():
        layout = rule(facts, node, value) if rule else None
        shape = facts.shape(value)
        fits = layout is not None and (shape is None or len(shape) == len(layout))
        if layout is not None and fits and any(map(counts_channels, layout)):
            facts.layouts[str(value.name)] = layout


def _input(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if len(node.inputs) > position else None


def _flag(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None or attribute.is_ref() else attribute.as_int()


def _second(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """Axis 1, as everywhere in ONNX, unless a contrib operator says `channels_last`."""
    shape = facts.shape(value)
    if _flag(node, "channels_last", int(node.op_type in _GROUP_NORMS)):
        return _last(facts, node, value)
    if shape is None:
        return plain((None, None), 1)
    return plain(shape, 1) if len(shape) > 1 else None


def _last(facts: Facts, _: ir.Node, value: ir.Value) -> Layout | None:
    shape = facts.shape(value)
    return plain(shape, -1) if shape else None


def _first_last(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """The last axis of the first output; the others are statistics, caches, scores."""
    return _last(facts, node, value) if value.index() == 0 else None


def _recurrent(facts: Facts, _: ir.Node, value: ir.Value) -> Layout | None:
    """Both directions have their own units: (T, directions, N, C), or (directions, N, C) at the end."""
    shape = facts.shape(value)
    return plain(shape, -3, -1) if shape is not None and len(shape) > len(_MATRIX) else None


def _attention(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """Tokens with channels (N, T, C), or with heads (N, heads, T, C); caches have heads, scores no channels."""
    shape, scores = facts.shape(value), 3
    if shape is None or value.index() == scores:
        return None
    if node.domain == "com.microsoft" or len(shape) == len("NTC"):
        return _first_last(facts, node, value)
    return plain(shape, 1, -1) if len(shape) == len("NHTC") else None


def _normalized(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """What the input has; axis 1 where that is not known, which is where these operators see channels."""
    if value.index() != 0:
        return None
    own = facts.layout(_input(node, 0))
    return _second(facts, node, value) if own is None else resized(own, facts.shape(value))


def _aligned(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """The layouts of the inputs that know them, aligned at the right; None where they contradict one another."""
    shape = facts.shape(value)
    known = [layout for item in node.inputs if (layout := facts.layout(item)) is not None]
    if shape is None:
        # Without shapes only an operator of one input is sure to change none.
        return known[0] if known and len(node.inputs) == 1 else None
    joins = node.op_type in _JOINING
    found = [
        layout for own in known if (layout := widened(own, shape)) is not None and (joins or not _fills(own, shape))
    ]
    # A layout without a channel axis of its own contradicts none that has one.
    sure = [layout for layout in found if channel_axis(layout) is not None] or found
    return sure[0] if len(set(map(marks, sure))) == 1 else None


def _fills(layout: Layout, shape: Sequence[Size]) -> bool:
    """Whether one channel is repeated for all."""
    pairs = zip(reversed(layout), reversed(shape), strict=False)
    return {size_of(axis) == 1 != size for axis, size in pairs if counts_channels(axis)} == {True}


def _first_aligned(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """The outputs that have the input's shape: a normalization's statistics, and a mask, are others."""
    shape = facts.shape(value)
    return _aligned(facts, node, value) if value.index() == 0 or shape == facts.shape(_input(node, 0)) else None


def _kept(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    shape, own = facts.shape(value), facts.layout(_input(node, 0))
    return own if shape is None else resized(own, shape)


def _product(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """A dense layer makes channels of the last axis; of two computed factors, the second must have them there."""
    first, second = _input(node, 0), _input(node, 3 if node.op_type in _WITH_SCALES else 1)
    shape = facts.shape(value)
    if not shape or second is None or not (facts.is_computed(first) or facts.is_computed(second)):
        return None
    if not facts.is_computed(second):
        return plain(shape, -1)
    layout = facts.layout(second)
    if layout is None or len(layout) < len(_MATRIX) or any(_flag(node, name, 0) for name in ("transA", "transB")):
        return None
    if not counts_channels(layout[-2]) and counts_channels(layout[-1]) and is_pure(layout[-1]):
        # Heads, if there are any, are a batch of both factors.
        rows = Factor(shape[-2]) if len(shape) > 1 else None
        return widened((*layout[:-2], (rows,), layout[-1]) if rows else layout[-1:], shape)
    # W @ x: the rows of the weights are the units.
    is_column = channel_axis(layout) == len(layout) - 2
    return plain(shape, -2) if is_column and not facts.is_computed(first) and len(shape) > 1 else None


def _einsum(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """Letters that only weights bring are units; the channels of a computed operand stay if all its letters do."""
    shape = facts.shape(value)
    terms, arrow, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    operands = terms.split(",")
    if shape is None or not arrow or "." in terms or len(result) != len(shape) or len(operands) != len(node.inputs):
        return None
    pairs = list(zip(operands, node.inputs, strict=True))
    data = {letter for term, item in pairs if facts.is_computed(item) for letter in term}
    units = {letter for term, item in pairs if not facts.is_computed(item) for letter in term} - data
    if not units & set(result):
        for term, item in pairs:
            layout = facts.layout(item) or ()
            held = {letter for letter, axis in zip(term, layout, strict=False) if counts_channels(axis)}
            units |= held if held <= set(result) else set()
    marked = [axis for axis, letter in enumerate(result) if letter in units]
    return plain(shape, *marked) if marked else None


def _transposed(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    own, shape = facts.layout(_input(node, 0)), facts.shape(value)
    perm = facts.ints(node, "perm")
    if own is None or (perm is None and shape is None):
        return None
    order = list(perm) if perm is not None else list(range(len(own)))[::-1]
    # Of a convolution's output of unknown rank only the first axes are listed.
    own += ((Factor(None),),) * (len(order) - len(own))
    return tuple(own[axis] for axis in order) if sorted(order) == list(range(len(own))) else None


def _reshaped(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """The same factors in other groups; a vector of units where each image of a batch is flattened."""
    own, before, after = facts.layout(_input(node, 0)), facts.shape(_input(node, 0)), facts.shape(value)
    if after is None:
        return None
    layout = None if own is None else regrouped(own, after)
    if layout is not None and channel_axis(layout) is not None:
        return layout
    return plain(after, 1) if _flattens(node, before, after) else layout


def _flattens(node: ir.Node, before: Shape, after: Sequence[Size]) -> bool:
    if before is None or len(after) != len(_MATRIX):
        return False
    keeps = node.op_type == "Flatten" and _flag(node, "axis", 1) == 1
    same = bool(before) and before[0] is not None and before[0] == after[0]
    sizes = [size for size in before[1:] if isinstance(size, int)]
    return keeps or same or (len(sizes) == len(before) - 1 and after[1] == math.prod(sizes))


def _squeezed(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    own, before = facts.layout(_input(node, 0)), facts.shape(_input(node, 0))
    removed = facts.ints(node, "axes")
    if own is None or before is None or len(own) != len(before):
        return None
    if removed is None and (facts.shape(value) is None or len(node.inputs) > 1):
        return None
    gone = _positions(removed, len(own)) if removed is not None else {k for k, size in enumerate(before) if size == 1}
    return without(own, gone)


def _unsqueezed(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    own, shape, added = facts.layout(_input(node, 0)), facts.shape(value), facts.ints(node, "axes")
    if own is None or shape is None or added is None or len(own) + len(added) != len(shape):
        return None
    new, rest = _positions(added, len(shape)), iter(own)
    return tuple((Factor(1),) if axis in new else next(rest) for axis in range(len(shape)))


def _gathered(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """The gathered axis is replaced by those of the indices: a scalar index removes it."""
    own, shape = facts.layout(_input(node, 0)), facts.shape(value)
    if own is None or shape is None:
        return None
    axis = _flag(node, "axis", 0) % len(own)
    added = len(shape) - len(own) + 1
    if counts_channels(own[axis]):
        return resized(own, shape) if added == 1 else None
    between = tuple((Factor(size),) for size in shape[axis : axis + added])
    return resized((*own[:axis], *between, *own[axis + 1 :]), shape)


def _reduced(facts: Facts, node: ir.Node, _: ir.Value) -> Layout | None:
    own, removed = facts.layout(_input(node, 0)), facts.ints(node, "axes")
    if own is None or removed is None:
        return None
    gone = _positions(removed, len(own))
    if any(counts_channels(own[axis]) for axis in gone):
        return None
    if not _flag(node, "keepdims", 1):
        return without(own, gone)
    return tuple((Factor(1),) if index in gone else axis for index, axis in enumerate(own))


def _positions(axes: Sequence[int], rank: int) -> set[int]:
    return {axis % rank for axis in axes} if rank else set()


def _classified(facts: Facts, node: ir.Node, value: ir.Value) -> Layout | None:
    """A classifier's scores are its second output."""
    return _last(facts, node, value) if value.index() == 1 else None


_GROUP_NORMS = frozenset({"GroupNorm", "SkipGroupNorm"})
"""Their channels are last by default."""
_WITH_SCALES = frozenset({"QLinearMatMul", "QGemm"})
"""The second factor comes after the scale and the zero point of the first."""
_JOINING = frozenset({"Concat", "QLinearConcat"})
_FAMILIES: Sequence[tuple[Rule, str]] = (
    (
        _second,
        (
            "Conv ConvTranspose ConvInteger QLinearConv DeformConv FusedConv Col2Im DepthToSpace SpaceToDepth "
            "GridSample RoiAlign MaxRoiPool MaxUnpool AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool "
            "GlobalLpPool QLinearAveragePool QLinearGlobalAveragePool ImageScaler Crop CausalConvWithState"
        ),
    ),
    (_normalized, "BatchNormalization InstanceNormalization GroupNormalization LRN GroupNorm SkipGroupNorm"),
    (_last, "NhwcConv NhwcFusedConv NhwcMaxPool LinearRegressor SVMRegressor"),
    (_classified, "LinearClassifier SVMClassifier"),
    (_recurrent, "LSTM GRU RNN DynamicQuantizeLSTM"),
    (
        _product,
        (
            "Gemm MatMul MatMulInteger QLinearMatMul FusedMatMul QGemm MatMulNBits MatMulIntegerToFloat "
            "MatMulBnb4 DynamicQuantizeMatMul FusedGemm FusedMatMulActivation GemmFastGelu GemmFloat8 "
            "SparseToDenseMatMul"
        ),
    ),
    (_einsum, "Einsum"),
    (
        _attention,
        (
            "Attention MultiHeadAttention DecoderMaskedMultiHeadAttention GroupQueryAttention PackedAttention "
            "QAttention PackedMultiHeadAttention LinearAttention"
        ),
    ),
    (_first_last, "EmbedLayerNormalization QEmbedLayerNormalization LongformerAttention DecoderAttention"),
    (
        _kept,
        (
            "Resize Upsample Pad Slice Split Expand Tile CumSum ReverseSequence RotaryEmbedding Trilu ScatterND "
            "ScatterElements Scatter TensorScatter"
        ),
    ),
    (
        _first_aligned,
        (
            "Dropout LayerNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization "
            "SkipSimplifiedLayerNormalization MeanVarianceNormalization LpNormalization"
        ),
    ),
    (
        _aligned,
        (
            "Abs Acos Acosh Add Affine Asin Asinh Atan Atanh BiasAdd BiasDropout BiasGelu BiasSoftmax Cast "
            "CastLike Ceil Celu Clip Concat Cos Cosh DequantizeLinear Div DynamicQuantizeLinear Elu Erf Exp "
            "FastGelu Floor Gelu HardSigmoid HardSwish Hardmax Identity LeakyRelu Log LogSoftmax Max Mean Min "
            "Mish Mod Mul Neg Normalizer PRelu ParametricSoftplus Pow QLinearAdd QLinearConcat QLinearLeakyRelu "
            "QLinearMul QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu Reciprocal Relu Round "
            "Scale ScaledTanh Scaler Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Sub Sum "
            "Swish Tan Tanh ThresholdedRelu Where"
        ),
    ),
    (_transposed, "Transpose"),
    (_reshaped, "Reshape Flatten"),
    (_squeezed, "Squeeze"),
    (_unsqueezed, "Unsqueeze"),
    (_gathered, "Gather"),
    (
        _reduced,
        (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare QLinearReduceMean"
        ),
    ),
)
_RULES: Mapping[str, Rule] = {name: rule for rule, names in _FAMILIES for name in names.split()}
