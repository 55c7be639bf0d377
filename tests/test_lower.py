import copy
import pickle
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from onnxvis import load, to_torch
from onnxvis.errors import (
    DataDependentShapeError,
    InputError,
    LoweringError,
    UnknownSizeError,
    UnsupportedOpError,
)
from onnxvis.lower import lower
from onnxvis.network import shapes_of

CONV = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, 8, 8] image) => (float[N, 4, 8, 8] hidden, float[N, 4] features)
<float[4, 3, 3, 3] w, float[4] b>
{
    conv = Conv <pads = [1, 1, 1, 1]> (image, w, b)
    hidden = Relu (conv)
    pooled = GlobalAveragePool (hidden)
    shape = Shape (pooled)
    zero = Constant <value = int64[1] {0}> ()
    batch = Gather <axis = 0> (shape, zero)
    rest = Constant <value = int64[1] {-1}> ()
    flat = Concat <axis = 0> (batch, rest)
    features = Reshape (pooled, flat)
}
"""


def model(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """Parse a model; weights that are declared in the text are filled in, others are initializers already."""
    proto = onnx.parser.parse_model(text)
    for tensor in list(proto.graph.initializer):
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return proto


def conv_net() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    proto = onnx.parser.parse_model(CONV.replace("<float[4, 3, 3, 3] w, float[4] b>", ""))
    for name, shape in (("w", (4, 3, 3, 3)), ("b", (4,))):
        proto.graph.initializer.append(
            numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        )
    return proto


def run(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds)]


def assert_same(found: Tensor | Sequence[Tensor], wanted: Sequence[np.ndarray]) -> None:
    values = (found,) if isinstance(found, Tensor) else found
    assert len(values) == len(wanted)
    for mine, theirs in zip(values, wanted, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_all_outputs_come_in_the_files_order() -> None:
    proto, image = conv_net(), np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    network = to_torch(proto)
    assert network.input_names == ["image"]
    assert network.output_names == ["hidden", "features"]
    assert_same(network(torch.from_numpy(image)), run(proto, image=image))


def test_one_node_gives_one_tensor_and_nothing_after_it() -> None:
    network = to_torch(conv_net(), "hidden")
    operators = [node.meta["onnx_op"] for node in network.graph.nodes if node.op == "call_function"]
    assert operators == ["Conv", "Relu"]
    assert isinstance(network(torch.zeros(1, 3, 8, 8)), Tensor)


def test_shape_arithmetic_leaves_no_trace() -> None:
    network = to_torch(conv_net(), "features")
    operators = {node.meta["onnx_op"] for node in network.graph.nodes if "onnx_op" in node.meta}
    assert operators == {"Input", "Constant", "Conv", "Relu", "GlobalAveragePool", "Reshape"}


def test_weights_are_frozen_and_the_input_gets_a_gradient() -> None:
    network = to_torch(conv_net(), "features")
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    network(image).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not network.training
    assert list(network.parameters()) == []
    assert all(not buffer.requires_grad for buffer in network.buffers())


def test_fx_nodes_carry_onnx_names_and_shapes() -> None:
    network = to_torch(conv_net())
    assert shapes_of(network)["hidden"] == (1, 4, 8, 8)
    by_value = {node.meta["onnx_value"]: node for node in network.graph.nodes if "onnx_value" in node.meta}
    assert by_value["conv"].meta["onnx_op"] == "Conv"
    assert by_value["w"].op == "get_attr"


def test_another_batch_and_other_sizes_are_lowered_anew() -> None:
    proto, images = conv_net(), np.random.default_rng(1).random((3, 3, 8, 8), np.float32)
    network = to_torch(proto, input_shapes={"image": (3, 3, 8, 8)})
    assert_same(network(torch.from_numpy(images)), run(proto, image=images))


def test_the_callers_model_is_not_changed() -> None:
    proto = conv_net()
    before = proto.SerializeToString(deterministic=True)
    loaded = load(proto)
    to_torch(loaded, "hidden")
    lower(loaded)
    assert proto.SerializeToString(deterministic=True) == before


def test_a_network_can_be_copied_pickled_and_compiled_to_a_graph_again() -> None:
    network, image = to_torch(conv_net()), torch.rand(1, 3, 8, 8)
    wanted = [value.numpy() for value in network(image)]
    duplicate = copy.deepcopy(network)
    assert_same(duplicate(image), wanted)
    assert (duplicate.input_names, duplicate.output_names) == (["image"], ["hidden", "features"])
    assert_same(pickle.loads(pickle.dumps(network))(image), wanted)  # noqa: S301 - our own bytes
    assert_same(torch.export.export(network, (image,)).module()(image), wanted)


def test_float16_files_compute_in_float32() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float16[1, 4] x) => (float16[1, 4] y)
    {
        third = Constant <value = float[1] {0.3333}> ()
        half = Cast <to = 10> (third)
        scaled = Mul (x, half)
        wide = Cast <to = 1> (scaled)
        narrow = Cast <to = 10> (wide)
        y = Relu (narrow)
    }
    """
    network = to_torch(onnx.parser.parse_model(text))
    result = network(torch.ones(1, 4))
    assert result.dtype == torch.float32
    # A constant is what the file makes of it in float32; the input is not rounded on the way.
    assert result[0, 0].item() == pytest.approx(0.3333)


def test_outputs_may_be_inputs_and_constants() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] x, float[1] c, float[2] y)
    {
        c = Constant <value = float[1] {3.0}> ()
        y = Add (x, c)
    }
    """
    x, c, y = to_torch(onnx.parser.parse_model(text))(torch.tensor([1.0, 2.0]))
    assert x.tolist() == [1, 2]
    assert c.tolist() == [3]
    assert y.tolist() == [4, 5]


def test_a_known_condition_takes_its_branch() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2, 3] x) => (float[2, 3] y)
    {
        count = Size (x)
        six = Constant <value = int64 {6}> ()
        is_six = Equal (count, six)
        y = If (is_six) <
            then_branch = yes () => (float[2, 3] yes_y) { yes_y = Neg (x) },
            else_branch = no () => (float[2, 3] no_y) { no_y = Exp (x) }
        >
    }
    """
    assert_same(to_torch(onnx.parser.parse_model(text))(torch.ones(2, 3)), [-np.ones((2, 3), np.float32)])


def test_all_unsupported_operators_are_named_with_their_nodes() -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], name="first", domain="my.domain"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Twiddle", ["b"], ["y"], name="second", domain="my.domain"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [1, 2])],
        [helper.make_tensor_value_info("y", 1, [1, 2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(UnsupportedOpError) as caught:
        to_torch(proto)
    assert caught.value.details["operators"] == {"my.domain.Frobnicate": ["first"], "my.domain.Twiddle": ["second"]}
    assert "\n" not in str(caught.value)


def test_unsupported_operators_after_the_target_do_not_matter() -> None:
    proto = conv_net()
    proto.graph.node.append(helper.make_node("Frobnicate", ["features"], ["boxes"], domain="my.domain"))
    proto.opset_import.append(helper.make_opsetid("my.domain", 1))
    proto.graph.output.append(helper.make_tensor_value_info("boxes", 1, [1, 4]))
    assert to_torch(proto, "hidden")(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 8, 8)


def test_a_shape_that_depends_on_values_is_refused_by_name() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[?] y)
    {
        whole = Cast <to = 7> (x)
        y = Reshape (x, whole)
    }
    """
    with pytest.raises(DataDependentShapeError, match="Reshape: shape"):
        to_torch(onnx.parser.parse_model(text))


def test_open_sizes_are_named() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu (x) }'
    with pytest.raises(UnknownSizeError, match=r"\(1, 3, H, W\)"):
        to_torch(onnx.parser.parse_model(text))
    assert to_torch(onnx.parser.parse_model(text), input_shapes=(1, 3, 4, 5))(torch.zeros(1, 3, 4, 5)).shape == (
        1,
        3,
        4,
        5,
    )


def test_a_size_that_the_graph_does_not_take_names_the_node() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, N] x) => (float[?, ?] y)
    {
        shape = Constant <value = int64[2] {2, 3}> ()
        y = Reshape (x, shape)
    }
    """
    with pytest.raises(LoweringError, match=r"'y' \(Reshape\).*input 'x' \(1, 5\)"):
        to_torch(onnx.parser.parse_model(text), input_shapes={"x": (1, 5)})
    with pytest.raises(InputError, match="no input 'z'"):
        to_torch(onnx.parser.parse_model(text), input_shapes={"z": (1, 5)})


def test_an_operator_without_an_entry_is_lowered_by_its_schemas_function_body(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 20]> net (float[2, 3] x) => (float[2, 3] y)
    { y = Gelu <approximate = "tanh"> (x) }
    """
    proto, x = onnx.parser.parse_model(text), np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    from onnxvis.ops import table  # noqa: PLC0415 - its contents are hidden for this test alone

    monkeypatch.delitem(table._TABLE, ("", "Gelu"))
    network = to_torch(proto)
    assert len([node for node in network.graph.nodes if node.op == "call_function"]) > 1
    assert_same(network(torch.from_numpy(x)), run(proto, x=x))


@pytest.mark.parametrize(
    "outputs", [["y"], ["y", "all_k", "all_v"], ["y", "all_k", "all_v", "scores"], ["y", "", "", "scores"]]
)
def test_a_function_body_does_without_the_outputs_that_a_node_omits(outputs: list[str]) -> None:
    heads = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 3, 4]) for name in "qkv"]
    attention = helper.make_node("Attention", ["q", "k", "v"], outputs)
    declared = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs if name]
    graph = helper.make_graph([attention], "attention", heads, declared)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 3, 4)).astype(np.float32)
    results = to_torch(proto)(*map(torch.from_numpy, (q, k, v)))
    wanted = ReferenceEvaluator(proto).run(None, {"q": q, "k": k, "v": v})
    for result, array in zip(results if isinstance(results, tuple) else (results,), wanted, strict=True):
        np.testing.assert_allclose(result.numpy(), array, atol=1e-6)


def test_a_converter_registered_with_onnx2torch_is_used() -> None:
    from onnxvis.ops.fallback import _importable  # noqa: PLC0415 - importing onnx2torch takes seconds

    if not _importable():
        pytest.skip("onnx2torch cannot be imported beside this torch")
    from onnx2torch.node_converters.registry import add_converter  # noqa: PLC0415 - as above
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult  # noqa: PLC0415 - as above

    class Triple(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x

    @add_converter(operation_type="Triple", version=1, domain="test.lower")  # type: ignore[untyped-decorator] # onnx2torch has no types
    def _(node: object, graph: object) -> object:
        del graph
        return OperationConverterResult(Triple(), OnnxMapping(inputs=node.input_values, outputs=node.output_values))  # type: ignore[attr-defined] # as above

    node = helper.make_node("Triple", ["x"], ["y"], domain="test.lower")
    graph = helper.make_graph(
        [node], "net", [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("test.lower", 1)]
    network = to_torch(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    network(x).sum().backward()
    assert network(x).tolist() == [3, 6]
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]


def test_replacements_stand_in_for_an_operator_and_are_counted() -> None:
    def doubled(X: Tensor) -> Tensor:
        return 2 * X.clamp(min=0)

    loaded = load(conv_net())
    plain, replaced = lower(loaded, ["hidden"]), lower(loaded, ["hidden"], replacements={"Relu": doubled})
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(replaced(image), 2 * plain(image))
    assert replaced.replaced == {"Relu": 1}
    assert plain.replaced == {}


@pytest.mark.parametrize("name", ["class", "self", "graph", "code", "meta", "input_names", "output_names", "replaced"])
def test_any_name_can_belong_to_an_input_a_weight_or_a_tensor(name: str) -> None:
    for input, weight, tensor in ((name, "w", "t"), ("x", name, "t"), ("x", "w", name)):
        nodes = [
            helper.make_node("Mul", [input, weight], [tensor]),
            helper.make_node("Add", [tensor, weight], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "names",
            [helper.make_tensor_value_info(input, onnx.TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
            [numpy_helper.from_array(np.array([2.0, 3.0], np.float32), weight)],
        )
        network = to_torch(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
        assert network.input_names == [input]
        assert network.output_names == ["y"]
        assert network(torch.tensor([1.0, 10.0])).tolist() == [4.0, 33.0]


def test_half_and_double_models_take_any_float_input() -> None:
    for kind, result in (("float16", torch.float32), ("double", torch.float64)):
        text = f'<ir_version: 8, opset_import: ["": 17]> net ({kind}[2] x) => ({kind}[2] y) {{ y = Relu (x) }}'
        network = to_torch(onnx.parser.parse_model(text))
        for fed in (torch.float16, torch.float32, torch.float64):
            assert network(torch.ones(2, dtype=fed)).dtype == result


def test_inputs_whose_names_are_alike_as_python_words_stay_apart() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[2] a, float[2] b) => (float[2] y) { y = Sub (a, b) }'
    )
    for old, new in (("a", "x.1"), ("b", "x/1")):
        next(value for value in proto.graph.input if value.name == old).name = new
        proto.graph.node[0].input[:] = [new if name == old else name for name in proto.graph.node[0].input]
    network = to_torch(proto)
    assert network.input_names == ["x.1", "x/1"]
    assert network(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 2.0])).tolist() == [2, 1]


def test_names_inside_a_function_body_do_not_hide_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 20]> net (float[2, 3] x) => (float[2, 3] y, float[3] X)
    { y = Gelu (x)  X = ReduceMean <keepdims = 0> (y, axis) }
    """
    from onnxvis.ops import table  # noqa: PLC0415 - its contents are hidden for this test alone

    monkeypatch.delitem(table._TABLE, ("", "Gelu"))
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    shapes = shapes_of(to_torch(proto))
    assert shapes["X"] == (3,)
    assert shapes["y"] == (2, 3)
