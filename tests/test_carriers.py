"""Quantized integers that floats carry, so that a gradient passes, and where they become integers again."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from onnxvis import load, to_torch, verify
from onnxvis.errors import InputError, NoGradientError, SettingError
from onnxvis.lower import lower
from onnxvis.network import check_gradient

X = np.random.default_rng(0).uniform(0, 3, (2, 4)).astype(np.float32)
HEAD = '<ir_version: 9, opset_import: ["": 18]> net (float[2, 4] x) => (float[N, M] y)'
SCALES = "<float step = {0.1}, uint8 zero = {0}, int8[4, 3] w = {1, -2, 3, 0, 1, 2, -1, 1, 0, 2, 2, 1}"


def network_of(text: str) -> torch.fx.GraphModule:
    """Lower a model, and compare it with onnxruntime."""
    proto = onnx.parser.parse_model(text)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    network = to_torch(proto)
    np.testing.assert_allclose(network(torch.from_numpy(X)), session.run(None, {"x": X})[0], rtol=1e-5)
    return network


def gradient_of(network: torch.fx.GraphModule) -> torch.Tensor:
    """The gradient of the output's sum."""
    image = torch.from_numpy(X).requires_grad_()
    (gradient,) = torch.autograd.grad(network(image).sum(), image)
    return gradient


@pytest.mark.parametrize(
    "moved",
    [
        "r = CenterCropPad <axes = [1]> (q, three)",
        "r = ScatterElements <axis = 1> (q, at, q)",
        "r = Slice (q, one, three, one)",
        "r = Gather <axis = 1> (q, ids)",
        "r = Pad (q, pads)",
        "r = Concat <axis = 0> (q, q)",
    ],
)
def test_what_is_only_moved_passes_the_gradient(moved: str) -> None:
    network = network_of(
        f"""{HEAD} {SCALES}, int64[1] one = {{1}}, int64[1] three = {{3}}, int32[2] ids = {{3, 0}},
        int64[2, 4] at = {{3, 2, 1, 0, 0, 1, 2, 3}}, int64[4] pads = {{0, 1, 0, 1}}>
        {{ q = QuantizeLinear (x, step, zero) {moved} y = DequantizeLinear (r, step, zero) }}"""
    )
    assert float(gradient_of(network).abs().max()) > 0


@pytest.mark.parametrize(
    "use",
    [
        "g = Gather <axis = 1> (sum, ids)",
        "g = Slice (sum, starts, ends)",
        "g = Concat <axis = 1> (sum, more)",
    ],
)
def test_sums_of_products_are_carried_beside_indices_of_their_own_type(use: str) -> None:
    network = network_of(
        f"""{HEAD} {SCALES}, int32[2] ids = {{2, 0}}, int32[2] starts = {{0, 1}}, int32[2] ends = {{2, 3}},
        int32[2, 1] more = {{7, 8}}>
        {{ q = QuantizeLinear (x, step, zero) sum = MatMulInteger (q, w, zero) {use} y = Cast <to = 1> (g) }}"""
    )
    assert float(gradient_of(network).abs().max()) > 0


def test_a_quantized_number_that_looks_up_a_table_is_an_integer() -> None:
    network = network_of(
        f"""{HEAD} {SCALES}, float[256] table>
        {{ q = QuantizeLinear (x, step, zero) i = Cast <to = 6> (q) y = Gather (table, i) }}""".replace(
            "float[256] table", "float[64] table = {" + ", ".join(f"{k * k}.0" for k in range(64)) + "}"
        )
    )
    assert not any(
        node.meta.get("differentiable") for node in network.graph.nodes if node.meta.get("onnx_op") == "Gather"
    )


def test_the_node_that_needs_integers_is_the_one_that_cuts() -> None:
    text = f"""{HEAD} {SCALES}, uint8 mask = {{15}}>
        {{ q = QuantizeLinear (x, step, zero) low = BitwiseAnd (q, mask) y = DequantizeLinear (low, step, zero) }}"""
    model = load(onnx.parser.parse_model(text))
    with pytest.raises(NoGradientError, match=r"cut at 'low' \(BitwiseAnd\)"):
        check_gradient(model, lower(model))


def test_the_scale_of_a_dynamic_quantizer_cuts() -> None:
    text = f"""{HEAD.replace("float[N, M] y", "float[2, 4] y")} <float[2, 4] c = {{1, 2, 3, 4, 5, 6, 7, 8}}>
        {{ q, s, z = DynamicQuantizeLinear (x) y = Mul (c, s) }}""".replace(
        "{1, 2, 3, 4, 5, 6, 7, 8}", "{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}"
    )
    model = load(onnx.parser.parse_model(text))
    with pytest.raises(NoGradientError, match="DynamicQuantizeLinear"):
        check_gradient(model, lower(model))


def test_a_cast_to_half_of_old_is_computed_in_single() -> None:
    text = """
    <ir_version: 3, opset_import: ["": 5]> net (float[2, 4] x) => (float[2, 4] y)
    { h = Cast <to = "FLOAT16"> (x) r = Relu (h) y = Cast <to = "FLOAT"> (r) }
    """
    network = to_torch(onnx.parser.parse_model(text))
    assert network(torch.from_numpy(X)).dtype == torch.float32
    np.testing.assert_array_equal(network(torch.from_numpy(X)), X)


def test_small_floats_are_verified_by_value() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]> net (float[2, 4] x) => (float[2, 4] y)
    { e = Cast <to = 17> (x) a = Cast <to = 1> (e) b = Cast <to = 16> (a) c = Cast <to = 1> (b) y = Neg (c) }
    """
    report = verify(onnx.parser.parse_model(text))
    assert report.ok
    assert report.engine == "onnxruntime"


def test_constants_that_fit_no_input_are_errors() -> None:
    proto = onnx.parser.parse_model(f"{HEAD} {{ y = Neg (x) }}")
    with pytest.raises(InputError, match="has no input 'z'"):
        to_torch(proto, constants={"z": X})
    with pytest.raises(InputError, match=r"cannot be of shape \(3,\)"):
        to_torch(proto, constants={"x": np.zeros(3, np.float32)})
    with pytest.raises(SettingError, match="precision must be float32 or declared"):
        to_torch(proto, precision="half")  # type: ignore[arg-type] # what a typo looks like
