"""The same sums of 8-bit products in onnxruntime on every processor.

onnxruntime multiplies uint8 by int8 with x86's `vpmaddubsw` where the processor has no VNNI: it adds two neighboring
products in 16 bits, and what does not fit is clipped. Every other pair of types is widened first, and its sums are
exact. An integer and its zero point, both moved by 128 to the other type, stand for the same number, so a model is
written here such that no uint8 meets an int8 where sums would be clipped.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from onnxvis.graph import HANDING_ON

MICROSOFT = "com.microsoft"
_INT8, _UINT8 = TensorProto.INT8, TensorProto.UINT8
_OFFSET = 128
_OTHER: Mapping[int, int] = {_INT8: _UINT8, _UINT8: _INT8}
_KEEPING = frozenset({"NhwcMaxPool"})
"""Operators of com.microsoft that hand on what they get, beside those that the specification has."""
_PLACES = {"QLinearConcat": 1, "QLinearWhere": 1}
"""Where others have the integers of whose type their result is."""
_NUMPY: Mapping[int, Any] = {_INT8: np.int8, _UINT8: np.uint8}


@dataclass(frozen=True)
class Factor:
    """One of the two factors that an operator multiplies, by the positions of its inputs.

    Attributes:
        place: That of the integers; None: they are made inside, and are uint8.
        zero_point: That of their zero point; None: there is none.
    """

    place: int | None
    zero_point: int | None


@dataclass(frozen=True)
class Product:
    """A product of quantized tensors that an operator sums.

    Attributes:
        left: The factor that onnxruntime takes as the first: where it is uint8, and the second int8, sums are clipped.
        right: The second.
        moved: The one of the two that can be written as the other type.
    """

    left: Factor
    right: Factor
    moved: Factor


def _product(left: Factor, right: Factor, *, moves_left: bool = False) -> Product:
    return Product(left, right, left if moves_left else right)


PRODUCTS: Mapping[tuple[str, str], tuple[Product, ...]] = {
    ("", "QLinearConv"): (_product(Factor(0, 2), Factor(3, 5)),),
    # The filters are the first factor, so uint8 filters of an int8 image are what is clipped.
    ("", "ConvInteger"): (_product(Factor(1, 3), Factor(0, 2), moves_left=True),),
    ("", "QLinearMatMul"): (_product(Factor(0, 2), Factor(3, 5)),),
    ("", "MatMulInteger"): (_product(Factor(0, 2), Factor(1, 3)),),
    (MICROSOFT, "QLinearConv"): (_product(Factor(0, 2), Factor(3, 5)),),
    (MICROSOFT, "QGemm"): (_product(Factor(0, 2), Factor(3, 5)),),
    (MICROSOFT, "MatMulIntegerToFloat"): (_product(Factor(0, 4), Factor(1, 5)),),
    (MICROSOFT, "DynamicQuantizeMatMul"): (_product(Factor(None, None), Factor(1, 3)),),
    (MICROSOFT, "QAttention"): (_product(Factor(0, 6), Factor(1, 7)),),
    (MICROSOFT, "DynamicQuantizeLSTM"): (
        _product(Factor(None, None), Factor(1, 9)),
        _product(Factor(None, None), Factor(2, 11)),
    ),
}
"""All operators of onnxruntime whose sums of 8-bit products can be clipped, by domain and name."""


def products_of(node: onnx.NodeProto | ir.Node) -> tuple[Product, ...]:
    """Return the products of quantized tensors that a node sums; none of most operators.

    Args:
        node: Of any operator.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    return PRODUCTS.get((domain, node.op_type), ())


def with_exact_sums(
    proto: onnx.ModelProto, weights: Mapping[str, ir.TensorProtocol] | None = None
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """Write a model such that onnxruntime's sums of 8-bit products are exact on every processor.

    Args:
        proto: The model, its functions inlined; it is not changed.
        weights: Those of its initializers whose values lie elsewhere, by name.

    Returns:
        The model, itself where nothing had to be changed, and the weights that lie elsewhere.
    """
    known = dict(weights or {})
    if not any(products_of(node) for graph in graphs_of(proto.graph) for node in graph.node):
        return proto, known
    written = onnx.ModelProto()
    written.CopyFrom(proto)
    rewriter = _Rewriter(known, _names(written.graph))
    rewriter.rewrite(written.graph, _inferred(proto).graph, _Scope())
    if not rewriter.changed:
        return proto, known
    # onnxruntime takes no values for weights that nobody reads, and in old files no such weights at all.
    read = {name for graph in graphs_of(written.graph) for name in _read(graph)}
    for graph in graphs_of(written.graph):
        kept = onnx.GraphProto(
            initializer=[each for each in graph.initializer if each.name in read or each.name not in rewriter.replaced]
        )
        graph.ClearField("initializer")
        graph.initializer.extend(kept.initializer)
    return written, {name: tensor for name, tensor in known.items() if name in read}


@dataclass(frozen=True)
class Clipped:
    """A product whose sums are clipped on processors without VNNI.

    Attributes:
        node: The node that sums it.
        product: Which of its products.
        weight: The factor that could be written as the other type; None where it is no weight.
        holder: The node of the main graph that it is, or that holds it in a branch or loop.
    """

    node: onnx.NodeProto
    product: Product
    weight: onnx.TensorProto | None
    holder: onnx.NodeProto


def clipped_products(proto: onnx.ModelProto) -> Iterator[Clipped]:
    """Yield the products whose sums are clipped on processors without VNNI, in the order of computation.

    Args:
        proto: The model, its functions inlined and its weights in it.
    """
    if any(products_of(node) for graph in graphs_of(proto.graph) for node in graph.node):
        yield from _clipped(proto.graph, _inferred(proto).graph, _Scope(), None)


def _clipped(
    graph: onnx.GraphProto, inferred: onnx.GraphProto, around: _Scope, holder: onnx.NodeProto | None
) -> Iterator[Clipped]:
    scope = around.inside(graph, inferred)
    for node, told in zip(graph.node, inferred.node, strict=True):
        for product in products_of(node):
            if _is_clipped(node, product, scope):
                name = "" if product.moved.place is None else node.input[product.moved.place]
                weight = scope.initializers[name][0] if name in scope.initializers else None
                yield Clipped(node, product, weight, holder or node)
        for inner, known in zip(_subgraphs(node), _subgraphs(told), strict=True):
            yield from _clipped(inner, known, scope, holder or node)


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the types that ONNX infers; itself where it does not."""
    with contextlib.suppress(Exception):  # a RuntimeError of C++, a ValueError for what is too large
        return onnx.shape_inference.infer_shapes(proto)
    return proto


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all graphs in it.

    Args:
        graph: Of a model.
    """
    yield graph
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from graphs_of(inner)


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
    yield from (value.name for value in graph.output)


def _names(graph: onnx.GraphProto) -> set[str]:
    found: set[str] = set()
    for each in graphs_of(graph):
        found.update(value.name for value in (*each.input, *each.output))
        found.update(tensor.name for tensor in each.initializer)
        found.update(name for node in each.node for name in (*node.input, *node.output))
    return found


@dataclass(frozen=True)
class _Scope:
    """What a graph sees of itself and of those around it.

    Attributes:
        initializers: The weights that are no inputs, by name, and the graph that holds each.
        types: The types of tensors, by name, as far as the model says.
        moved: The new name of what has been written as the other type already, by the old.
    """

    initializers: Mapping[str, tuple[onnx.TensorProto, onnx.GraphProto]] = field(default_factory=dict)
    types: Mapping[str, int] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)

    def inside(self, graph: onnx.GraphProto, inferred: onnx.GraphProto) -> _Scope:
        """Return that of a graph in this one; `inferred` is the same graph with more types."""
        inputs = {value.name for value in graph.input}
        own = {tensor.name: (tensor, graph) for tensor in graph.initializer if tensor.name not in inputs}
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        # What is moved in a graph is not seen outside of it.
        known = {**self.types, **{name: dtype for name, dtype in types.items() if dtype}}
        for node in graph.node:
            dtype = _made(node, known)
            # Beside the result some return indices, or a mask.
            for name in node.output if node.op_type == "Split" else node.output[:1]:
                if dtype is not None:
                    known.setdefault(name, dtype)
        return _Scope({**self.initializers, **own}, known, dict(self.moved))


def _made(node: onnx.NodeProto, known: Mapping[str, int]) -> int | None:
    """Return the type of the integers that a node makes or hands on, if the file does not say it; None: not known."""
    if node.op_type == "DynamicQuantizeLinear":
        return _UINT8
    if node.op_type == "QuantizeLinear":
        given = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        zero_point = node.input[2] if len(node.input) > 2 else ""  # noqa: PLR2004 - x, scale, zero point
        return given or (known.get(zero_point) if zero_point else int(_UINT8))
    if node.op_type in _PLACES:
        place = _PLACES[node.op_type]
    elif node.op_type in HANDING_ON:
        place = min(HANDING_ON[node.op_type])
    elif node.op_type in _KEEPING or node.op_type.startswith("QLinear"):
        place = 0
    else:
        return None
    return known.get(node.input[place]) if len(node.input) > place else None


class _Rewriter:
    """Moves factors to the other type, in a graph and in all graphs in it."""

    def __init__(self, weights: dict[str, ir.TensorProtocol], names: set[str]) -> None:
        self.weights = weights
        self.names = names
        self.changed = False
        self.replaced: set[str] = set()

    def rewrite(self, graph: onnx.GraphProto, inferred: onnx.GraphProto, around: _Scope) -> None:
        scope = around.inside(graph, inferred)
        nodes: list[onnx.NodeProto] = []
        for node, told in zip(graph.node, inferred.node, strict=True):
            for product in products_of(node):
                if _is_clipped(node, product, scope):
                    nodes += self._move(node, product.moved, scope)
                    self.changed = True
            for inner, known in zip(_subgraphs(node), _subgraphs(told), strict=True):
                self.rewrite(inner, known, scope)
            nodes.append(node)
        if len(nodes) > len(graph.node):
            ordered = onnx.GraphProto(node=nodes)
            del graph.node[:]
            graph.node.extend(ordered.node)

    def _move(self, node: onnx.NodeProto, factor: Factor, scope: _Scope) -> Iterator[onnx.NodeProto]:
        """Write a factor and its zero point as the other type; yield the nodes that do so when the model runs."""
        dtype = _type(node, factor, scope)
        if factor.place is None or factor.zero_point is None or dtype is None:
            return
        to = _OTHER[dtype]
        yield from self._moved_input(node, factor.place, to, scope)
        node.input.extend([""] * (factor.zero_point + 1 - len(node.input)))
        if node.input[factor.zero_point]:
            yield from self._moved_input(node, factor.zero_point, to, scope)
            return
        node.input[factor.zero_point] = name = self._fresh("zero point")
        yield _constant(name, _flipped(np.zeros((), _NUMPY[dtype]), to))

    def _moved_input(self, node: onnx.NodeProto, place: int, to: int, scope: _Scope) -> Iterator[onnx.NodeProto]:
        name = node.input[place]
        self.replaced.add(name)
        if name not in scope.moved:
            scope.moved[name] = moved = self._fresh(f"{name}/{np.dtype(_NUMPY[to]).name}")
            if name in scope.initializers:
                self._write(*scope.initializers[name], moved, to)
            else:
                yield from self._conversion(name, moved, to)
        node.input[place] = scope.moved[name]

    def _write(self, tensor: onnx.TensorProto, graph: onnx.GraphProto, name: str, to: int) -> None:
        """Write a weight as the other type, beside it."""
        if tensor.name not in self.weights:
            graph.initializer.append(numpy_helper.from_array(_flipped(numpy_helper.to_array(tensor), to), name))
            return
        self.weights[name] = ir.Tensor(_flipped(self.weights[tensor.name].numpy(), to), name=name)
        added = graph.initializer.add()
        added.CopyFrom(tensor)
        added.name, added.data_type = name, to

    def _conversion(self, name: str, moved: str, to: int) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that write as the other type what is known only when the model runs."""
        wide, shifted, offset = (self._fresh(f"{moved}/{step}") for step in ("wide", "shifted", "offset"))
        yield helper.make_node("Cast", [name], [wide], to=TensorProto.INT32)
        yield _constant(offset, np.array(_OFFSET if to == _UINT8 else -_OFFSET, np.int32))
        yield helper.make_node("Add", [wide, offset], [shifted])
        yield helper.make_node("Cast", [shifted], [moved], to=to)

    def _fresh(self, name: str) -> str:
        """Return a name that nothing in the model bears."""
        numbered = (f"{name}/{number}" for number in itertools.count(2))
        free = next(each for each in itertools.chain([name], numbered) if each not in self.names)
        self.names.add(free)
        return free


def _is_clipped(node: onnx.NodeProto, product: Product, scope: _Scope) -> bool:
    left, right = _type(node, product.left, scope), _type(node, product.right, scope)
    # Of the one that is not moved the type may not be known, and is then uint8 far more often.
    if product.moved is product.left:
        return left == _UINT8 and right in (_INT8, None)
    return left in (_UINT8, None) and right == _INT8


def _type(node: onnx.NodeProto, factor: Factor, scope: _Scope) -> int | None:
    if factor.place is None:
        return _UINT8
    names = [
        node.input[place]
        for place in (factor.place, factor.zero_point)
        if place is not None and place < len(node.input)
    ]
    return next((scope.types[name] for name in names if name in scope.types), None)


def _constant(name: str, array: np.ndarray[Any, Any]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def _flipped(array: np.ndarray[Any, Any], to: int) -> np.ndarray[Any, Any]:
    """Return integers of 8 bits as the other type, moved by 128: that flips the highest bit."""
    return (array.view(np.uint8) ^ np.uint8(_OFFSET)).view(_NUMPY[to])
