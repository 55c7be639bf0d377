"""The small models that are mutated: branches, loops, functions, shape arithmetic, quantization, an LSTM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from tests.models import CONV_NET_SHAPES, conv_net, parsed, random_weights

BRANCH = """
<ir_version: 8, opset_import: ["": 17]>
branch (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
{
    yes = Constant <value = bool {1}> ()
    h = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    y = If (yes) <
        then_branch = t () => (float[1, 4, 8, 8] p) { q = Relu (h)  p = Add (q, h) },
        else_branch = e () => (float[1, 4, 8, 8] r) { r = Neg (h) }
    >
}
"""
LOOP = """
<ir_version: 8, opset_import: ["": 17]>
loop (float[1, 4] x) => (float[1, 4] y, float[3, 1, 4] all)
{
    count = Constant <value = int64 {3}> ()
    yes = Constant <value = bool {1}> ()
    y, all = Loop (count, yes, x) <
        body = b (int64 i, bool c, float[1, 4] s) => (bool d, float[1, 4] n, float[1, 4] o)
        { d = Identity (c)  two = Constant <value = float {2.0}> ()  n = Mul (s, two)  o = Tanh (n) }
    >
}
"""
FUNCTION = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
calls (float[1, 3, 8, 8] x) => (float[1, 4, 4, 4] y)
{ h = local.block (x, w1, b1)  y = local.half (h) }
<domain: "local", opset_import: ["": 17, "local": 1]>
block (a, w, b) => (c) { t = Conv <pads = [1, 1, 1, 1]> (a, w, b)  c = Relu (t) }
<domain: "local", opset_import: ["": 17]>
half (a) => (b) { b = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a) }
"""
SHAPES = """
<ir_version: 8, opset_import: ["": 17]>
shapes (float[1, 3, 8, 8] x) => (float[1, 96] y, float[1, 3, 16, 16] z, float[2, 3, 8, 8] t)
{
    pads = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> ()
    padded = Pad (x, pads)
    starts = Constant <value_ints = [0, 0]> ()
    ends = Constant <value_ints = [8, 4]> ()
    axes = Constant <value_ints = [2, 3]> ()
    cut = Slice (padded, starts, ends, axes)
    size = Constant <value_ints = [1, -1]> ()
    y = Reshape (cut, size)
    scales = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()
    z = Resize <mode = "linear"> (x, , scales)
    times = Constant <value_ints = [2, 1, 1, 1]> ()
    tiled = Tile (x, times)
    full = Constant <value_ints = [2, 3, 8, 8]> ()
    ones = ConstantOfShape <value = float[1] {1.0}> (full)
    summed = Add (tiled, ones)
    wide = Expand (summed, full)
    first = Constant <value = int64 {0}> ()
    last = Constant <value = int64 {8}> ()
    step = Constant <value = int64 {1}> ()
    numbers = Range (first, last, step)
    floats = Cast <to = 1> (numbers)
    t = Mul (wide, floats)
}
"""
QUANTIZED = """
<ir_version: 8, opset_import: ["": 17]>
quantized (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
{
    q = QuantizeLinear (x, xs, xz)
    d = DequantizeLinear (q, xs, xz)
    w = DequantizeLinear <axis = 0> (w8, ws, wz)
    h = Conv <pads = [1, 1, 1, 1]> (d, w)
    y = Relu (h)
}
"""
RECURRENT = """
<ir_version: 8, opset_import: ["": 17]>
recurrent (float[4, 1, 3] x) => (float[4, 2] y)
{
    h, last = LSTM <hidden_size = 2> (x, w, r)
    axes = Constant <value_ints = [1, 2]> ()
    y = Squeeze (h, axes)
}
"""


def _seed_models() -> Iterator[onnx.ModelProto]:
    weights = random_weights(CONV_NET_SHAPES)
    yield conv_net()
    yield parsed(BRANCH, w1=weights["w1"], b1=weights["b1"])
    yield onnx.parser.parse_model(LOOP)
    yield parsed(FUNCTION, w1=weights["w1"], b1=weights["b1"])
    yield onnx.parser.parse_model(SHAPES)
    integers = np.random.default_rng(0).integers(-128, 128, (4, 3, 3, 3), np.int8)
    scale, zero = np.full(4, 0.01, np.float32), np.zeros(4, np.int8)
    point = np.array(0, np.uint8)
    yield parsed(QUANTIZED, xs=scale[0].reshape(()), xz=point, w8=integers, ws=scale, wz=zero)
    yield parsed(RECURRENT, **random_weights({"w": (1, 8, 3), "r": (1, 8, 2)}))


SEEDS = tuple(model.SerializeToString(deterministic=True) for model in _seed_models())
