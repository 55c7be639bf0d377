from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from onnxvis import load
from onnxvis.backprop import replace_backward
from onnxvis.lower import lower

X = np.random.default_rng(0).normal(size=(1, 2, 5, 5)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 2, 3, 3)).astype(np.float32)
B = np.random.default_rng(2).normal(size=3).astype(np.float32)


def model(activation: str, **attributes: Any) -> onnx.ModelProto:
    """A convolution with an activation in it, as onnxruntime writes it."""
    node = helper.make_node(
        "FusedConv", ["x", "w", "b"], ["y"], name="conv1", domain="com.microsoft", activation=activation, **attributes
    )
    graph = helper.make_graph(
        [node],
        "fused",
        [helper.make_tensor_value_info("x", 1, X.shape)],
        [helper.make_tensor_value_info("y", 1, (1, 3, 3, 3))],
        [onnx.numpy_helper.from_array(W, "w"), onnx.numpy_helper.from_array(B, "b")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    ("activation", "settings"),
    [("Relu", {}), ("LeakyRelu", {"activation_params": [0.2]}), ("Clip", {"activation_params": [0.0, 0.5]})],
)
def test_a_fused_activation_is_a_node_of_its_own(activation: str, settings: dict[str, Any]) -> None:
    proto = model(activation, **settings)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    network = lower(load(proto))
    np.testing.assert_allclose(network(torch.from_numpy(X)), session.run(None, {"x": X})[0], rtol=1e-5, atol=1e-6)
    named = [
        (node.meta["onnx_op"], node.meta["onnx_value"]) for node in network.graph.nodes if node.op == "call_function"
    ]
    assert named == [("FusedConv", "y/product"), (activation, "y")]


def test_a_replacement_of_the_rectifier_reaches_it() -> None:
    network = lower(load(model("Relu")), replacements={"Relu": lambda X: 3 * X.clamp(min=0)})
    assert network.replaced == {"Relu": 1}
    plain = lower(load(model("Relu")))
    np.testing.assert_allclose(network(torch.from_numpy(X)), 3 * plain(torch.from_numpy(X)), rtol=1e-6)


def test_a_replaced_backward_pass_finds_it() -> None:
    network = replace_backward(lower(load(model("Relu"))), "guided")
    image = torch.from_numpy(X).requires_grad_()
    weights = torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((network(image) * weights).sum(), image)
    # Guided: what is negative in the gradient does not pass.
    other = torch.from_numpy(X).requires_grad_()
    (wanted,) = torch.autograd.grad((lower(load(model("Relu")))(other) * weights.clamp(min=0)).sum(), other)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)
