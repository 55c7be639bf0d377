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
    "one": (1, 1, 1, 1),
    "two": (2,),
    "six": (6,),
    "eight": (8,),
    "w16": (16, 3, 3, 3),
    "gru_w": (1, 15, 8),
    "gru_r": (1, 15, 5),
    "gru_w2": (2, 15, 8),
    "gru_r2": (2, 15, 5),
    "half": (),
}
INTEGERS = {"zero": (), "w8": (8, 8, 1, 1), "tokens8": (8, 5)}


def axis(nodes: str, image: str = "1, 3, 4, 6", opset: int = 17) -> int | None:
    """Return the channel axis of y, where `nodes` compute y from the image x and h = Conv(x), (N, 8, H, W)."""
    text = f"""
    <ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1, "my": 1]>
    g (float[{image}] x) => (float[1] z)
    {{ h = Conv <pads = [1, 1, 1, 1]> (x, w)  {nodes}  z = my.Sink (y) }}"""
    weights = {name: np.ones(shape, np.float32) for name, shape in WEIGHTS.items()}
    weights |= {name: np.ones(shape, np.uint8) for name, shape in INTEGERS.items()}
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


def reshaped(before: str, first: str, perm: str, second: str) -> str:
    """Write y: `before` reshaped, transposed, and reshaped again."""
    split = shaped(first, before, "first")
    return f"{split}  moved = Transpose <perm = [{perm}]> (first)  {shaped(second, 'moved')}"


SCORES = "k = Transpose <perm = [0, 2, 1]> (t)  scores = MatMul (t, k)  a = Softmax (scores)  "
HEADS = (
    f"{TOKENS}  {shaped('1, 24, 2, 4', 't', 'parts')}  v = Transpose <perm = [0, 2, 1, 3]> (parts)  "
    "k = Transpose <perm = [0, 1, 3, 2]> (v)  scores = MatMul (v, k)  a = Softmax (scores)  o = MatMul (a, v)  "
)
BOTH_WAYS = TOKENS + '  g, g_h = GRU <hidden_size = 5, direction = "bidirectional"> (t, gru_w2, gru_r2)  '
QUANTIZED = "q = QuantizeLinear ({}, half, zero)  "
GRAM = QUANTIZED.format("t") + "r = Transpose <perm = [0, 2, 1]> (q)  "
SCALES = "half, zero, half, zero"
DEQUANTIZED = "y = DequantizeLinear (p, half, zero)"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (HEADS + f"b = Transpose <perm = [0, 2, 1, 3]> (o)  {shaped('1, 24, 8', 'b')}", 2),
        (HEADS + "y = Identity (a)", None),
        (HEADS + "y = Identity (o)", None),
        (shaped("6, 24", "h", "f") + "  " + shaped("1, 2, 3, 24", "f", "g") + "  y = Relu (g)", None),
        (NHWC + "  " + reshaped("t", "1, 2, 2, 3, 2, 8", "0, 1, 3, 2, 4, 5", "6, 4, 8"), 2),
        (reshaped("h", "16, 2, 3, 2", "0, 2, 1, 3", "1, 8, 6, 4"), 1),
        (reshaped("h", "1, 2, 2, 2, 4, 6", "0, 1, 4, 2, 5, 3", "1, 2, 8, 12"), None),
    ],
)
def test_channels_are_found_again_behind_heads_windows_and_unfolded_patches(nodes: str, expected: int | None) -> None:
    assert axis(nodes) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (f"{shaped('1, 2, 96', 'h', 'g')}  n = InstanceNormalization (g, two, two)  {shaped('1, 8, 4, 6', 'n')}", 1),
        (f"{shaped('1, 2, 96', 'h', 'g')}  y = InstanceNormalization (g, two, two)", None),
        ("d = ReduceMean <axes = [1]> (h)  c1 = Conv (d, one)  y = Concat <axis = 1> (c1, c1)", 1),
        ("y = LayerNormalization <axis = -1> (h, six)", 1),
        (TOKENS + "  y = LayerNormalization <axis = -1> (t, eight)", 2),
        (TOKENS + "  n, y = LayerNormalization <axis = -1> (t, eight)", None),
        (TOKENS + '  y = Einsum <equation = "btc,cd->btd"> (t, tokens)', 2),
        (TOKENS + "  " + SCORES + 'y = Einsum <equation = "bqk,bkc->bqc"> (a, t)', 2),
        (f"{TOKENS}  {shaped('1, 24, 2, 4', 't', 'p')}  " + 'y = Einsum <equation = "bqhd,bkhd->bhqk"> (p, p)', None),
        (TOKENS + "  y, y_h = GRU <hidden_size = 5> (t, gru_w, gru_r)", 3),
        (BOTH_WAYS + "y = Identity (g)", None),
        (BOTH_WAYS + f"m = Transpose <perm = [0, 2, 1, 3]> (g)  {shaped('1, 24, 10', 'm')}", 2),
    ],
)
def test_the_axis_that_an_operator_works_on_is_not_taken_for_the_channels(nodes: str, expected: int | None) -> None:
    assert axis(nodes) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (f"{NHWC}  {QUANTIZED.format('t')} y = DequantizeLinear (q, half, zero)", 3),
        (f"{QUANTIZED.format('h')} p = QLinearConv (q, half, zero, w8, {SCALES})  {DEQUANTIZED}", 1),
        (f"{TOKENS} {QUANTIZED.format('t')} p = QLinearMatMul (q, half, zero, tokens8, {SCALES})  {DEQUANTIZED}", 2),
        (f"{TOKENS} {GRAM}p = QLinearMatMul (q, half, zero, r, {SCALES})  {DEQUANTIZED}", None),
        (f"{TOKENS}  {QUANTIZED.format('t')} y = MatMulInteger (q, tokens8)", 2),
        ("y = com.microsoft.FusedConv (x, w)", 1),
    ],
)
def test_quantized_and_fused_operators_are_followed(nodes: str, expected: int | None) -> None:
    assert axis(nodes) == expected


@pytest.mark.parametrize(
    ("node", "shapes", "expected"),
    [
        ("y = com.microsoft.Attention <num_heads = 2> (t, w)", {"y": (1, 7, 8)}, {"y": 2}),
        ("y, s = com.microsoft.Attention <num_heads = 2> (t, w)", {"y": (1, 7, 8), "s": (2, 1, 2, 7, 4)}, {"y": 2}),
        ("y = com.microsoft.MultiHeadAttention <num_heads = 2> (t, t, t)", {"y": (1, 7, 8)}, {"y": 2}),
        (
            "y, m, v, s = com.microsoft.SkipLayerNormalization (t, t, g)",
            {"y": (1, 7, 8), "s": (1, 7, 8)},
            {"y": 2, "s": 2},
        ),
        ("y = com.microsoft.FusedMatMul <transB = 1> (t, w)", {"y": (1, 7, 8)}, {"y": 2}),
        ("y = com.microsoft.NhwcFusedConv (p, w)", {"y": (1, 4, 6, 8)}, {"y": 3}),
        ("y = com.microsoft.GroupNorm <groups = 2> (p, g, g)", {"y": (1, 4, 6, 8)}, {"y": 3}),
        (
            "y = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (p, g, g, g, g)",
            {"y": (1, 1, 1, 8)},
            {"y": 3},
        ),
        ("y = ai.onnx.ml.LinearRegressor (r)", {"y": (1, 2)}, {"y": 1}),
        ("l, y = ai.onnx.ml.LinearClassifier <coefficients = [1.0]> (r)", {"l": (1,), "y": (1, 3)}, {"y": 1}),
        ("y = com.microsoft.BiasGelu (t, g)", {"y": (1, 7, 8)}, {"y": 2}),
        ("y = com.microsoft.QLinearLeakyRelu (t, one, g, one, g)", {"y": (1, 7, 8)}, {"y": 2}),
        ("y = ai.onnx.ml.Scaler (r)", {"y": (1, 6)}, {"y": 1}),
    ],
)
def test_contrib_operators_are_followed_once_shapes_are_known(
    node: str, shapes: dict[str, tuple[int, ...]], expected: dict[str, int]
) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "ai.onnx.ml": 3]>
    g (float[1, 7, 6] x, float[1, 4, 6, 8] p, float[1, 6] r) => (float[1] z) {{
        t = MatMul (x, dense)
        {node}
        z = Identity (y)
    }}"""
    shaped_weights = {"dense": (6, 8), "w": (8, 8), "g": (8,), "one": ()}
    proto = parsed(text, **{name: np.ones(shape, np.float32) for name, shape in shaped_weights.items()})
    axes = load(proto).at(shapes).channel_axes
    assert {name: axes.get(name) for name in shapes} == {name: expected.get(name) for name in shapes}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("y = Attention <q_num_heads = 2, kv_num_heads = 2> (t, t, t)", 2),
        (
            shaped("1, 7, 2, 4", "t", "parts")
            + "  v = Transpose <perm = [0, 2, 1, 3]> (parts)  a = Attention (v, v, v)  "
            "b = Transpose <perm = [0, 2, 1, 3]> (a)  " + shaped("1, 7, 8", "b"),
            2,
        ),
        ("a, p, q, y = Attention <q_num_heads = 1, kv_num_heads = 1> (t, t, t)", None),
        ("y = RMSNormalization (t, g)", 2),
    ],
)
def test_the_attention_operator_keeps_tokens_and_channels(node: str, expected: int | None) -> None:
    text = f"""<ir_version: 11, opset_import: ["": 23]>
    g (float[1, 7, 6] x) => (float[1, 7, 8] z) {{ t = MatMul (x, dense)  {node}  z = Identity (y) }}"""
    weights = {"dense": (6, 8), "g": (8,)}
    proto = parsed(text, **{name: np.ones(shape, np.float32) for name, shape in weights.items()})
    assert load(proto).channel_axes.get("y") == expected


def test_a_detectors_heads_have_their_channels_where_the_convolutions_had_them() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, 8, 8] x) => (float[1, 80, 5] boxes) {
        fine = Conv <pads = [1, 1, 1, 1]> (x, w)
        coarse = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
        s = Constant <value_ints = [1, 5, -1]> ()
        f = Reshape (fine, s)  c = Reshape (coarse, s)
        joined = Concat <axis = 2> (f, c)
        boxes = Transpose <perm = [0, 2, 1]> (joined)
        scores = Sigmoid (boxes)
    }"""
    axes = load(parsed(text, w=np.ones((5, 3, 3, 3), np.float32))).channel_axes
    assert axes == {"fine": 1, "coarse": 1, "f": 1, "c": 1, "joined": 1, "boxes": 2, "scores": 2}


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
    single = "d = ReduceMean <axes = [1]> (h)  c1 = Conv (d, one)  p = GlobalAveragePool (c1)  "
    assert axis(f"{NHWC}  {single} y = Mul (t, p)") == 3


def test_a_sum_has_the_axis_of_the_term_that_has_one() -> None:
    pairs = "i = Constant <value_ints = [2]> ()  u = Unsqueeze (h, i)  k = Concat <axis = 2> (u, u)  "
    mixed = pairs + shaped("1, 16, 4, 6", "k", "m")
    assert axis(mixed + "  y = Identity (m)") is None
    assert axis(mixed + "  c = Conv <pads = [1, 1, 1, 1]> (x, w16)  y = Add (m, c)") == 1


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Relu (h)", 1),
        ("f = Flatten (h)  y = Relu (f)", 1),
        (shaped("0, 8, -1"), 1),
        (shaped("0, 0, -1"), 1),
        (shaped("-1, 8"), None),
        (NHWC + "  y = Sigmoid (t)", 3),
        (NHWC + "  " + shaped("0, -1, 8", "t"), 2),
        (NHWC + "  " + shaped("0, 0, 0, 2, 4", "t", "heads") + "  " + shaped("-1, 4", "heads"), None),
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
