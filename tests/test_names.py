from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxvis.errors import AmbiguousNodeError, OnnxvisError, UnknownNodeError
from onnxvis.model import Model, load
from tests.models import parsed

Layer = tuple[str, str, str] | tuple[str, str, str, list[str]]
"""Operator, node name, tensor name, and the scopes that torch's dynamo exporter records."""


def chain(*layers: Layer) -> Model:
    """Build a chain of unary operators with an exporter's names."""
    nodes, source = [], "input"
    for op_type, name, tensor, *scopes in layers:
        node = helper.make_node(op_type, [source], [tensor], name=name)
        if scopes:
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scopes[0]))
        nodes.append(node)
        source = tensor
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [1, 3])],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def weighted(op_type: str, name: str, tensor: str, *weights: str, shape: tuple[int, ...] = (3, 3, 1, 1)) -> Model:
    """Build one node with named weights, and a Relu after it."""
    rank = len(shape)
    node = helper.make_node(op_type, ["input", *weights], [tensor], name=name)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", [tensor], ["output"])],
        "weighted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [3] * rank)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(shape if k == 0 else 3, np.float32), w) for k, w in enumerate(weights)],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def found(model: Model, query: str) -> str:
    return str(model.names.find(query).name)


DYNAMO = chain(
    ("Abs", "node_Conv_12", "getattr_1", ["", "layer4", "layer4.2", "layer4.2.conv3", "conv2d_52"]),
    ("Relu", "node_relu_48", "relu_48", ["", "layer4", "layer4.2", "layer4.2.relu", "relu_48"]),
    ("Neg", "node_add_7", "add_7", ["", "layer4", "layer4.2", "add_7"]),
    ("Abs", "node_Conv_13", "conv2d_53", ["", "layer4", "layer4.3", "layer4.3.conv3", "conv2d_53"]),
    ("Exp", "node_exp", "exp", ["", "exp"]),
)
TORCHSCRIPT = chain(
    ("Abs", "/conv1/Conv", "/conv1/Conv_output_0"),
    ("Abs", "/layer4/layer4.2/conv3/Conv", "/layer4/layer4.2/conv3/Conv_output_0"),
    ("Relu", "/layer4/layer4.2/relu/Relu", "/layer4/layer4.2/relu/Relu_output_0"),
    ("Relu", "/layer4/layer4.2/relu_1/Relu", "/layer4/layer4.2/relu_1/Relu_output_0"),
    ("Abs", "/layer4/layer4.3/conv3/Conv", "/layer4/layer4.3/conv3/Conv_output_0"),
    ("Exp", "/Exp", "output"),
)
KERAS = chain(
    ("Abs", "StatefulPartitionedCall/net/conv5_1_conv/Conv2D", "StatefulPartitionedCall/net/conv5_1_conv/Conv2D:0"),
    ("Neg", "StatefulPartitionedCall/net/conv5_1_conv/BiasAdd", "StatefulPartitionedCall/net/conv5_1_conv/BiasAdd:0"),
    ("Relu", "StatefulPartitionedCall/net/conv5_1_conv/Relu", "StatefulPartitionedCall/net/conv5_1_conv/Relu:0"),
    ("Abs", "StatefulPartitionedCall/net/conv5_2_conv/Conv2D", "StatefulPartitionedCall/net/conv5_2_conv/Conv2D:0"),
    ("Relu", "net/fused/BiasAdd;net/fused/Conv2D", "StatefulPartitionedCall:0"),
)
FUSED = chain(
    ("Abs", "/conv1/Conv", "/stem/stem.1/Relu_output_0"),
    ("Abs", "/attention/q_proj/MatMul/MatMulAddFusion", "gemm_output_reshape_arg"),
    ("Abs", "gemm_output_reshape_new_reshape", "/attention/Reshape_output_0"),
    ("Abs", "/attention/MatMul/MatMulScaleFusion/", "/attention/MatMul_output_0"),
    ("Abs", "fused /conv2/Conv", "30"),
    ("Abs", "/conv3/Conv_quant", "/conv3/Conv_output_0_quantized"),
    ("Neg", "/conv3/Conv_output_0_DequantizeLinear", "/conv3/Conv_output_0_DequantizeLinear_Output"),
)
PADDLE = chain(
    ("Abs", "Abs@0", "conv2d_0.tmp_0"),
    ("Neg", "Neg@0", "Neg@0"),
    ("Relu", "Relu@0", "hard_swish_0.tmp_0"),
    ("Abs", "Abs.0", "p2o.pd_op.conv2d.1.0"),
    ("Neg", "Neg.0", "p2o.pd_op.batch_norm_.0.0"),
)
PLAIN = chain(
    ("Abs", "Plus214", "Plus214_Output_0"),
    ("Relu", "fire9/concat_1", "fire9/concat_1"),
    ("Neg", "linear_7_Add", "linear_7.tmp_1"),
    ("Abs", "Conv_12", "24"),
    ("Relu", "", "25"),
)


@pytest.mark.parametrize(
    ("model", "query", "tensor"),
    [
        (DYNAMO, "node_Conv_12", "getattr_1"),
        (DYNAMO, "getattr_1", "getattr_1"),
        (DYNAMO, "layer4.2.conv3", "getattr_1"),
        (DYNAMO, "2.conv3", "getattr_1"),
        (DYNAMO, "layer4.2", "add_7"),
        (DYNAMO, "layer4", "conv2d_53"),
        (DYNAMO, "conv2d_52", "getattr_1"),
        (TORCHSCRIPT, "layer4.2.conv3", "/layer4/layer4.2/conv3/Conv_output_0"),
        (TORCHSCRIPT, "layer4/layer4.2/conv3", "/layer4/layer4.2/conv3/Conv_output_0"),
        (TORCHSCRIPT, "/layer4/layer4.2/conv3/Conv", "/layer4/layer4.2/conv3/Conv_output_0"),
        (TORCHSCRIPT, "layer4.2", "/layer4/layer4.2/relu_1/Relu_output_0"),
        (TORCHSCRIPT, "conv1", "/conv1/Conv_output_0"),
        (TORCHSCRIPT, "2.relu", "/layer4/layer4.2/relu/Relu_output_0"),
        (TORCHSCRIPT, "output", "output"),
        (KERAS, "conv5_1_conv", "StatefulPartitionedCall/net/conv5_1_conv/Relu:0"),
        (KERAS, "conv5_1_conv/BiasAdd", "StatefulPartitionedCall/net/conv5_1_conv/BiasAdd:0"),
        (KERAS, "conv5_2_conv", "StatefulPartitionedCall/net/conv5_2_conv/Conv2D:0"),
        (KERAS, "conv5_2", "StatefulPartitionedCall/net/conv5_2_conv/Conv2D:0"),
        (KERAS, "fused", "StatefulPartitionedCall:0"),
        (DYNAMO, "layer4.2.relu.relu_48", "relu_48"),
        (DYNAMO, "layer4.2.add_7", "add_7"),
        (DYNAMO, "2.Neg", "add_7"),
        (FUSED, "conv1", "/stem/stem.1/Relu_output_0"),
        (FUSED, "stem.1.Relu", "/stem/stem.1/Relu_output_0"),
        (FUSED, "attention.q_proj", "gemm_output_reshape_arg"),
        (FUSED, "q_proj/MatMul", "gemm_output_reshape_arg"),
        (FUSED, "attention/Reshape", "/attention/Reshape_output_0"),
        (FUSED, "attention", "/attention/MatMul_output_0"),
        (FUSED, "conv2", "30"),
        (FUSED, "conv3", "/conv3/Conv_output_0_DequantizeLinear_Output"),
        (FUSED, "conv3/Conv", "/conv3/Conv_output_0_quantized"),
        (PADDLE, "conv2d_0", "conv2d_0.tmp_0"),
        (PADDLE, "hard_swish_0", "hard_swish_0.tmp_0"),
        (PADDLE, "conv2d_1", "p2o.pd_op.conv2d.1.0"),
        (PADDLE, "batch_norm_0", "p2o.pd_op.batch_norm_.0.0"),
        (PLAIN, "Plus214", "Plus214_Output_0"),
        (PLAIN, "concat_1", "fire9/concat_1"),
        (PLAIN, "fire9", "fire9/concat_1"),
        (PLAIN, "PLUS214", "Plus214_Output_0"),
        (PLAIN, "24", "24"),
        (PLAIN, "Abs:1", "24"),
        (PLAIN, "Relu:-1", "25"),
    ],
)
def test_names_are_found_as_each_exporter_writes_them(model: Model, query: str, tensor: str) -> None:
    assert found(model, query) == tensor


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (DYNAMO, ["layer4.2.conv3", "layer4.2.relu", "layer4.2", "layer4.3.conv3", "node_exp"]),
        (TORCHSCRIPT, ["conv1", "layer4.2.conv3", "layer4.2.relu", "layer4.2.relu_1", "layer4.3.conv3", "Exp"]),
        (KERAS, ["conv5_1_conv/Conv2D", "conv5_1_conv/BiasAdd", "conv5_1_conv", "conv5_2_conv", "fused"]),
        (
            FUSED,
            [
                "conv1",
                "attention.q_proj",
                "gemm_output_reshape_new_reshape",
                "attention",
                "conv2",
                "conv3/Conv_quant",
                "conv3",
            ],
        ),
        (PADDLE, ["conv2d_0", "Neg@0", "hard_swish_0", "conv2d_1", "batch_norm_0"]),
        (PLAIN, ["Plus214", "fire9", "linear_7_Add", "Conv_12", "25"]),
    ],
)
def test_short_names_are_what_a_person_would_type(model: Model, names: list[str]) -> None:
    assert [node.name.removesuffix("_output_0").lstrip("/") for node in model.nodes] == names


def test_the_tensors_inside_a_module_are_called_by_its_functions_and_operators() -> None:
    model = chain(
        ("Abs", "node_MatMul_26", "val_28", ["", "mlp", "mlp.fc1", "linear"]),
        ("Neg", "node_linear", "linear", ["", "mlp", "mlp.fc1", "linear"]),
        ("Relu", "node_view", "view", ["", "mlp", "view"]),
        ("Exp", "node_relu", "relu", ["", "mlp", "relu"]),
    )
    assert [node.name for node in model.nodes] == ["mlp.fc1.Abs", "mlp.fc1", "mlp.view", "mlp"]


def test_a_node_name_goes_before_a_tensor_name_and_both_before_a_scope() -> None:
    model = chain(("Abs", "b", "a"), ("Neg", "a", "c"), ("Relu", "conv/x", "d"), ("Exp", "e", "conv"))
    assert found(model, "a") == "c"
    assert found(model, "conv") == "conv"
    assert found(model, "x") == "d"


def test_a_convolution_into_which_batch_normalization_was_fused_keeps_its_own_name() -> None:
    # As torch's dynamo exporter writes it: scopes of the batch normalization, the weight of the convolution.
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y) { hidden = Conv (x, w, b)  y = Relu (hidden) }"""
    proto = parsed(text, w=np.ones((2, 3, 1, 1), np.float32), b=np.zeros(2, np.float32))
    proto.graph.node[0].input[1] = proto.graph.initializer[0].name = "layer1.conv1.weight"
    scopes = repr(["", "layer1", "layer1.bn1", "_native_batch_norm_legit_no_training"])
    proto.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    model = load(proto)
    assert [node.name for node in model.nodes] == ["layer1.conv1", "y"]
    for query in ("layer1.conv1", "conv1", "layer1.bn1", "layer1"):
        assert found(model, query) == "hidden"


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (weighted("Conv", "Conv_12", "24", "features.0.weight", "features.0.bias"), "features.0"),
        (weighted("Conv", "", "24", "ConvBnFusion_W_net.0.0.weight", "ConvBnFusion_BN_B_net.0.1.bias"), "net.0.0"),
        (weighted("Conv", "", "24", "onnx::Conv_3", "ConvMulFusion_Mul_B_net.0.1.bias"), "net.0.1"),
        (weighted("Conv", "Conv@0", "conv2d_0.tmp_0", "conv1_weights", "offset"), "conv1"),
        (weighted("Conv", "Conv.0", "p2o.pd_op.conv2d.0.0", "conv2d_0.w_0"), "conv2d_0"),
        (weighted("MatMul", "MatMul_5", "31", "onnx::MatMul_77", shape=(3, 3)), "MatMul_5"),
        (weighted("Gemm", "Gemm_5", "31", "onnx::Gemm_77", "head.fc.bias", shape=(3, 3)), "head.fc"),
        (weighted("Add", "node_linear", "linear", "encoder.q_proj.bias", shape=(3,)), "encoder.q_proj"),
        (weighted("Conv", "stem", "24", "features.0.weight"), "stem"),
    ],
)
def test_a_node_without_a_name_of_its_own_is_called_after_the_layer_of_its_weights(model: Model, layer: str) -> None:
    assert model.nodes[0].name == layer
    assert found(model, layer) == model.nodes[0].tensor


def test_weights_that_are_computed_say_nothing() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[3, 3] x) => (float[3, 3] y)
    { w = Abs (x)  y = MatMul (x, w) }"""
    proto = parsed(text)
    proto.graph.node[0].output[0] = proto.graph.node[1].input[1] = "layer.weight"
    assert [node.name for node in load(proto).nodes] == ["layer.weight", "y"]


def test_a_quantized_weight_keeps_its_layer() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y)
    { w = DequantizeLinear (q, s)  h = Conv (x, w)  y = Relu (h) }"""
    proto = parsed(text, q=np.ones((2, 3, 1, 1), np.int8), s=np.ones((), np.float32))
    proto.graph.node[0].input[0] = proto.graph.initializer[0].name = "net.conv1.weight_quantized"
    proto.graph.node[0].output[0] = proto.graph.node[1].input[1] = "net.conv1.weight_DequantizeLinear_Output"
    model = load(proto)
    assert [node.name for node in model.nodes] == ["net.conv1", "y"]


def test_the_namespace_of_older_torch_serves_where_no_scopes_are_recorded() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 17]> g (float[1, 3] x) => (float[1, 3] y) { h = Abs (x)  y = Relu (h) }'
    )
    names = (
        ": net.Net/layer4: net.Stage/layer4.2: net.Block/conv: aten.abs.default",
        ": net.Net/layer4: net.Stage/relu: aten.relu.default",
    )
    for node, name in zip(proto.graph.node, names, strict=True):
        node.metadata_props.add(key="namespace", value=name)
    model = load(proto)
    assert [node.name for node in model.nodes] == ["layer4.2", "layer4"]
    assert found(model, "layer4.2.conv") == "h"


def test_a_suffix_goes_before_a_substring() -> None:
    model = chain(("Abs", "net/conv1", "a"), ("Neg", "net/conv10", "b"))
    assert found(model, "conv1") == "a"


def test_tensors_hidden_behind_node_names_are_numbered() -> None:
    graph = """<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[1] b, float[1] d)
    { a, b = Split (x)  c = Neg (a)  d = Abs (c) }"""
    proto = onnx.parser.parse_model(graph)
    for node, name in zip(proto.graph.node, ("c", "b", "a"), strict=True):
        node.name = name
    model = load(proto)
    # The second output has no name of its own: its tensor's is that of another node.
    assert [node.name for node in model.nodes] == ["c", "Split:0:1", "b", "a"]
    assert [found(model, node.name) for node in model.nodes] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("query", "candidates"),
    [("conv3", ["layer4.2.conv3", "layer4.3.conv3"]), ("Conv_output", None), ("e", None)],
)
def test_an_ambiguous_name_lists_its_meanings(query: str, candidates: list[str] | None) -> None:
    with pytest.raises(AmbiguousNodeError, match="can mean") as caught:
        TORCHSCRIPT.names.find(query, source="net.onnx")
    if candidates is not None:
        assert caught.value.details["candidates"] == candidates
    assert "Write more of the name" in caught.value.message


@pytest.mark.parametrize("query", ["layer4.2.conw3", "Layer4.2.Conv4", "layer4.2.conv33"])
def test_an_unknown_name_gets_the_nearest(query: str) -> None:
    with pytest.raises(UnknownNodeError, match=r"net\.onnx \(6 nodes\)") as caught:
        TORCHSCRIPT.names.find(query, source="net.onnx")
    assert caught.value.details["candidates"][0] == "layer4.2.conv3"
    assert "'layer4.2.conv3' (1, 3)" in caught.value.message


@pytest.mark.parametrize(
    "query", ["", " ", "Abs:3", "Abs:-4", "Abs:", "Abs:0:1", "Abs:x", "Foo:0", "Abs:99999999999999"]
)
def test_nothing_answers_to_a_name_that_means_nothing(query: str) -> None:
    with pytest.raises(UnknownNodeError):
        TORCHSCRIPT.names.find(query)


@pytest.mark.parametrize("scopes", ["[", "[" * 100_000, "1", "{}", "[1, 2]", "-" * 100_000 + "1", "\0", "'text'"])
def test_scopes_that_are_no_list_are_ignored(scopes: str) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 17]> g (float[1, 3] x) => (float[1, 3] y) { y = Relu (x) }'
    )
    proto.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert [node.name for node in load(proto).nodes] == ["y"]


def test_every_name_of_every_shared_model_finds_its_tensor(shared_models: Path) -> None:
    tried = 0
    for path in sorted(shared_models.glob("*.onnx")):
        try:
            model = load(path)
        except OnnxvisError:
            assert path.name.startswith("neg_")
            continue
        lost = [node for node in model.nodes if model.names.find(node.name).name != node.tensor]
        assert not lost
        tried += len(model.nodes)
    assert tried > 1000


def test_three_thousand_scoped_nodes_are_listed_quickly() -> None:
    layers: list[Layer] = [
        ("Relu", f"node_{k}", f"t{k}", ["", f"layer{k // 30}", f"layer{k // 30}.{k % 30}", f"relu_{k}"])
        for k in range(3000)
    ]
    model = chain(*layers)
    began = time.process_time()
    assert len({node.name for node in model.nodes}) == 3000
    assert time.process_time() - began < 2
