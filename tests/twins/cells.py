"""Operators that few files have, in one small network."""

from __future__ import annotations

import functools

import numpy as np
import onnx.parser
from onnx import ModelProto

from tests.twins.edits import add_constant

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
