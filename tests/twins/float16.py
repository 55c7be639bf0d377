"""The same network in float16, as a converter without a check makes it."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.twins.edits import Rewrite, fed, making, redirect


def to_float16(*, keep_io: bool) -> Rewrite:
    """Compute in float16; with `keep_io`, inputs and outputs stay float32.

    For networks of ordinary operators: no subgraphs, no Resize, no quantization.
    """

    def rewrite(model: ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.CopyFrom(_halved(tensor))
        for node in model.graph.node:
            _halve_attributes(node)
        stored = {tensor.name for tensor in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT and (value.name in stored or not keep_io):
                value.type.tensor_type.elem_type = TensorProto.FLOAT16
        if keep_io:
            _cast_ends(model)

    return rewrite


def _halved(tensor: TensorProto) -> TensorProto:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, as in any converter without a check
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)


def _halve_attributes(node: NodeProto) -> None:
    for a in node.attribute:
        if a.type == AttributeProto.TENSOR and a.t.data_type == TensorProto.FLOAT:
            a.t.CopyFrom(_halved(a.t))
        if node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
            a.i = TensorProto.FLOAT16


def _cast_ends(model: ModelProto) -> None:
    for value in fed(model):
        name = f"{value.name}/half"
        redirect(model, value.name, name)
        cast = helper.make_node("Cast", [value.name], [name], name, to=TensorProto.FLOAT16)
        model.graph.node.insert(0, cast)
    for value in model.graph.output:
        name = f"{value.name}/half"
        node = making(model, value.name)
        node.output[list(node.output).index(value.name)] = name
        redirect(model, value.name, name)
        model.graph.node.append(
            helper.make_node("Cast", [name], [value.name], f"{value.name}/float", to=TensorProto.FLOAT)
        )
