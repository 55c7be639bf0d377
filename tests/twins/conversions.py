"""What optimizers, converters and hands do to a whole file that leaves its function as it is."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, helper, version_converter

from tests.twins.edits import Rewrite, add_constant, array, bypass, fed, insert, redirect
from tests.twins.torch_exports import quiet


def at_opset(version: int) -> Callable[[ModelProto], ModelProto]:
    """Convert to another opset by onnx's own converter."""

    def make(model: ModelProto) -> ModelProto:
        return version_converter.convert_version(model, version)

    return make


def optimized_by_onnxruntime(level: ort.GraphOptimizationLevel) -> Callable[[ModelProto], ModelProto]:
    """Save what onnxruntime makes of the file for the CPU."""

    def make(model: ModelProto) -> ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            options = ort.SessionOptions()
            options.graph_optimization_level = level
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            options.log_severity_level = 3
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath)

    return make


def optimized_by_onnxscript(model: ModelProto) -> ModelProto:
    """Fold constants, remove what does nothing and rewrite as torch's exporter does."""
    from onnxscript import optimizer  # noqa: PLC0415 - takes seconds to import

    twin = ModelProto()
    twin.CopyFrom(model)
    with quiet():
        return optimizer.optimize(twin)


def rename_all(model: ModelProto) -> None:
    """Give all tensors, inputs, outputs, initializers and nodes names that say nothing."""
    draw = random.Random(7)  # noqa: S311 - nothing is secret here
    names = {"": ""}

    def new(name: str) -> str:
        if name not in names:
            names[name] = f"t{draw.getrandbits(40):x}"
        return names[name]

    for node in model.graph.node:
        node.name = f"n{draw.getrandbits(40):x}"
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = new(value.name)
    for tensor in model.graph.initializer:
        tensor.name = new(tensor.name)


def reorder_nodes(model: ModelProto) -> None:
    """List the nodes in another order that is topological too."""
    draw = random.Random(5)  # noqa: S311 - nothing is secret here
    waiting = list(model.graph.node)
    made = {"", *(value.name for value in model.graph.input), *(tensor.name for tensor in model.graph.initializer)}
    listed = []
    while waiting:
        node = draw.choice([node for node in waiting if set(node.input) <= made])
        waiting.remove(node)
        listed.append(node)
        made.update(node.output)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in listed]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def constants_from_initializers(model: ModelProto) -> None:
    """Make Constant nodes of all initializers."""
    tensors = list(model.graph.initializer)
    nodes = [helper.make_node("Constant", [], [t.name], f"constant_{i}", value=t) for i, t in enumerate(tensors)]
    names = {tensor.name for tensor in tensors}
    for value in [value for value in model.graph.input if value.name in names]:
        model.graph.input.remove(value)
    del model.graph.initializer[:]
    insert(model, model.graph.node[0], nodes)


def initializers_from_constants(model: ModelProto) -> None:
    """Make initializers of all Constant nodes."""
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        values = array(model, node.output[0])
        model.graph.node.remove(node)
        add_constant(model, node.output[0], values)


def list_initializers_as_inputs(model: ModelProto) -> None:
    """List initializers among the graph's inputs, as files of IR 3 have to."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def insert_identities(model: ModelProto) -> None:
    """Put an Identity between every node and its readers."""
    outputs = {value.name for value in model.graph.output}
    for node in list(model.graph.node):
        if node.op_type == "Constant" or node.output[0] in outputs:
            continue
        name = node.output[0]
        redirect(model, name, f"{name}/same")
        insert(model, node, [helper.make_node("Identity", [name], [f"{name}/same"], f"{node.name}/same")], after=True)


def drop_dropout(model: ModelProto) -> None:
    """Remove what does nothing when a network only answers."""
    for node in [node for node in model.graph.node if node.op_type in {"Dropout", "Identity"}]:
        if node.output[0] not in {value.name for value in model.graph.output}:
            bypass(model, node)


def with_sizes(*sizes: int | str | None) -> Rewrite:
    """Declare other sizes of the first input: a number, a name, or None to leave one as it is; outputs get names."""

    def rewrite(model: ModelProto) -> None:
        for dim, size in zip(fed(model)[0].type.tensor_type.shape.dim, sizes, strict=True):
            if isinstance(size, int):
                dim.dim_value = size
            elif size is not None:
                dim.dim_param = size
        for value in model.graph.output:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                dim.dim_param = f"out{axis}"

    return rewrite
