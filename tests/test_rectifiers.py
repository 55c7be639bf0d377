import numpy as np
import onnx
import pytest

from onnxvis.lower import lower
from onnxvis.model import load
from onnxvis.network import Network
from onnxvis.rectifiers import RECTIFIERS, find_rectifiers

CONSTANTS = """
<
    float zero = {0}, float half = {0.5}, float one = {1}, float two = {2}, float three = {3}, float six = {6},
    float sixth = {0.16666667}, float fifth = {0.2}, float minus_one = {-1}, float tiny = {1e-12},
    float[1] root = {1.41421354}, float inverse_root = {0.70710677}, float quick = {1.702}, float cubic = {0.044715},
    float outer = {0.7978846}, float[1] none = {0}, float[1, 3, 1] slopes = {0.1, 0.25, 0.5},
    float[1, 3, 1] minus_slopes = {-0.1, -0.25, -0.5}, float[1, 3, 1] bias = {0.1, -0.2, 0.3}
>
"""


def network(body: str, opset: int = 17) -> Network:
    """Lower a function of one tensor x of three channels, called y; the numbers of `CONSTANTS` are at hand."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]> net (float[2, 3, 4] x) => (float[2, 3, 4] y)'
    return lower(load(onnx.parser.parse_model(f"{header} {CONSTANTS} {{ {body} }}")))


def names(body: str, opset: int = 17) -> list[str]:
    return [rectifier.name for rectifier in find_rectifiers(network(body, opset))]


SPELLINGS = {
    "operators": [
        ("y = Relu (x)", "Relu"),
        ("y = LeakyRelu <alpha = 0.3> (x)", "LeakyRelu"),
        ("y = PRelu (x, slopes)", "PRelu"),
        ("y = Elu (x)", "Elu"),
        ("y = Selu (x)", "Selu"),
        ("y = Celu <alpha = 2.0> (x)", "Celu"),
        ("y = ThresholdedRelu <alpha = 0.5> (x)", "ThresholdedRelu"),
        ("y = Softplus (x)", "Softplus"),
        ("y = HardSwish (x)", "HardSwish"),
        ("y = Clip (x, zero, six)", "Clip"),
        ("y = Clip (x, zero)", "Clip"),
        ("y = Clip (x, zero, one)", "Clip"),
        ("y = Max (x, zero)", "Max"),
        ("y = Max (none, x)", "Max"),
    ],
    "piecewise": [
        ("a = Max (x, zero) y = Min (a, six)", "Clip"),
        ("a = Relu (x) y = Min (six, a)", "Clip"),
        ("a = Greater (x, zero) y = Where (a, x, zero)", "Relu"),
        ("a = Greater (x, zero) b = Cast <to = 1> (a) y = Mul (x, b)", "Relu"),
        ("a = Abs (x) b = Add (x, a) y = Mul (b, half)", "Relu"),
        ("a = Mul (x, fifth) y = Max (x, a)", "LeakyRelu"),
        ("a = Relu (x) b = Neg (x) c = Relu (b) d = Mul (minus_slopes, c) y = Add (a, d)", "PRelu"),
        ("a = Less (x, zero) b = Exp (x) c = Sub (b, one) y = Where (a, c, x)", "Elu"),
    ],
    "gelu": [
        ("a = Div (x, root) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half)", "Gelu"),
        ("a = Mul (x, inverse_root) b = Erf (a) c = Add (one, b) d = Mul (half, x) y = Mul (d, c)", "Gelu"),
        ("a = Div (x, root) b = Erf (a) c = Add (b, one) d = Mul (c, half) y = Mul (x, d)", "Gelu"),
        ("a = Div (x, root) b = Erf (a) c = Mul (b, half) d = Add (c, half) y = Mul (d, x)", "Gelu"),
        (
            """a = Pow (x, three) b = Mul (a, cubic) c = Add (x, b) d = Mul (c, outer) e = Tanh (d) f = Add (e, one)
            g = Mul (x, half) y = Mul (g, f)""",
            "Gelu",
        ),
        (
            """a = Mul (x, x) b = Mul (a, x) c = Mul (cubic, b) d = Add (c, x) e = Mul (outer, d) f = Tanh (e)
            g = Add (one, f) h = Mul (x, g) y = Mul (half, h)""",
            "Gelu",
        ),
        ("a = Mul (x, quick) b = Sigmoid (a) y = Mul (x, b)", "QuickGelu"),
    ],
    "smooth": [
        ("a = Sigmoid (x) y = Mul (x, a)", "Silu"),
        ("a = Sigmoid (x) y = Mul (a, x)", "Silu"),
        ("a = Neg (x) b = Exp (a) c = Add (b, one) y = Div (x, c)", "Silu"),
        ("a = Cast <to = 1> (x) b = Sigmoid (a) c = Cast <to = 1> (b) y = Mul (x, c)", "Silu"),
        ("a = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (x, a)", "HardSwish"),
        ("a = Add (x, three) b = Clip (a, zero, six) c = Mul (x, b) y = Div (c, six)", "HardSwish"),
        ("a = Add (x, three) b = Clip (a, zero, six) c = Div (b, six) y = Mul (x, c)", "HardSwish"),
        ("a = Add (x, three) b = Relu (a) c = Min (b, six) d = Mul (c, sixth) y = Mul (d, x)", "HardSwish"),
        ("a = Softplus (x) b = Tanh (a) y = Mul (x, b)", "Mish"),
        ("a = Exp (x) b = Add (a, one) c = Log (b) d = Tanh (c) y = Mul (d, x)", "Mish"),
        ("a = Exp (x) b = Add (one, a) y = Log (b)", "Softplus"),
        ("a = Mul (two, x) b = Sigmoid (a) y = Mul (x, b)", "SmoothRectifier"),
    ],
}


@pytest.mark.parametrize(("body", "name"), [case for cases in SPELLINGS.values() for case in cases])
def test_a_rectifier_is_one_however_it_is_written(body: str, name: str) -> None:
    (rectifier,) = find_rectifiers(network(body))
    assert rectifier.name == name
    assert name in RECTIFIERS
    assert (rectifier.x.name, rectifier.y.name) == ("x", "y")
    assert rectifier.smooth == (
        name in {"Gelu", "QuickGelu", "Silu", "HardSwish", "Mish", "Softplus", "SmoothRectifier"}
    )


@pytest.mark.parametrize(
    ("body", "name", "opset"),
    [
        ("y = Gelu (x)", "Gelu", 20),
        ('y = Gelu <approximate = "tanh"> (x)', "Gelu", 20),
        ("y = Mish (x)", "Mish", 18),
        ("y = Swish <alpha = 1.5> (x)", "Swish", 24),
        ("y = Clip <min = 0.0, max = 6.0> (x)", "Clip", 6),
    ],
)
def test_operators_of_other_opsets_are_found(body: str, name: str, opset: int) -> None:
    assert names(body, opset) == [name]


@pytest.mark.parametrize(
    "body",
    [
        "y = Sigmoid (x)",
        "y = Tanh (x)",
        "y = Erf (x)",
        "y = HardSigmoid (x)",
        "y = Softsign (x)",
        "y = Abs (x)",
        "y = Exp (x)",
        "y = Mul (x, x)",
        "y = Identity (x)",
        "a = Mul (x, two) y = Add (a, bias)",
        "a = Neg (x) b = Add (x, x) y = Add (a, b)",
        "a = Max (x, minus_one) y = Min (a, one)",
        "y = Clip (x, minus_one, one)",
        "y = Clip (x, tiny)",
        "y = Clip (x, one, six)",
        "y = Max (x, tiny)",
        "y = Max (x, slopes)",
        "y = Min (x, zero)",
        "a = Div (x, root) b = Erf (a) c = Add (b, one) y = Mul (c, half)",
        "a = Add (x, three) b = Clip (a, zero, six) y = Div (b, six)",
        "a = Mul (x, fifth) b = Add (a, half) y = Clip (b, zero, one)",
        "a = Neg (x) b = Exp (a) c = Add (b, one) y = Reciprocal (c)",
        "a = ReduceMean <axes = [2]> (x) b = Sigmoid (a) y = Mul (x, b)",
        "a = Softmax <axis = 1> (x) y = Mul (x, a)",
        "a = ReduceMean <axes = [1]> (x) b = Sub (x, a) c = Mul (b, b) d = Sqrt (c) e = Add (d, one) y = Div (b, e)",
    ],
)
def test_what_is_no_rectifier_is_not_found(body: str) -> None:
    assert names(body) == []


def test_biases_and_scales_around_a_rectifier_are_no_part_of_it() -> None:
    (rectifier,) = find_rectifiers(network("a = Add (x, bias) b = Relu (a) c = Mul (b, two) y = Add (c, bias)"))
    assert (rectifier.name, rectifier.x.name, rectifier.y.name) == ("Relu", "a", "b")


def test_rectifiers_come_in_the_order_of_the_graph() -> None:
    body = (
        "a = Relu (x) b = Add (a, bias) c = Sigmoid (b) d = Mul (b, c) e = Add (d, minus_one) y = Clip (e, zero, six)"
    )
    assert names(body) == ["Relu", "Silu", "Clip"]


def test_a_rectifier_inside_another_that_is_read_elsewhere_too_counts_by_itself() -> None:
    inside = "a = Relu (x) b = Min (a, six) "
    assert names(inside + "y = Identity (b)") == ["Clip"]
    assert names(inside + "y = Add (b, a)") == ["Relu"]


def test_a_sigmoid_that_is_read_elsewhere_too_does_not_hide_the_rectifier() -> None:
    written_out = (
        "a = Neg (x) b = Exp (a) c = Add (b, one) d = Reciprocal (c) e = Mul (x, d) f = Tanh (d) y = Add (e, f)"
    )
    assert names(written_out) == ["Silu"]


def test_replaced_operators_are_the_callers_own_affair() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[4] y) { a = Relu (x) y = Elu (a) }'
    )
    replaced = lower(load(proto), replacements={"Relu": lambda X: X.clamp(min=0)})
    assert [rectifier.name for rectifier in find_rectifiers(replaced)] == ["Elu"]


def test_large_constants_are_not_tried() -> None:
    slopes = onnx.numpy_helper.from_array(np.full((1, 3, 100, 100), 0.1, np.float32), "slopes")
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 100, 100] x) => (float[1, 3, 100, 100] y) '
        "{ a = Mul (x, slopes) y = Max (x, a) }"
    )
    proto.graph.initializer.append(slopes)
    assert find_rectifiers(lower(load(proto))) == []
