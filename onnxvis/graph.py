"""Questions about an onnx-ir graph that need no shapes and no weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

SHAPE_ONLY = frozenset({"Shape", "Size"})
"""Operators whose output depends on the shape of their input, not on its values."""


_FIRST, _ALL = frozenset({0}), frozenset(range(1 << 10))
HANDING_ON: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("CenterCropPad", "Compress", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather"), _FIRST),
    **dict.fromkeys(("GatherElements", "GatherND", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax"), _FIRST),
    **dict.fromkeys(("ReduceMin", "Relu", "Reshape", "Resize", "ReverseSequence", "Slice", "SpaceToDepth"), _FIRST),
    **dict.fromkeys(("Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample"), _FIRST),
    **dict.fromkeys(("Pad", "Scatter", "ScatterElements", "ScatterND"), frozenset({0, 2})),
    **dict.fromkeys(("Clip", "Concat", "Max", "Min"), _ALL),
    "Where": frozenset({1, 2}),
}
"""Operators that hand on some of the values they get, and the positions of these among the inputs: a quantized integer
stays what it is."""
_QUANTIZING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QGemm", "NhwcMaxPool"})
_QUANTIZING_FAMILY = "QLinear"
_DRAWN = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_TRAINING = 2
"""Where Dropout is told that it drops anything."""


def is_default_domain(domain: str) -> bool:
    """Whether the domain is the ONNX operator set, which has two spellings."""
    return domain in ("", "ai.onnx")


def opset(model: ir.Model, domain: str = "") -> int:
    """Return the imported version of an operator set; 1 for a domain that the file does not import."""
    imports = model.opset_imports
    if is_default_domain(domain):
        return imports.get("", imports.get("ai.onnx", 1))
    return imports.get(domain, 1)


def real_inputs(graph: ir.Graph) -> list[ir.Value]:
    """Return the graph inputs that have no default: files of IR version 3 list their weights as inputs too."""
    return [value for value in graph.inputs if value.name not in graph.initializers]


def read_values(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads, the values that its subgraphs capture included."""
    for value in node.inputs:
        if value is not None:
            yield value
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from captured_values(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from captured_values(graph)


def computed_values(graph: ir.Graph) -> list[ir.Value]:
    """Return the values that depend on the values of a graph input, in the order of computation."""
    reached = set(real_inputs(graph))
    found = []
    for node in graph:
        if node.op_type in SHAPE_ONLY or reached.isdisjoint(read_values(node)):
            continue
        outputs = [value for value in node.outputs if value.name]
        reached.update(outputs)
        found.extend(outputs)
    return found


def quantized_values(graph: ir.Graph) -> set[ir.Value]:
    """Return the integers that stand for floats: what quantizers make, and what is handed on from there."""
    found: set[ir.Value] = set()
    for node in graph:
        quantizes = node.op_type in _QUANTIZING or node.op_type.startswith(_QUANTIZING_FAMILY)
        hands_on = node.op_type in HANDING_ON and not found.isdisjoint(value for value in node.inputs if value)
        if quantizes or hands_on:
            # The scale and the indices that some return too are told apart by their types.
            found.update(node.outputs[: None if node.op_type == "Split" else 1])
    return found


def ancestors(values: Iterable[ir.Value]) -> set[ir.Node]:
    """Return the nodes that the values are computed from."""
    found: set[ir.Node] = set()
    waiting = [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is None or node in found:
            continue
        found.add(node)
        waiting.extend(value.producer() for value in read_values(node))
    return found


def inputs_of(graph: ir.Graph, values: Iterable[ir.Value]) -> list[ir.Value]:
    """Return the graph inputs that the values are computed from, in the file's order."""
    wanted = list(values)
    read = {value for node in ancestors(wanted) for value in read_values(node)}
    read.update(wanted)
    return [value for value in real_inputs(graph) if value in read]


def drawn_values(graph: ir.Graph) -> set[ir.Value]:
    """Return what is drawn anew in every run, and all that is computed from it."""
    found: set[ir.Value] = set()
    for node in graph:
        if _draws(node) or not found.isdisjoint(read_values(node)):
            found.update(node.outputs)
    return found


def _draws(node: ir.Node) -> bool:
    """Tell whether a node, or one in its subgraphs, draws random numbers."""
    if node.op_type == "Dropout":
        mode = node.inputs[_TRAINING] if len(node.inputs) > _TRAINING else None
        known = None if mode is None else ir.convenience.get_const_tensor(mode)
        return mode is not None and (known is None or bool(known.numpy().any()))
    inner = (graph for attribute in node.attributes.values() for graph in _graphs(attribute))
    return node.op_type in _DRAWN or any(_draws(each) for graph in inner for each in graph)


def _graphs(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else []


def captured_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Yield what a subgraph reads of the graphs around it."""
    inner = {value for node in graph for value in node.outputs} | set(graph.inputs)
    inner |= set(graph.initializers.values())
    for node in graph:
        yield from (value for value in read_values(node) if value not in inner)
    yield from (value for value in graph.outputs if value not in inner)
