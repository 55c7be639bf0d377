from __future__ import annotations

import itertools
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from onnxvis import to_torch
from onnxvis.errors import InvalidModelError
from onnxvis.model import load


def nested(levels: int, calls: int) -> onnx.ModelProto:
    """A function that calls another so many times, which calls another."""
    text = '<ir_version: 8, opset_import: ["": 17, "f": 1]> g (float[1] x) => (float[1] y) { y = f.level0 (x) }\n'
    for level in range(levels):
        called = "Relu" if level == levels - 1 else f"f.level{level + 1}"
        names = ["a", *(f"t{index}" for index in range(calls - 1)), "b"]
        body = "  ".join(f"{after} = {called} ({before})" for before, after in itertools.pairwise(names))
        text += f'<domain: "f", opset_import: ["": 17, "f": 1]> level{level} (a) => (b) {{ {body} }}\n'
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(("levels", "calls"), [(1, 1), (3, 2), (2, 5)])
def test_functions_of_functions_are_written_out(levels: int, calls: int) -> None:
    assert [node.op_type for node in load(nested(levels, calls)).nodes] == ["Relu"] * calls**levels


@pytest.mark.parametrize(("levels", "calls"), [(60, 2), (14, 3), (1000, 2)])
def test_functions_that_multiply_are_refused_at_once(levels: int, calls: int) -> None:
    proto = nested(levels, calls)
    began = time.process_time()
    with pytest.raises(InvalidModelError, match="too many to write out"):
        load(proto)
    assert time.process_time() - began < 5


def of_versions(model: str, function: str, body: str, extra: str = "") -> onnx.ModelProto:
    """A model that imports some operator sets and calls a function that imports others."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: [{model}, "f": 1]> g (float[2, 3] x) => (float[2, 3] y)
    {{ a = f.g (x)  y = Relu (a) }}
    <domain: "f", opset_import: [{function}]> g (a) => (b) {{ {body} }}
    {extra}
    """)


@pytest.mark.parametrize(
    ("model", "function"), [('"": 17', '"": 14'), ('"": 15', '"": 18'), ('"": 17', '"ai.onnx": 16')]
)
def test_a_function_of_another_version_computes_the_same(model: str, function: str) -> None:
    body = "t = Tanh (a)  b = Softmax <axis = 0> (t)"
    proto = of_versions(model, function, body)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    loaded = load(proto)
    assert [node.op_type for node in loaded.nodes] == ["Tanh", "Softmax", "Relu"]
    assert loaded.opset == int(model[-2:])
    # onnxruntime knows one of the two names of the standard domain in functions.
    same = of_versions(model, function.replace("ai.onnx", ""), body)
    session = onnxruntime.InferenceSession(same.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(to_torch(loaded)(torch.from_numpy(x)), session.run(None, {"x": x})[0], rtol=1e-6)


@pytest.mark.parametrize(("model", "function"), [(17, "11"), (11, "17"), (17, "12")])
@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_an_operator_that_changed_in_between_is_refused_by_name(model: int, function: str, domain: str) -> None:
    proto = of_versions(f'"": {model}', f'"{domain}": {function}', "t = Tan (a)  b = Softmax <axis = 0> (t)")
    wanted = rf"f\.g of the model imports version {function} of ai\.onnx and the model version {model}.*Softmax changed"
    with pytest.raises(InvalidModelError, match=wanted) as caught:
        load(proto)
    assert caught.value.details["operators"] == ["Softmax"]


def test_an_operator_that_changed_is_found_in_a_branch() -> None:
    body = """
    rank = Size (a)  yes = Equal (rank, rank)
    b = If (yes) <then_branch = p () => (c) { c = Softmax (a) }, else_branch = q () => (d) { d = Tanh (a) }>
    """
    with pytest.raises(InvalidModelError, match=r"If, .*Softmax, .*Tanh changed"):
        load(of_versions('"": 17', '"": 11', body))


def test_functions_of_a_set_that_the_model_does_not_import_agree_among_themselves() -> None:
    body = "t = ai.onnx.ml.Scaler <offset = [1.0], scale = [2.0]> (a)  b = f.h (t)"
    other = """
    <domain: "f", opset_import: ["ai.onnx.ml": 3]> h (a) => (b)
    { b = ai.onnx.ml.Scaler <offset = [0.5], scale = [3.0]> (a) }
    """
    proto = of_versions('"": 17', '"ai.onnx.ml": 2, "f": 1', body, other)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = np.maximum((2 * (x - 1) - 0.5) * 3, 0)
    np.testing.assert_allclose(to_torch(proto)(torch.from_numpy(x)), wanted)


def test_a_function_that_nothing_calls_is_left_out() -> None:
    other = '<domain: "f", opset_import: ["": 11]> unused (a) => (b) { b = Softmax (a) }'
    loaded = load(of_versions('"": 17', '"": 17', "b = Tanh (a)", other))
    assert [node.op_type for node in loaded.nodes] == ["Tanh", "Relu"]
    assert not loaded.ir.functions
