"""Re-exports that mean the same as their source: other operators, names, layouts, sizes and types, the same function.

Written with onnx, onnxruntime's and onnxscript's optimizers and torch's exporters alone, so that they judge
`onnxvis check` and `onnxvis diff` from outside.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter
from torch import nn

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "samples", ROOT.parent / "shared" / "models")
NCHW_OF_NHWC = (0, 3, 1, 2)
NHWC_OF_NCHW = (0, 2, 3, 1)

Array = NDArray[Any]
Rewrite = Callable[[ModelProto], None]


@dataclass(frozen=True)
class Honest:
    """A re-export that means the same.

    Attributes:
        name: Unique and readable.
        source: File name under samples/ or ../shared/models, or a key of `GENERATED`.
        kind: What was done.
        make: The twin of a source, which is left as it is.
        permuted: Whether channels inside come in another order.
        input_axes: For each input that is laid out differently, by its place: the source's axes in the twin's order.
        output_axes: The same of the outputs.
        tolerance: How far an output may be off, as a share of the largest of the source's.
        valid: Whether onnx's checker accepts the file: onnxruntime saves what it alone accepts.
    """

    name: str
    source: str
    kind: str
    make: Callable[[ModelProto], ModelProto]
    permuted: bool = False
    input_axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    output_axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    tolerance: float = 1e-4
    valid: bool = True

    @property
    def id(self) -> str:
        """The name without spaces."""
        return slug(self.name)


def slug(name: str) -> str:
    """Write a name as one word."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def load_source(name: str) -> ModelProto:
    """Load a source by its file name, or generate it.

    Raises:
        FileNotFoundError: Neither samples/ nor ../shared/models has it.
    """
    if name in GENERATED:
        return GENERATED[name]()
    for folder in FOLDERS:
        if (folder / name).is_file():
            return onnx.load(folder / name)
    msg = f"Neither of {', '.join(map(str, FOLDERS))} has {name}."
    raise FileNotFoundError(msg)


# Edits of a graph


def making(model: ModelProto, tensor: str) -> NodeProto:
    """The node that makes a tensor."""
    return next(node for node in model.graph.node if tensor in node.output)


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


def names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that a graph's nodes read, in its subgraphs too, and its outputs."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for a in node.attribute:
            if a.type == AttributeProto.GRAPH:
                yield from names_read(a.g)


def drop_unused(model: ModelProto) -> None:
    """Remove initializers that nobody reads, from the graph's inputs too."""
    read = set(names_read(model.graph))
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
        for value in [value for value in model.graph.input if value.name == tensor.name]:
            model.graph.input.remove(value)


def fed(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have to be fed."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def editing(rewrite: Rewrite) -> Callable[[ModelProto], ModelProto]:
    """A rewrite in place as a function that leaves its argument as it is, and forgets the shapes inside."""

    def make(model: ModelProto) -> ModelProto:
        twin = ModelProto()
        twin.CopyFrom(model)
        del twin.graph.value_info[:]
        rewrite(twin)
        return twin

    return make


# What is done to a whole file


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


# Layouts


def permute_sizes(value: onnx.ValueInfoProto, axes: Sequence[int]) -> None:
    """Declare an input's or output's sizes in another order."""
    dims = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString()) for d in value.type.tensor_type.shape.dim]
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(dims[axis] for axis in axes)


def channels_last_outside(model: ModelProto) -> None:
    """Take the image as NHWC and transpose it first."""
    value = fed(model)[0]
    redirect(model, value.name, "image/nchw")
    node = helper.make_node("Transpose", [value.name], ["image/nchw"], "to_nchw", perm=NCHW_OF_NHWC)
    model.graph.node.insert(0, node)
    permute_sizes(value, NHWC_OF_NCHW)


SPATIAL = {"Conv", "AveragePool", "MaxPool", "GlobalAveragePool"}


def channels_last_inside(model: ModelProto) -> None:
    """Keep all images NHWC, as a converter from TensorFlow does: each spatial operator stands between two Transposes.

    For networks whose other operators are elementwise, Concat of channels, Dropout, or come after a global average.
    """
    value = fed(model)[0]
    permute_sizes(value, NHWC_OF_NCHW)
    for node in list(model.graph.node):
        if node.op_type == "Concat":
            set_attributes(node, axis=3)
        if node.op_type not in SPATIAL:
            continue
        before, after = f"{node.output[0]}/before", f"{node.output[0]}/after"
        entry = helper.make_node("Transpose", [node.input[0]], [before], before, perm=NCHW_OF_NHWC)
        leave = helper.make_node("Transpose", [after], [node.output[0]], after, perm=NHWC_OF_NCHW)
        place = list(model.graph.node).index(node)
        node.input[0], node.output[0] = before, after
        model.graph.node.insert(place + 1, leave)
        model.graph.node.insert(place, entry)


def channels_first(model: ModelProto) -> None:
    """Take the image of a NHWC model as NCHW: its first Transpose is gone, and what comes before it is elementwise."""
    permute_sizes(fed(model)[0], NCHW_OF_NHWC)
    bypass(model, next(node for node in model.graph.node if node.op_type == "Transpose"))


# Float16


def _halved(tensor: TensorProto) -> TensorProto:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, as in any converter without a check
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)


def _halve_attributes(node: NodeProto) -> None:
    for a in node.attribute:
        if a.type == AttributeProto.TENSOR and a.t.data_type == TensorProto.FLOAT:
            a.t.CopyFrom(_halved(a.t))
        if node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
            a.i = TensorProto.FLOAT16


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


# The same operator, written differently


def of_type(model: ModelProto, *types: str) -> list[NodeProto]:
    """The nodes of some operators."""
    return [node for node in model.graph.node if node.op_type in types]


def fold_batch_normalization(model: ModelProto) -> None:
    """Multiply every BatchNormalization into the convolution before it."""
    for node in of_type(model, "BatchNormalization"):
        conv = making(model, node.input[0])
        scale, shift = _affine(model, node)
        weight = array(model, conv.input[1])
        bias = array(model, conv.input[2]) if len(conv.input) > 2 else np.zeros_like(shift)
        conv.input[1:] = [
            add_constant(model, f"{conv.output[0]}/weight", weight * scale.reshape(-1, 1, 1, 1)),
            add_constant(model, f"{conv.output[0]}/bias", bias * scale + shift),
        ]
        conv.output[0] = node.output[0]
        model.graph.node.remove(node)
    drop_unused(model)


def _affine(model: ModelProto, node: NodeProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    gamma, beta, mean, variance = (array(model, name).astype(np.float64) for name in node.input[1:])
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def multiply_and_add(model: ModelProto) -> None:
    """Write every BatchNormalization as Mul and Add."""
    for node in of_type(model, "BatchNormalization"):
        name = node.output[0]
        scale, shift = (
            add_constant(model, f"{name}/{what}", values.reshape(-1, 1, 1))
            for what, values in zip(("scale", "shift"), _affine(model, node), strict=True)
        )
        scaled = helper.make_node("Mul", [node.input[0], scale], [f"{name}/scaled"], f"{name}/mul")
        shifted = helper.make_node("Add", [f"{name}/scaled", shift], [name], f"{name}/add")
        replace(model, node, [scaled, shifted])
    drop_unused(model)


def multiply_matrices(model: ModelProto) -> None:
    """Write every Gemm as MatMul and Add."""
    for node in of_type(model, "Gemm"):
        name = node.output[0]
        weight = array(model, node.input[1])
        stored = add_constant(model, f"{name}/matrix", weight.T if attribute(node, "transB", 0) else weight)
        product = helper.make_node("MatMul", [node.input[0], stored], [f"{name}/product"], f"{name}/matmul")
        added = helper.make_node("Add", [f"{name}/product", node.input[2]], [name], f"{name}/add")
        replace(model, node, [product, added])
    drop_unused(model)


def pad_apart(model: ModelProto) -> None:
    """Let a Pad node of its own pad what convolutions pad."""
    for node in of_type(model, "Conv"):
        pads = attribute(node, "pads")
        if not isinstance(pads, list) or not any(pads):
            continue
        half = len(pads) // 2
        sizes = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
        name = f"{node.output[0]}/padded"
        pad = helper.make_node("Pad", [node.input[0], add_constant(model, f"{name}/sizes", sizes)], [name], name)
        insert(model, node, [pad])
        conv = making(model, node.output[0])
        conv.input[0] = name
        set_attributes(conv, pads=[0] * len(pads))


def pad_automatically(model: ModelProto) -> None:
    """Let convolutions of stride one that keep the size say so by auto_pad."""
    for node in of_type(model, "Conv"):
        size, pads = attribute(node, "kernel_shape"), attribute(node, "pads")
        if isinstance(size, list) and pads == [(k - 1) // 2 for k in size] * 2 and not any(k % 2 == 0 for k in size):
            set_attributes(node, pads=None, auto_pad="SAME_UPPER")


def pad_explicitly(model: ModelProto) -> None:
    """Write the paddings of convolutions of stride one as numbers."""
    for node in of_type(model, "Conv"):
        size = attribute(node, "kernel_shape")
        if isinstance(size, list) and attribute(node, "auto_pad") == b"SAME_UPPER":
            set_attributes(node, auto_pad=None, pads=[(k - 1) // 2 for k in size] + [k // 2 for k in size])


def clip_in_two(model: ModelProto) -> None:
    """Write Clip as Max and Min."""
    for node in of_type(model, "Clip"):
        name = node.output[0]
        low = helper.make_node("Max", [node.input[0], node.input[1]], [f"{name}/low"], f"{name}/max")
        high = helper.make_node("Min", [f"{name}/low", node.input[2]], [name], f"{name}/min")
        replace(model, node, [low, high])


def hard_swish_in_two(model: ModelProto) -> None:
    """Write HardSwish as x times HardSigmoid."""
    for node in of_type(model, "HardSwish"):
        name, x = node.output[0], node.input[0]
        gate = helper.make_node("HardSigmoid", [x], [f"{name}/gate"], f"{name}/gate", alpha=1 / 6, beta=0.5)
        replace(model, node, [gate, helper.make_node("Mul", [x, f"{name}/gate"], [name], f"{name}/mul")])


def mean_by_reduction(model: ModelProto) -> None:
    """Write GlobalAveragePool as ReduceMean, for opsets before 18."""
    rank = len(fed(model)[0].type.tensor_type.shape.dim)
    for node in of_type(model, "GlobalAveragePool"):
        mean = helper.make_node("ReduceMean", node.input, node.output, node.name, axes=range(2, rank), keepdims=1)
        replace(model, node, [mean])


def flatten_by_reshape(model: ModelProto) -> None:
    """Write Flatten as Reshape."""
    for node in of_type(model, "Flatten"):
        sizes = add_constant(model, f"{node.output[0]}/sizes", np.array([0, -1], np.int64))
        replace(model, node, [helper.make_node("Reshape", [node.input[0], sizes], node.output, node.name)])


def subtract_and_divide(model: ModelProto) -> None:
    """Write the rescaling of keras_nhwc, x * a + b, as (x - (-b / a)) / (1 / a)."""
    multiplied, added = of_type(model, "Mul", "Add")[:2]
    factor, shift = array(model, multiplied.input[1]), array(model, added.input[1])
    mean = add_constant(model, "mean", np.full(3, -shift / factor, np.float32))
    deviation = add_constant(model, "deviation", np.full(3, 1 / factor, np.float32))
    centered = helper.make_node("Sub", [multiplied.input[0], mean], ["centered"], "center")
    scaled = helper.make_node("Div", ["centered", deviation], [added.output[0]], "scale")
    replace(model, multiplied, [centered])
    replace(model, making(model, added.output[0]), [scaled])
    drop_unused(model)


def permute_channels(*layers: tuple[str, str]) -> Rewrite:
    """Compute the filters of one layer in another order, and let the next read them so: pairs of outputs' names."""

    def rewrite(model: ModelProto) -> None:
        draw = np.random.default_rng(3)
        for first, second in layers:
            producer, consumer = making(model, first), making(model, second)
            weight, bias = (array(model, name) for name in producer.input[1:])
            order = draw.permutation(len(bias))
            set_input(model, producer, 1, weight[order])
            set_input(model, producer, 2, bias[order])
            set_input(model, consumer, 1, array(model, consumer.input[1])[:, order])

    return rewrite


def dequantize_convolutions(model: ModelProto) -> None:
    """Write QLinearConv as DequantizeLinear, Conv and QuantizeLinear, which have an axis from opset 13 on."""
    next(entry for entry in model.opset_import if entry.domain in {"", "ai.onnx"}).version = 13
    for node in of_type(model, "Split"):  # its sizes were an attribute before
        sizes = np.array(attribute(node, "split"), np.int64)
        node.input.append(add_constant(model, f"{node.output[0]}/sizes", sizes))
        set_attributes(node, split=None)
    for node in of_type(model, "QLinearConv"):
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = node.input
        name = node.output[0]
        scale = np.float32(array(model, x_scale)) * array(model, w_scale).reshape(-1).astype(np.float32)
        stored = add_constant(model, f"{name}/bias_scale", scale)
        zero = add_constant(model, f"{name}/bias_zero", np.zeros(len(scale), np.int32))
        reads = [(x, x_scale, x_zero, None), (w, w_scale, w_zero, 0), (bias, stored, zero, 0)]
        floats = [
            helper.make_node("DequantizeLinear", read, [f"{name}/{i}"], f"{name}/dequantize{i}", axis=axis)
            for i, (*read, axis) in enumerate(reads)
        ]
        conv = helper.make_node("Conv", [f"{name}/{i}" for i in range(3)], [f"{name}/float"], f"{name}/conv")
        conv.attribute.extend(node.attribute)
        back = helper.make_node("QuantizeLinear", [f"{name}/float", y_scale, y_zero], [name], f"{name}/quantize")
        replace(model, node, [*floats, conv, back])


# Torch's two exporters


class Residual(nn.Module):
    """A small network with batch normalization, a residual connection and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.features = nn.Sequential(
            nn.SiLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(12, 20, 3), nn.GELU(), nn.Dropout(0.3)
        )
        self.scores = nn.Linear(20, 6)
        self.box = nn.Sequential(nn.LayerNorm(20), nn.Linear(20, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two outputs of images (N, 3, 32, 32): probabilities (N, 6) and numbers (N, 4)."""
        x = self.stem(x)
        x = self.features(x + self.pointwise(self.depthwise(x)))
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        return torch.softmax(self.scores(pooled), 1), self.box(pooled)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let exporters warn of what they deprecate, and print and log what they do."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def residual() -> Residual:
    """The small network with seeded weights, statistics as after a training, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = Residual()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
                module.running_mean = torch.randn(module.num_features) * 0.3
                module.running_var = torch.rand(module.num_features) * 0.5 + 0.02
    return network.eval()


@functools.cache
def exported(*, dynamo: bool, version: int, folded: bool = True) -> ModelProto:
    """The small network as one of the exporters writes it; without `folded`, its BatchNormalization stands alone."""
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "residual.onnx"
        torch.onnx.export(
            residual(),
            (images,),
            path,
            dynamo=dynamo,
            external_data=False,
            opset_version=version,
            input_names=["images"],
            output_names=["scores", "box"],
            training=mode,
            do_constant_folding=folded,
        )
        return onnx.load(path)


def exported_again(*, dynamo: bool, version: int, folded: bool = True) -> Callable[[ModelProto], ModelProto]:
    """Export the small network in another way, whatever the first file was."""

    def make(_: ModelProto) -> ModelProto:
        twin = ModelProto()
        twin.CopyFrom(exported(dynamo=dynamo, version=version, folded=folded))
        return twin

    return make


_CELLS = """<ir_version: 8, opset_import: ["": 20]> cells (float[1,4,16,16] image) => (float[1,8] y) {
  conv1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, conv1_weight, conv1_bias)
  lrn1 = LRN <size = 3, alpha = 0.5, beta = 0.75, bias = 1.0> (conv1)
  leaky1 = LeakyRelu <alpha = 0.1> (lrn1)
  conv2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (leaky1, conv2_weight, conv2_bias)
  instance2 = InstanceNormalization <epsilon = 1e-5> (conv2, instance2_scale, instance2_bias)
  elu2 = Elu <alpha = 1.0> (instance2)
  pool2 = AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (elu2)
  conv3 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (pool2, conv3_weight, conv3_bias)
  sigmoid3 = HardSigmoid <alpha = 0.2, beta = 0.5> (conv3)
  average = GlobalAveragePool (sigmoid3)
  features = Flatten (average)
  hidden = Gemm <transB = 1> (features, hidden_weight, hidden_bias)
  norm = LayerNormalization <epsilon = 1e-5> (hidden, norm_scale, norm_bias)
  gelu = Gelu <approximate = "none"> (norm)
  y = Gemm <transB = 1> (gelu, y_weight, y_bias)
}"""
_CELL_SIZES = {
    "conv1_weight": (8, 4, 3, 3),
    "conv1_bias": (8,),
    "conv2_weight": (8, 8, 3, 3),
    "conv2_bias": (8,),
    "instance2_scale": (8,),
    "instance2_bias": (8,),
    "conv3_weight": (8, 8, 3, 3),
    "conv3_bias": (8,),
    "hidden_weight": (8, 8),
    "hidden_bias": (8,),
    "norm_scale": (8,),
    "norm_bias": (8,),
    "y_weight": (8, 8),
    "y_bias": (8,),
}


@functools.cache
def cells() -> ModelProto:
    """Operators that few files have, in one small network with seeded weights."""
    model = onnx.parser.parse_model(_CELLS)
    draw = np.random.default_rng(4)
    for name, shape in _CELL_SIZES.items():
        center, spread = {"weight": (0, 2 / np.sqrt(np.prod(shape[1:]))), "scale": (1, 0.5), "bias": (0, 0.2)}[
            name.partition("_")[2]
        ]
        add_constant(model, name, draw.normal(center, spread, shape).astype(np.float32))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


RESIDUAL, CELLS = "residual by torch", "cells by hand"
GENERATED: dict[str, Callable[[], ModelProto]] = {
    RESIDUAL: functools.partial(exported, dynamo=False, version=13, folded=False),
    CELLS: cells,
}
LAST = NHWC_OF_NCHW
BASIC, EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
BLOBS, GREY, KERAS, SIGNALS = "blobs.onnx", "grey.onnx", "keras_nhwc.onnx", "signals.onnx"
TEXTURES, TEXTURES_INT8, VOLUMES = "textures.onnx", "textures_int8.onnx", "volumes.onnx"
SQUEEZENET, MOBILENET, TRUNK = (
    "squeezenet1_1_fp32_upcast.onnx",
    "cls_mobilenetv2_050_128_st.onnx",
    "mobilenet_v1_1.0_224_trunk.onnx",
)
SHUFFLENET, SHUFFLENET_INT8 = "shufflenet_v2_12_dequantized.onnx", "in_shufflenet_v2_12_int8.onnx"
CIFAR, MNIST, ESPCN = "cls_cifar10_cnn_torch.onnx", "cls_mnist_cntk_opset8.onnx", "sr_subpixel_espcn_x3.onnx"
YUNET, DEEPLAB, CANDY = "face_yunet_n_dynamic.onnx", "seg_deeplabv3_mnv2_dm05.onnx", "style_candy.onnx"
VITTRACK = "track_vittrack.onnx"
GTCRN, SILERO, PITCH = "audio_gtcrn_simple.onnx", "audio_silero_vad_16k_op15.onnx", "audio_basic_pitch_nmp.onnx"


def label(source: str) -> str:
    """A source's name in the names of its twins."""
    return source.removesuffix(".onnx")


def _honest(source: str, kind: str, what: str, make: Callable[[ModelProto], ModelProto], **more: object) -> Honest:
    return Honest(name=f"{label(source)}: {what}", source=source, kind=kind, make=make, **more)  # type: ignore[arg-type]


def _edited(source: str, kind: str, what: str, *rewrites: Rewrite, **more: object) -> Honest:
    def rewrite(model: ModelProto) -> None:
        for step in rewrites:
            step(model)

    return _honest(source, kind, what, editing(rewrite), **more)


_VERSIONS = {
    BLOBS: (18,),
    TEXTURES: (18, 20, 21),
    SIGNALS: (21,),
    VOLUMES: (20,),
    KERAS: (20,),
    SQUEEZENET: (11, 13, 18),
    CIFAR: (13, 17, 21),
    MNIST: (11, 13),
    SHUFFLENET: (13, 18),
    MOBILENET: (17, 20),
    YUNET: (13, 18),
    VITTRACK: (18,),
    DEEPLAB: (10,),
    GTCRN: (17,),
    ESPCN: (13,),
}
_BY_ONNXRUNTIME = {
    BASIC: (TEXTURES, KERAS, SQUEEZENET, SHUFFLENET, MOBILENET, VITTRACK, YUNET, GTCRN, TEXTURES_INT8),
    EXTENDED: (TEXTURES, KERAS, SIGNALS, VOLUMES, CIFAR, MNIST, MOBILENET, VITTRACK, ESPCN),
}
_BY_ONNXSCRIPT = (TEXTURES, KERAS, CIFAR, MOBILENET, VITTRACK, YUNET, RESIDUAL)
_EXPORTS = (
    (False, 11, True),
    (False, 17, True),
    (False, 20, False),
    (True, 18, True),
    (True, 20, True),
    (True, 21, True),
)

_FIRST_TWO = ("conv1_1", "fire2/squeeze1x1_1")  # of squeezenet: nobody else reads the first

HONEST: Sequence[Honest] = (
    *(
        _honest(source, "opset", f"opset {version}", at_opset(version))
        for source, versions in _VERSIONS.items()
        for version in versions
    ),
    # Its last number has steps of 1/255, and one step is what another rounding inside may cost.
    _honest(TEXTURES_INT8, "opset", "opset 21", at_opset(21), tolerance=5e-2),
    *(
        _honest(
            source,
            "onnxruntime",
            f"optimized by onnxruntime, {level.name}",
            optimized_by_onnxruntime(level),
            valid=level is BASIC or source not in {MNIST, VITTRACK},
        )
        for level, sources in _BY_ONNXRUNTIME.items()
        for source in sources
    ),
    *(_honest(s, "onnxscript", "optimized by onnxscript", optimized_by_onnxscript) for s in _BY_ONNXSCRIPT),
    *(
        _honest(
            RESIDUAL,
            "exporter",
            f"{'dynamo' if dynamo else 'TorchScript'}, opset {version}{'' if folded else ', not folded'}",
            exported_again(dynamo=dynamo, version=version, folded=folded),
        )
        for dynamo, version, folded in _EXPORTS
    ),
    _edited(MOBILENET, "folded", "batch normalization folded", fold_batch_normalization),
    _edited(TRUNK, "folded", "batch normalization folded", fold_batch_normalization),
    _edited(RESIDUAL, "folded", "batch normalization folded", fold_batch_normalization),
    _edited(MOBILENET, "rewritten", "batch normalization as Mul and Add", multiply_and_add),
    _edited(TRUNK, "rewritten", "batch normalization as Mul and Add", multiply_and_add),
    _edited(SQUEEZENET, "identity", "Dropout removed", drop_dropout),
    _edited(TEXTURES, "identity", "Identity everywhere", insert_identities),
    _edited(CIFAR, "identity", "Identity everywhere", insert_identities),
    *(
        _edited(s, "renamed", "all names replaced", rename_all)
        for s in (TEXTURES, KERAS, SIGNALS, SQUEEZENET, VITTRACK, YUNET)
    ),
    *(_edited(s, "reordered", "nodes in another order", reorder_nodes) for s in (SQUEEZENET, VITTRACK, YUNET)),
    *(_edited(s, "constants", "initializers as Constant", constants_from_initializers) for s in (TEXTURES, SQUEEZENET)),
    *(_edited(s, "constants", "Constant as initializers", initializers_from_constants) for s in (CIFAR, VITTRACK)),
    *(_edited(s, "constants", "initializers among the inputs", list_initializers_as_inputs) for s in (CIFAR, GREY)),
    _edited(SQUEEZENET, "sizes", "dynamic batch", with_sizes("N", None, None, None)),
    _edited(DEEPLAB, "sizes", "dynamic batch", with_sizes("N", None, None, None)),
    _edited(TEXTURES, "sizes", "fixed batch", with_sizes(1, None, None, None)),
    _edited(VOLUMES, "sizes", "fixed batch", with_sizes(1, None, None, None, None)),
    _edited(TEXTURES, "sizes", "dynamic height and width", with_sizes(None, None, "H", "W")),
    _edited(SQUEEZENET, "sizes", "dynamic height and width", with_sizes(None, None, "H", "W")),
    _edited(YUNET, "sizes", "fixed size", with_sizes(1, None, 100, 120)),
    *(
        _edited(s, "layout", "NHWC, transposed first", channels_last_outside, input_axes={0: LAST})
        for s in (TEXTURES, SQUEEZENET, CIFAR, MOBILENET)
    ),
    *(_edited(s, "layout", "NHWC inside", channels_last_inside, input_axes={0: LAST}) for s in (TEXTURES, GREY, BLOBS)),
    _edited(SQUEEZENET, "layout", "NHWC inside", channels_last_inside, input_axes={0: LAST}, output_axes={0: LAST}),
    _edited(KERAS, "layout", "NCHW", channels_first, input_axes={0: NCHW_OF_NHWC}),
    _edited(SQUEEZENET, "float16", "float16", to_float16(keep_io=False), tolerance=2e-2),
    *(
        _edited(s, "float16", "float16 between float32 ends", to_float16(keep_io=True), tolerance=2e-2)
        for s in (TEXTURES, SIGNALS, BLOBS, CIFAR, MOBILENET)
    ),
    *(_edited(s, "rewritten", "Gemm as MatMul and Add", multiply_matrices) for s in (TEXTURES, BLOBS, CIFAR)),
    *(_edited(s, "padding", "Pad apart", pad_apart) for s in (TEXTURES, SIGNALS)),
    *(_edited(s, "padding", "auto_pad", pad_automatically) for s in (SQUEEZENET, VOLUMES)),
    _edited(MNIST, "padding", "pads as numbers", pad_explicitly),
    _edited(MOBILENET, "rewritten", "Clip as Max and Min", clip_in_two),
    _edited(VITTRACK, "rewritten", "HardSwish as x HardSigmoid", hard_swish_in_two),
    *(_edited(s, "rewritten", "average by ReduceMean", mean_by_reduction) for s in (TEXTURES, SQUEEZENET, VOLUMES)),
    *(_edited(s, "rewritten", "Flatten as Reshape", flatten_by_reshape) for s in (TEXTURES, SIGNALS)),
    _edited(KERAS, "rewritten", "rescaling as Sub and Div", subtract_and_divide),
    _edited(TEXTURES, "permuted", "channels permuted", permute_channels(("conv2", "conv3")), permuted=True),
    _edited(CIFAR, "permuted", "channels permuted", permute_channels(("47", "50"), ("53", "56")), permuted=True),
    _edited(SQUEEZENET, "permuted", "channels permuted", permute_channels(_FIRST_TWO), permuted=True),
    _edited(SHUFFLENET_INT8, "quantization", "Conv between QuantizeLinear", dequantize_convolutions, tolerance=5e-2),
)
