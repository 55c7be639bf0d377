from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import fallback
from onnxvis.ops.fallback import from_onnx2torch, function_body
from tests.ops.oracle import expected, node_model

Array = npt.NDArray[Any]

X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
RNG = np.random.default_rng(0)


class Doubled(torch.nn.Module):
    """What a user might add."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return twice the input."""
        return 2 * x


def convert_doubled(node: Any, graph: Any) -> Any:  # noqa: ARG001 - the signature that onnx2torch asks for
    """Convert an operator that onnx2torch does not have."""
    from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node  # noqa: PLC0415 - slow

    return OperationConverterResult(Doubled(), onnx_mapping_from_node(node))


def convert_nothing(node: Any, graph: Any) -> Any:
    """Refuse an attribute, as onnx2torch's converters do."""
    raise NotImplementedError


def convert_wrongly(node: Any, graph: Any) -> Any:  # noqa: ARG001 - likewise
    """Fail for a reason of its own."""
    message = "no such thing"
    raise ValueError(message)


@pytest.fixture
def registry() -> Iterator[dict[Any, Any]]:
    """The registry of onnx2torch, which is as it was after the test."""
    assert fallback._importable()
    from onnx2torch.node_converters import registry as module  # noqa: PLC0415 - slow

    before = dict(module._CONVERTER_REGISTRY)
    yield module._CONVERTER_REGISTRY
    module._CONVERTER_REGISTRY.clear()
    module._CONVERTER_REGISTRY.update(before)


def add(converter: Any, op_type: str, version: int, domain: str) -> None:
    """Register a converter as a user does."""
    from onnx2torch.node_converters.registry import add_converter  # noqa: PLC0415 - slow

    add_converter(operation_type=op_type, version=version, domain=domain)(converter)


def test_onnx2torch_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, onnxvis.ops.fallback; print('onnx2torch' in sys.modules or 'torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_a_converted_node_computes_what_onnxruntime_does() -> None:
    a, weight, bias = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 3), (4, 3), (4,)))
    model = node_model("Gemm", [a, weight, bias], 13, transB=1)
    constants = {"x1": torch.from_numpy(weight), "x2": torch.from_numpy(bias)}
    converted = from_onnx2torch(model.graph.node[0], 13, constants)
    assert converted is not None
    module, names = converted
    assert names == ("x0",)
    np.testing.assert_allclose(module(torch.from_numpy(a)), expected(model, [a, weight, bias])[0], rtol=1e-5)


def test_a_module_is_in_inference_mode_and_frozen() -> None:
    node = helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["y"])
    constants = {name: torch.rand(3) for name in ("scale", "bias", "mean", "var")}
    image = helper.make_tensor_type_proto(TensorProto.FLOAT, (1, 3, 8, 8))
    converted = from_onnx2torch(node, 15, constants, {"x": image})
    assert converted is not None
    module, names = converted
    assert names == ("x",)
    assert isinstance(module, torch.nn.BatchNorm2d)
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_caller_s_constants_stay_as_they_are() -> None:
    weight = torch.rand(3, 3, requires_grad=True)
    converted = from_onnx2torch(helper.make_node("Gemm", ["a", "b"], ["y"], alpha=2.0), 13, {"b": weight})
    assert converted is not None
    assert weight.requires_grad
    assert float(weight.detach().max()) <= 1


def test_what_onnx2torch_does_not_have_is_none() -> None:
    assert from_onnx2torch(helper.make_node("NoSuchOperator", ["x"], ["y"]), 13, {}) is None
    assert from_onnx2torch(helper.make_node("Conv", ["x", "w"], ["y"]), 22, {"w": torch.rand(1, 1, 3, 3)}) is None


def test_a_weight_that_is_not_constant_is_none() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert from_onnx2torch(node, 11, {}) is None
    assert from_onnx2torch(node, 13, {"w": torch.rand(1, 1, 3, 3)}) is not None


def test_the_default_domain_has_two_names() -> None:
    assert from_onnx2torch(helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx"), 14, {}) is not None


def test_what_a_user_has_added_is_found(registry: dict[Any, Any]) -> None:
    count = len(registry)
    node = helper.make_node("Doubled", ["x"], ["y"], domain="some.domain")
    assert from_onnx2torch(node, 3, {}) is None
    add(convert_doubled, "Doubled", 3, "some.domain")
    assert len(registry) == count + 1
    converted = from_onnx2torch(node, 3, {})
    assert converted is not None
    module, names = converted
    assert names == ("x",)
    assert module(torch.tensor(2.0)) == 4
    assert from_onnx2torch(node, 2, {}) is None


@pytest.mark.usefixtures("registry")
def test_a_converter_that_refuses_is_none_and_one_that_fails_is_an_error() -> None:
    add(convert_nothing, "Refused", 1, "some.domain")
    add(convert_wrongly, "Failing", 1, "some.domain")
    assert from_onnx2torch(helper.make_node("Refused", ["x"], ["y"], domain="some.domain"), 1, {}) is None
    with pytest.raises(UnsupportedOpError, match="onnx2torch's converter of Failing failed: no such thing") as caught:
        from_onnx2torch(helper.make_node("Failing", ["x"], ["y"], domain="some.domain", name="n7"), 1, {})
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.details == {"op_type": "Failing", "node": "n7"}


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError])
def test_where_torchvision_cannot_be_imported_there_is_nothing(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise error(name)

    fallback._importable.cache_clear()
    monkeypatch.setattr(importlib, "import_module", refuse)
    assert from_onnx2torch(helper.make_node("Relu", ["x"], ["y"]), 14, {}) is None
    fallback._importable.cache_clear()


def body_of(op_type: str, version: int, inputs: list[Array | None], **attributes: Any) -> onnx.FunctionProto:
    """The function body of one node."""
    node = node_model(op_type, inputs, version, **attributes).graph.node[0]
    types = [
        onnx.TypeProto()
        if x is None
        else helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for x in inputs
    ]
    body = function_body(op_type, "", version, node, types)
    assert body is not None
    return body


def run_body(body: onnx.FunctionProto, inputs: list[Array | None], **attributes: Any) -> Array:
    """Call the body as a function of the model, by onnxruntime."""
    opset = next(opset.version for opset in body.opset_import if opset.domain == "")
    body.domain = "local"
    model = node_model(body.name, inputs, opset, domain="local", **attributes)
    model.functions.append(body)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


BODIES = [
    ("Elu", 7, [X], {"alpha": 0.5}),
    ("Elu", 7, [X], {}),
    ("HardSwish", 14, [X], {}),
    ("Celu", 12, [X], {"alpha": 2.0}),
    ("Softmax", 13, [X], {"axis": 1}),
    ("Softmax", 13, [X], {}),
    ("Clip", 13, [X, np.array(-1, np.float32), None], {}),
    ("Clip", 13, [X, None, np.array(1, np.float32)], {}),
    ("MeanVarianceNormalization", 13, [X[None]], {}),
]


@pytest.mark.parametrize(("op_type", "version", "inputs", "attributes"), BODIES)
def test_a_function_body_computes_what_its_operator_does(
    op_type: str, version: int, inputs: list[Array | None], attributes: dict[str, Any]
) -> None:
    body = body_of(op_type, version, inputs, **attributes)
    wanted = expected(node_model(op_type, inputs, version, **attributes), inputs)[0]
    given = {name: value for name, value in attributes.items() if name in [*body.attribute, *names_of_defaults(body)]}
    np.testing.assert_allclose(run_body(body, inputs, **given), wanted, atol=1e-5)


def names_of_defaults(body: onnx.FunctionProto) -> list[str]:
    """The attributes that a node may omit."""
    return [attribute.name for attribute in body.attribute_proto]


def test_a_body_says_in_which_opset_it_is_written() -> None:
    for op_type, version, written in (("Elu", 7, 18), ("Celu", 12, 12), ("Softmax", 17, 13), ("Softmax", 20, 18)):
        opsets = body_of(op_type, version, [X]).opset_import
        assert [(opset.domain, opset.version) for opset in opsets] == [("", written)]


def test_a_body_has_the_schema_s_defaults() -> None:
    body = body_of("HannWindow", 17, [np.array(3)])
    assert {attribute.name: attribute.i for attribute in body.attribute_proto} == {
        "output_datatype": TensorProto.FLOAT,
        "periodic": 1,
    }
    assert not body.attribute


def test_an_operator_without_a_body_and_one_that_does_not_exist_are_none() -> None:
    for op_type, version in (("Conv", 13), ("NoSuchOperator", 13), ("Gelu", 13)):
        assert function_body(op_type, "", version, helper.make_node(op_type, ["x"], ["y"]), []) is None
    node = helper.make_node("Elu", ["x"], ["y"], domain="ai.onnx")
    assert function_body("Elu", "ai.onnx", 13, node, []) is not None
    assert function_body("Elu", "some.domain", 13, node, []) is None
