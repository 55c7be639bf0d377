"""The same operator, written differently."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from tests.twins.edits import (
    Rewrite,
    add_constant,
    array,
    attribute,
    drop_unused,
    fed,
    insert,
    making,
    of_type,
    replace,
    set_attributes,
    set_input,
)


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


def _affine(model: ModelProto, node: NodeProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    gamma, beta, mean, variance = (array(model, name).astype(np.float64) for name in node.input[1:])
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


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
