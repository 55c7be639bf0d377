"""Small models for the tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

CONV_NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, 16, 16] image) => (float[N, 5] probabilities)
{
    conv1 = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    relu1 = Relu (conv1)
    pool1 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (relu1)
    conv2 = Conv <pads = [1, 1, 1, 1]> (pool1, w2, b2)
    relu2 = Relu (conv2)
    pooled = GlobalAveragePool (relu2)
    features = Flatten (pooled)
    logits = Gemm <transB = 1> (features, w3, b3)
    probabilities = Softmax <axis = 1> (logits)
}
"""
CONV_NET_SHAPES = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (6, 4, 3, 3), "b2": (6,), "w3": (5, 6), "b3": (5,)}


def parsed(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """Parse a model's text and give it weights."""
    proto = onnx.parser.parse_model(text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Draw weights with the usual scale, so that nothing explodes or dies."""
    generator = np.random.default_rng(seed)
    drawn = {}
    for name, shape in shapes.items():
        scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        drawn[name] = (generator.standard_normal(shape) * scale).astype(np.float32)
    return drawn


def conv_net(**changed: np.ndarray) -> onnx.ModelProto:
    """A classifier of 16x16 RGB images with two convolutions and five classes."""
    return parsed(CONV_NET, **random_weights(CONV_NET_SHAPES) | changed)
