from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxvis.model import load
from tests.models import parsed

WEIGHTS = {
    "w": (8, 3, 3, 3),
    "w1": (1, 8, 1, 1),
    "wide": (6, 5),
    "flat": (192, 5),
    "tokens": (8, 5),
    "rows": (5, 8),
    "mixing": (24, 24),
    "slope": (8, 1, 1),
}


def axis(nodes: str, image: str = "1, 3, 4, 6", opset: int = 17) -> int | None:
    """Return the channel axis of y, where `nodes` compute y from the image x and h = Conv(x), (N, 8, H, W)."""
    text = f"""
    <ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1, "my": 1]>
    g (float[{image}] x) => (float[1] z)
    {{ h = Conv <pads = [1, 1, 1, 1]> (x, w)  {nodes}  z = my.Sink (y) }}"""
    weights = {name: np.ones(shape, np.float32) for name, shape in WEIGHTS.items()}
    return load(parsed(text, **weights)).channel_axes.get("y")


def shaped(dims: str, source: str = "h", name: str = "y") -> str:
    """Write a Reshape to constant sizes."""
    return f"s_{name} = Constant <value_ints = [{dims}]> ()  {name} = Reshape ({source}, s_{name})"


NHWC = "t = Transpose <perm = [0, 2, 3, 1]> (h)"
TOKENS = shaped("1, 8, 24", name="c") + "  t = Transpose <perm = [0, 2, 1]> (c)"
AXES = "a = Constant <value_ints = [{}]> ()  "


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Identity (h)", 1),
        ("y = MaxPool <kernel_shape = [2, 2]> (x)", 1),
        ("y = GlobalAveragePool (h)", 1),
        ("y = PRelu (h, slope)", 1),
        ("y = Transpose <perm = [0, 2, 3, 1]> (h)", 3),
        ("y = Transpose (h)", 2),
        (NHWC + " y = Relu (t)", 3),
        (NHWC + " y = LeakyRelu (t)", 3),
        (NHWC + " y = MatMul (t, tokens)", 3),
        (NHWC + " u = Transpose <perm = [0, 3, 1, 2]> (t)  y = Softmax <axis = 1> (u)", 1),
        ("y = Flatten (h)", 1),
        ("f = Flatten (h)  y = Gemm (f, flat)", 1),
        ("f = Flatten (h)  g = MatMul (f, flat)  y = Softmax (g)", 1),
        ("y = Flatten (x)", 1),
        (shaped("1, 8, 24"), 1),
        (shaped("8, 24"), 0),
        (shaped("1, 8, 4, 6, 1"), 1),
        (shaped("1, 192"), 1),
        ("p = GlobalAveragePool (h)  " + shaped("1, 8", "p"), 1),
        (TOKENS + "  y = Relu (t)", 2),
        (TOKENS + "  y = MatMul (t, tokens)", 2),
        (TOKENS + "  y = Identity (t)", 2),
        (TOKENS + "  k = Constant <value_int = 0> ()  y = Gather <axis = 1> (t, k)", 1),
        (TOKENS + "  k = Constant <value_ints = [0, 2]> ()  y = Gather <axis = 2> (t, k)", 2),
        (shaped("1, 8, 24", name="c") + "  y = MatMul (rows, c)", 1),
        ("y = ReduceMean <axes = [2, 3], keepdims = 0> (h)", 1),
        ("y = ReduceMean <axes = [-1], keepdims = 1> (h)", 1),
        (NHWC + " y = ReduceMean <axes = [1, 2], keepdims = 0> (t)", 1),
        (AXES.format("0") + "y = Squeeze (h, a)", 0),
        ("y = Squeeze (h)", 0),
        (AXES.format("2, -1") + "p = GlobalAveragePool (h)  y = Squeeze (p, a)", 1),
        (AXES.format("1") + "y = Unsqueeze (h, a)", 2),
        (AXES.format("-1") + "y = Unsqueeze (h, a)", 1),
        ("y = Concat <axis = 1> (h, h)", 1),
        (NHWC + " y = Concat <axis = 3> (t, t)", 3),
        ("y, y2 = Split <axis = 1> (h)", 1),
        ("y = Mul (h, w1)", 1),
        ("y = Add (w1, h)", 1),
        (NHWC + " p = ReduceMean <axes = [0, 1, 2], keepdims = 0> (t)  y = Add (t, p)", 3),
        ("r = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()  y = Resize (h, , r)", 1),
        ("p = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> ()  y = Pad (h, p)", 1),
        ("y = com.microsoft.Gelu (h)", 1),
    ],
)
def test_the_channel_axis_is_followed(nodes: str, expected: int) -> None:
    assert axis(nodes) == expected


def test_a_channel_shuffle_is_followed_through_its_split_and_merge() -> None:
    split = shaped("1, 2, 4, 4, 6", name="g")
    mixed = split + "  m = Transpose <perm = [0, 2, 1, 3, 4]> (g)  "
    assert axis(split + "  y = Identity (g)") is None
    assert axis(mixed + "y = Identity (m)") is None
    assert axis(mixed + shaped("1, 8, 4, 6", "m")) == 1


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu (x)",
        "y = my.Conv (x)",
        "y = my.Unknown (h)",
        TOKENS + "  y = MatMul (t, c)",
        TOKENS + "  y = ReduceMean <axes = [2], keepdims = 0> (t)",
        "y = ReduceMean <axes = [1], keepdims = 1> (h)",
        "y = ReduceMean <keepdims = 0> (h)",
        shaped("4, 8, 6"),
        shaped("32, 6"),
        shaped("1, 4, 8, 6"),
        shaped("1, 2, 96"),
        "y = Flatten <axis = 3> (h)",
        "y = Flatten <axis = 2> (x)",
        "e = Flatten <axis = 3> (h)  y = Relu (e)",
        TOKENS + '  y = Einsum <equation = "bij,bjk->bik"> (c, t)',
        "k = Constant <value_int = 0> ()  y = Gather <axis = 1> (h, k)",
        AXES.format("1") + "c1 = ReduceMean <axes = [1], keepdims = 1> (h)  y = Squeeze (c1, a)",
        "i = Shape (x)  y = Tile (x, i)",
        "y = ArgMax <axis = 1> (h)",
    ],
)
def test_what_cannot_be_told_is_unknown(nodes: str) -> None:
    assert axis(nodes) is None


def test_contradicting_inputs_are_unknown() -> None:
    square = "1, 3, 8, 8"
    assert axis(NHWC + "  y = Add (h, t)", square) is None
    assert axis(NHWC + "  y = Add (t, t)", square) == 3


def test_one_channel_for_all_is_no_contradiction() -> None:
    gate = "p = ReduceMean <axes = [2, 3], keepdims = 0> (h)  q = MatMul (p, tokens)"
    one = "s = Constant <value_ints = [-1]> ()  r = ReduceMean <axes = [2, 3], keepdims = 1> (h)"
    assert axis(one + "  y = Mul (h, r)") == 1
    assert axis(gate + "  u = ReduceMean <axes = [1], keepdims = 1> (q)  y = Mul (h, u)") == 1


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Relu (h)", 1),
        ("f = Flatten (h)  y = Relu (f)", 1),
        (shaped("0, 8, -1"), 1),
        (shaped("0, 0, -1"), 1),
        (shaped("-1, 8"), None),
        (NHWC + "  y = Sigmoid (t)", 3),
    ],
)
def test_open_sizes_are_followed_or_unknown(nodes: str, expected: int | None) -> None:
    assert axis(nodes, "N, 3, H, W") == expected


def test_a_plain_feature_vector_is_a_batch_of_units() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[N, 6] x) => (float[N, 6] y)
    { a = Relu (x)  y = Softmax (a) }"""
    assert load(parsed(text)).channel_axes == {"x": 1, "a": 1, "y": 1}


def test_attention_scores_have_no_channels_and_its_values_do() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 7, 6] x) => (float[1, 7, 5] y)
    {
        q = MatMul (x, wide)  k = MatMul (x, wide)  v = MatMul (x, wide)
        kt = Transpose <perm = [0, 2, 1]> (k)  scores = MatMul (q, kt)  weights = Softmax (scores)
        y = MatMul (weights, v)
    }"""
    axes = load(parsed(text, wide=np.ones((6, 5), np.float32))).channel_axes
    assert axes == {"q": 2, "k": 2, "v": 2, "kt": 1, "y": 2}


def test_the_axes_of_real_models_have_the_sizes_of_their_layers(shared_models: Path) -> None:
    for name in ("seg_deeplabv3_mnv2_dm05", "face_mesh_landmark_nhwc", "shufflenet_v2_12_dequantized"):
        nodes = load(shared_models / f"{name}.onnx").nodes
        convolutions = [node for node in nodes if node.op_type == "Conv"]
        assert convolutions
        assert {node.channel_axis for node in convolutions} == {1}
        known = [node for node in nodes if node.channel_axis is not None]
        assert len(known) > 0.8 * len(nodes)
