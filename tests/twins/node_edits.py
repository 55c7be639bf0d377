"""Edits of a node, of its attributes and of its connections that change what is computed."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from tests.twins.edits import add_constant, bypass, insert, making, of_type, replace, set_attributes
from tests.twins.fault import Edit


def with_attributes(**values: object) -> Edit:
    """Set attributes."""
    return lambda _, node: set_attributes(node, **values)


def as_operator(op_type: str, **values: object) -> Edit:
    """Compute another operator of the same inputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.op_type = op_type
        set_attributes(node, **values)

    return edit


def removed(model: ModelProto, node: NodeProto) -> None:
    """Let the readers read the node's first input."""
    bypass(model, node)


def second_alone(model: ModelProto, node: NodeProto) -> None:
    """Let the readers read the node's second input."""
    bypass(model, node, 1)


def both_removed(model: ModelProto, node: NodeProto) -> None:
    """Remove the node and the one that it reads."""
    before = node.input[0]
    bypass(model, node)
    bypass(model, making(model, before))


def outputs_exchanged(first: int, second: int) -> Edit:
    """Exchange two outputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.output[first], node.output[second] = node.output[second], node.output[first]

    return edit


def inputs_exchanged(first: int, second: int) -> Edit:
    """Exchange two inputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.input[first], node.input[second] = node.input[second], node.input[first]

    return edit


def reading(index: int, tensor: str) -> Edit:
    """Read another tensor."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.input[index] = tensor

    return edit


def parameters_of(other: str) -> Edit:
    """Read the weights of another node."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        node.input[1:] = making(model, other).input[1:]

    return edit


def transposed_before(*axes: int) -> Edit:
    """Put a Transpose before the node."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        name = f"{node.output[0]}/transposed"
        insert(model, node, [helper.make_node("Transpose", [node.input[0]], [name], name, perm=axes)])
        making(model, node.output[0]).input[0] = name

    return edit


def dropout_before(model: ModelProto, node: NodeProto) -> None:
    """Put a Dropout in training mode before the node."""
    name = f"{node.output[0]}/dropped"
    ratio, training = (
        add_constant(model, f"{name}/{what}", np.array(value, kind))
        for what, value, kind in (("ratio", 0.5, np.float32), ("training", True, np.bool_))
    )
    insert(model, node, [helper.make_node("Dropout", [node.input[0], ratio, training], [name], name, seed=1)])
    making(model, node.output[0]).input[0] = name


def gelu_by_sigmoid(model: ModelProto, _: NodeProto) -> None:
    """Compute GELU as x sigmoid(1.702 x) (Hendrycks and Gimpel 2016): erf(x / sqrt(2)) becomes tanh(0.851 x)."""
    for node in of_type(model, "Erf"):
        name = f"{node.output[0]}/scaled"
        factor = add_constant(model, f"{name}/factor", np.array(0.851 * 2**0.5, np.float32))
        scaled = helper.make_node("Mul", [node.input[0], factor], [name], name)
        replace(model, node, [scaled, helper.make_node("Tanh", [name], node.output, node.name)])
