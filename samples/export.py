"""Write a `ConvNet` as ONNX, each node named after the tensor that it computes, and check what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from convnet import ConvNet, Convolution, Design
from metadata import AUTHOR, LAYOUTS, input_metadata
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True)
class Description:
    """What a file says about itself.

    Attributes:
        name: Of the graph.
        script: The script that wrote it.
        text: One sentence.
        input: The name of the input.
        dense: The name of the dense layer.
        metadata: What the input and the outputs mean.
        softmax: Whether class probabilities follow, or the dense layer is the output.
    """

    name: str
    script: str
    text: str
    input: str
    dense: str
    metadata: Mapping[str, str]
    softmax: bool = True

    @property
    def output(self) -> str:
        """The name of the output."""
        return "probabilities" if self.softmax else self.dense


def described(design: Design, bounds: tuple[int, int], labels: Sequence[str]) -> dict[str, str]:
    """State what the input and the outputs of a network mean, in onnxvis's words."""
    return input_metadata(
        bounds=bounds,
        mean=design.mean,
        std=design.std,
        channels=design.shape[0],
        layout=LAYOUTS[design.axes],
        labels=labels,
    )


def write(path: Path, network: ConvNet, description: Description, inputs: Tensor) -> None:
    """Write a file, and compare onnxruntime on it with torch on some inputs."""
    onnx.save(to_onnx(network, description), path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")
    error = parity(path, network, description, inputs)
    print(f"onnxruntime against torch: max abs error {error:.1e}")


def parity(path: Path, network: ConvNet, description: Description, inputs: Tensor) -> float:
    """Compare onnxruntime on the written file with torch: the largest error of an output."""
    design = network.design
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {description.input: ((inputs - design.mean) / design.std).numpy()})
    with torch.no_grad():
        outputs = network(inputs)
    expected = outputs.softmax(1) if description.softmax else outputs
    return float(np.abs(found - expected.numpy()).max())


def to_onnx(network: ConvNet, description: Description) -> onnx.ModelProto:
    """Write a network as a checked ONNX model, from normalized inputs to its outputs."""
    design = network.design
    x = helper.make_tensor_value_info(description.input, onnx.TensorProto.FLOAT, ["N", *design.shape])
    y = helper.make_tensor_value_info(description.output, onnx.TensorProto.FLOAT, ["N", design.outputs])
    weights = initializers(network, description.dense)
    graph = helper.make_graph(graph_nodes(design, description), description.name, [x], [y], weights)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=f"onnxvis/samples/{description.script}",
        doc_string=description.text,
    )
    helper.set_model_props(model, {**description.metadata, **AUTHOR})
    onnx.checker.check_model(model, full_check=True)
    return model


def graph_nodes(design: Design, description: Description) -> list[onnx.NodeProto]:
    """List the operators from the input to the output."""
    nodes, x, axes = [], description.input, design.axes

    def add(op_type: str, name: str, *weights: str, **attributes: Any) -> None:
        nonlocal x
        nodes.append(helper.make_node(op_type, [x, *weights], [name], name=name, **attributes))
        x = name

    for index in range(design.blurs):
        add("AveragePool", f"blur{index + 1}", kernel_shape=[3] * axes, pads=[1] * 2 * axes)
    for index, kernel in enumerate(design.kernels):
        name = f"conv{index + 1}"
        sizes = {"kernel_shape": [kernel] * axes, "pads": [kernel // 2] * 2 * axes}
        add("Conv", name, f"{name}.weight", f"{name}.bias", **sizes)
        add("Relu", f"relu{index + 1}")
        if index in design.pooled:
            add("AveragePool", f"pool{index + 1}", kernel_shape=[2] * axes, strides=[2] * axes)
    add("GlobalAveragePool", "average")
    add("Flatten", "features")
    add("Gemm", description.dense, f"{description.dense}.weight", f"{description.dense}.bias", transB=1)
    if description.softmax:
        add("Softmax", description.output, axis=1)
    return nodes


def initializers(network: ConvNet, dense: str) -> list[onnx.TensorProto]:
    """Collect the weights, with each batch normalization folded into the convolution before it."""
    layers: list[tuple[str, Convolution | nn.Linear]] = [
        (f"conv{number}", fuse_conv_bn_eval(convolution, norm))
        for number, (convolution, norm) in enumerate(network.blocks(), start=1)
    ]
    layers.append((dense, network.dense))
    return [
        numpy_helper.from_array(tensor.detach().numpy(), f"{name}.{kind}")
        for name, layer in layers
        for kind, tensor in layer.named_parameters()
    ]
