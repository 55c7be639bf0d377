"""Edits of a graph in place, of which twins are made; what they take and read by the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

Array = NDArray[Any]
Rewrite = Callable[[ModelProto], None]


def editing(rewrite: Rewrite) -> Callable[[ModelProto], ModelProto]:
    """A rewrite in place as a function that leaves its argument as it is, and forgets the shapes inside."""

    def make(model: ModelProto) -> ModelProto:
        twin = ModelProto()
        twin.CopyFrom(model)
        del twin.graph.value_info[:]
        rewrite(twin)
        return twin

    return make


def making(model: ModelProto, tensor: str) -> NodeProto:
    """The node that makes a tensor."""
    return next(node for node in model.graph.node if tensor in node.output)


def of_type(model: ModelProto, *types: str) -> list[NodeProto]:
    """The nodes of some operators."""
    return [node for node in model.graph.node if node.op_type in types]


def fed(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have to be fed."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that a graph's nodes read, in its subgraphs too, and its outputs."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for a in node.attribute:
            if a.type == AttributeProto.GRAPH:
                yield from names_read(a.g)


def array(model: ModelProto, name: str) -> Array:
    """The numbers of an initializer, or of what a Constant node makes."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    return numpy_helper.to_array(next(a.t for a in making(model, name).attribute if a.name == "value"))


def add_constant(model: ModelProto, name: str, values: Array) -> str:
    """Add an initializer under a name that is still free; return the name."""
    taken = {tensor.name for tensor in model.graph.initializer}
    while name in taken:
        name += "_"
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def set_input(model: ModelProto, node: NodeProto, index: int, values: Array) -> None:
    """Give one input of one node other numbers; whoever else reads the old ones keeps them."""
    name = node.input[index]
    readers = list(names_read(model.graph)).count(name)
    stored = [tensor for tensor in model.graph.initializer if tensor.name == name]
    if readers > 1 or not stored:
        node.input[index] = add_constant(model, f"{name}_own", values)
        return
    stored[0].CopyFrom(numpy_helper.from_array(values, name))


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """The value of an attribute."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attributes(node: NodeProto, **values: object) -> None:
    """Set attributes, or remove those that are None."""
    kept = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items() if value is not None)


def redirect(model: ModelProto, old: str, new: str) -> None:
    """Let all readers of one tensor read another."""
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def bypass(model: ModelProto, node: NodeProto, index: int = 0) -> None:
    """Remove a node: its readers read one of its inputs."""
    redirect(model, node.output[0], node.input[index])
    model.graph.node.remove(node)


def insert(model: ModelProto, place: NodeProto, nodes: Iterable[NodeProto], *, after: bool = False) -> None:
    """Put nodes before another, or after it."""
    at = list(model.graph.node).index(place) + after
    for offset, node in enumerate(nodes):
        model.graph.node.insert(at + offset, node)


def replace(model: ModelProto, node: NodeProto, nodes: Iterable[NodeProto]) -> None:
    """Put nodes in place of one."""
    insert(model, node, nodes)
    model.graph.node.remove(node)


def drop_unused(model: ModelProto) -> None:
    """Remove initializers that nobody reads, from the graph's inputs too."""
    read = set(names_read(model.graph))
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
        for value in [value for value in model.graph.input if value.name == tensor.name]:
            model.graph.input.remove(value)
