"""What onnxruntime's optimizers write: fused activations, products, convolutions and small operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.cases import indexing, linear, sampling, structure, windows
from tests.ops.compared import compares
from tests.ops.drawn import Draw, axis_of, chosen, integers, several, shapes, spread, whole
from tests.ops.one_node import Case

DOMAIN: dict[str, Any] = {"domain": "com.microsoft", "precision": "float32"}
OPSET = 17
FUSED: dict[str, dict[str, float]] = {
    "Elu": {"alpha": 0.7},
    "HardSigmoid": {"alpha": 0.02, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.3},
    "ScaledTanh": {"alpha": 0.7, "beta": 1.3},
    "Selu": {"alpha": 0.7, "gamma": 1.3},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
}
"""Without the activations that have a kink at any place of a sum."""


@compares("Gelu", **DOMAIN)
def gelu(draw: Draw) -> Case:
    """Of any shape."""
    return Case([spread(draw, shapes(draw), -4, 4)])


@compares("QuickGelu", "ScaledSiLU", **DOMAIN)
def quick_gelu(draw: Draw) -> Case:
    """Any factor."""
    return Case([spread(draw, shapes(draw), -4, 4)], chosen(draw, alpha=(1.702, 1.0, -0.5)))


@compares("BiasGelu", **DOMAIN)
def bias_gelu(draw: Draw) -> Case:
    """A bias of the last axis."""
    shape = shapes(draw)
    return Case([spread(draw, shape), spread(draw, shape[-1:])])


@compares("FastGelu", **DOMAIN)
def fast_gelu(draw: Draw) -> Case:
    """With and without a bias."""
    case = bias_gelu(draw)
    return case if draw(st.booleans()) else Case(case.inputs[:1])


@compares("GatedAdd", **DOMAIN)
def gated_add(draw: Draw) -> Case:
    """A gate for each row."""
    shape = shapes(draw, 3)
    return Case([spread(draw, shape), spread(draw, shape), spread(draw, (*shape[:-1], 1))])


@compares("Inverse", domain="com.microsoft")
def inverse(draw: Draw) -> Case:
    """Of stacks of matrices that have one."""
    size = draw(st.integers(1, 3))
    x = spread(draw, (*shapes(draw, (0, 1)), size, size), -1, 1) + 3 * np.eye(size)
    return Case([x.astype(np.float32)])


@compares("CDist", domain="com.microsoft")
def distances(draw: Draw) -> Case:
    """Both metrics."""
    m, n, k = shapes(draw, 3)
    return Case(several(draw, [(m, k), (n, k)]), chosen(draw, metric=("euclidean", "sqeuclidean")))


@compares("FusedMatMul", domain="com.microsoft")
def fused_mat_mul(draw: Draw) -> Case:
    """Factors transposed within, and moved before, their stacks; a scale."""
    m, k, n, stack = shapes(draw, 4, 3)
    attributes = chosen(draw, transA=(None, 0, 1), transB=(None, 0, 1), alpha=(None, 0.5))
    a = (stack, k, m) if attributes.get("transA") else (stack, m, k)
    b = (stack, n, k) if attributes.get("transB") else (stack, k, n)
    attributes |= chosen(draw, transBatchA=(None, 0, 1), transBatchB=(None, 0, 1))
    a = (a[1], a[0], a[2]) if attributes.get("transBatchA") else a
    b = (b[1], b[0], b[2]) if attributes.get("transBatchB") else b
    return Case([spread(draw, a), spread(draw, b)], attributes)


@compares("TransposeMatMul", **DOMAIN)
def transposed_mat_mul(draw: Draw) -> Case:
    """Both factors transposed or not, a scale."""
    m, k, n = shapes(draw, 3)
    attributes = chosen(draw, transA=(None, 0, 1), transB=(None, 0, 1), alpha=(None, 0.5))
    a, b = (k, m) if attributes.get("transA") else (m, k), (n, k) if attributes.get("transB") else (k, n)
    return Case([spread(draw, a), spread(draw, b)], attributes)


@compares("FusedGemm", **DOMAIN)
def fused_gemm(draw: Draw) -> Case:
    """A product, a bias, and a smooth activation with its parameters."""
    case = linear.gemm(draw, OPSET)
    activation = draw(st.sampled_from(sorted(FUSED)))
    named = {f"activation_{name}": value for name, value in FUSED[activation].items()}
    inputs = [None if x is None else np.abs(x) + np.float32(0.1) for x in case.inputs]
    return Case(inputs, {**case.attributes, "activation": activation, **named})


@compares("FusedConv", **DOMAIN)
def fused_convolution(draw: Draw) -> Case:
    """A convolution and an activation, in one to three dimensions."""
    case = windows.convolutions(draw)
    activation = draw(st.sampled_from(["Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid"]))
    parameters = list(FUSED[activation].values())
    inputs = [None if x is None else np.abs(x) + np.float32(0.1) for x in case.inputs]
    attributes = {**case.attributes, "activation": activation}
    return Case(inputs, attributes | ({"activation_params": parameters} if parameters else {}))


@compares("ConvTransposeWithDynamicPads", **DOMAIN)
def dynamic_pads(draw: Draw) -> Case:
    """The pads are an input."""
    h, w = shapes(draw, 2, 3)
    arrays = [spread(draw, (1, 2, h + 2, w + 2)), spread(draw, (2, 3, 3, 3)), integers(draw, (4,), 0, 1)]
    attributes = {"strides": [draw(st.integers(1, 2)) for _ in range(2)]}
    return Case([*arrays, spread(draw, (3,))], attributes, constants=frozenset({2}))


@compares("Trilu", domain="com.microsoft")
def trilu(draw: Draw) -> Case:
    """As that of the default domain."""
    return structure.trilu(draw)


@compares("GatherND", domain="com.microsoft")
def gather_nd(draw: Draw) -> Case:
    """As the first of the default domain."""
    return indexing.gather_nd(draw, indexing.FIRST_WITH_NEGATIVES)


@compares("GridSample", **DOMAIN)
def grid_sample(draw: Draw) -> Case:
    """As the first of the default domain."""
    return sampling.grid_sample(draw, OPSET)


@compares("Pad", **DOMAIN)
def pad(draw: Draw) -> Case:
    """As that of opset 17."""
    return sampling.pad(draw, OPSET)


@compares("CropAndResize", **DOMAIN)
def crop_and_resize(draw: Draw) -> Case:
    """Boxes inside and across the borders; the gradient to the image."""
    first = spread(draw, (2, 2), -0.2, 0.5)
    boxes = np.concatenate([first, first + spread(draw, (2, 2), 0.1, 0.9)], 1)
    size = integers(draw, (2,), 1, 5, np.int32)
    inputs = [spread(draw, (2, 2, 5, 6)), boxes, integers(draw, (2,), 0, 1, np.int32), size]
    attributes = chosen(draw, mode=(None, "bilinear", "nearest"), extrapolation_value=(None, 3.0))
    return Case(inputs, attributes, constants=frozenset({3}), held=frozenset({1}))


@compares("ExpandDims", **DOMAIN)
def expand_dims(draw: Draw) -> Case:
    """One axis."""
    shape = shapes(draw)
    return Case([spread(draw, shape), np.array(axis_of(draw, len(shape)), np.int32)], constants=frozenset({1}))


@compares("UnfoldTensor", domain="com.microsoft")
def unfold(draw: Draw) -> Case:
    """Along any axis, with any step."""
    shape = [size + 2 for size in shapes(draw, (1, 3), 3)]
    attributes = {"dim": draw(st.integers(0, len(shape) - 1)), **chosen(draw, size=(1, 2, 3), step=(None, 1, 2))}
    return Case([spread(draw, shape)], attributes)


@compares("Range", domain="com.microsoft", gradient="none", exact=True)
def ranges(draw: Draw) -> Case:
    """With and without a step."""
    numbers = [np.array(x, np.int64) for x in (draw(st.integers(-5, 5)), 9, 2)]
    return Case(numbers[: draw(st.integers(2, 3))], constants=frozenset({0, 1, 2}))


@compares("Unique", domain="com.microsoft", gradient="none", exact=True)
def unique(draw: Draw) -> Case:
    """In the order of their first appearance, with places and counts."""
    return Case([integers(draw, (6,), 0, 3, np.float32)], outputs=3, constants=frozenset({0}))


@compares("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", **DOMAIN)
def skip_normalization(draw: Draw) -> Case:
    """A residual, a scale, and the sum as the fourth output."""
    shape = (*shapes(draw, 2, 3), draw(st.integers(2, 5)))
    rest = [spread(draw, shape[-1:]) for _ in range(draw(st.integers(1, 2)))]
    inputs = [spread(draw, shape), spread(draw, shape, 0.1, 0.5), *rest]
    summed = draw(st.booleans())
    unset = frozenset({1, 2} if summed else ())
    return Case(inputs, chosen(draw, epsilon=(0.1, 0.5)), outputs=4 if summed else 1, unset=unset)


@compares("GatedRMSNorm", **DOMAIN)
def gated_norm(draw: Draw) -> Case:
    """Every activation of the gate."""
    shape = (*shapes(draw, 2, 3), 4)
    inputs = [spread(draw, shape), spread(draw, (draw(st.sampled_from([4, 2])),)), spread(draw, shape)]
    return Case(inputs, chosen(draw, activation=(None, "silu", "swish", "sigmoid"), epsilon=(None, 0.1)))


@compares("EmbedLayerNormalization", **DOMAIN)
def embeddings(draw: Draw) -> Case:
    """With and without segments; the gradient to the tables."""
    batch, length = shapes(draw, 2, 3)
    words, places, segments = (spread(draw, (rows, 4)) for rows in (6, 5, 2))
    ids = integers(draw, (batch, length), 0, 5, np.int32)
    kinds = integers(draw, (batch, length), 0, 1, np.int32) if draw(st.booleans()) else None
    parts = [ids, kinds, words, places, None if kinds is None else segments]
    return Case([*parts, spread(draw, (4,)), spread(draw, (4,))], {"epsilon": 0.1}, outputs=2)


@compares("RotaryEmbedding", **DOMAIN)
def rotary(draw: Draw) -> Case:
    """Heads apart and packed, neighbors and halves, positions from a start and one by one."""
    batch, length, heads, pairs = shapes(draw, 4, 3)
    size = 2 * pairs
    x = spread(draw, (batch, heads, length, size))
    if draw(st.booleans()):
        x = np.ascontiguousarray(x.transpose(0, 2, 1, 3).reshape(batch, length, -1))
    places = whole(2) if draw(st.booleans()) else integers(draw, (batch, length), 0, 7)
    caches = [spread(draw, (8, pairs)) for _ in "cs"]
    return Case([x, places, *caches], chosen(draw, interleaved=(None, 0, 1)))
