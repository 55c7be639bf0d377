import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxvis.checks.unused import check_unused
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Outcome
from tests.checks.inspected import drawn, inspected, of
from tests.models import conv_net


def outcome(inspection: Inspection) -> Outcome:
    return check_unused(inspection, CheckSettings())


def test_a_model_that_reads_all_it_has_passes() -> None:
    assert outcome(of(conv_net())).status == "pass"


def test_a_bias_that_was_cut_off_is_named_with_its_layer() -> None:
    proto = conv_net()
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = {"w2": "block.conv2.weight", "b2": "block.conv2.bias"}.get(name, name)
    for tensor in proto.graph.initializer:
        tensor.name = {"w2": "block.conv2.weight", "b2": "block.conv2.bias"}.get(tensor.name, tensor.name)
    assert outcome(of(proto)).status == "pass"
    convolution = next(node for node in proto.graph.node if node.output[0] == "conv2")
    del convolution.input[2]
    found = outcome(of(proto))
    assert (found.status, found.layer, found.details[0].tensor) == ("warn", "block.conv2", "block.conv2.bias")


def test_a_name_that_ends_in_a_number_is_of_no_layer() -> None:
    text = "g (float[1, 3] x) => (float[1, 2] y) { y = MatMul(x, onnx__MatMul_12) }"
    found = outcome(inspected(text, onnx__MatMul_12=drawn(3, 2), onnx__MatMul_13=drawn(3, 2)))
    assert (found.status, found.layer, found.details[0].tensor) == ("warn", None, "onnx__MatMul_13")


def test_a_branch_is_a_reader() -> None:
    text = """g (float[1, 3] x, bool c) => (float[1, 3] y) {
        y = If (c) <
            then_branch = a () => (float[1, 3] t) { t = Add(x, w) },
            else_branch = b () => (float[1, 3] e) { e = Neg(x) }
        > }"""
    assert outcome(inspected(text, w=np.ones(3, np.float32))).status == "pass"


def test_an_output_is_a_reader() -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y, float[3] w) { y = Relu(x) }"
    assert outcome(inspected(text, w=np.ones(3, np.float32))).status == "pass"


def test_a_weight_of_a_branch_that_nobody_reads_is_found() -> None:
    text = """g (float[1, 3] x, bool c) => (float[1, 3] y) {
        y = If (c) <
            then_branch = a () => (float[1, 3] t) { t = Abs(x) },
            else_branch = b () => (float[1, 3] e) { e = Neg(x) }
        > }"""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    proto.graph.node[0].attribute[0].g.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "inner"))
    assert [detail.tensor for detail in outcome(of(proto)).details] == ["inner"]


@pytest.mark.parametrize("op_type", ["Sigmoid", "Shape"])
def test_a_node_whose_result_nobody_uses_is_a_warning(op_type: str) -> None:
    proto = conv_net()
    proto.graph.node.append(helper.make_node(op_type, ["relu1"], ["left"]))
    found = outcome(of(proto))
    assert found.status == "warn"
    assert found.details[0].tensor == "left"
    assert found.layer == ("left" if op_type == "Sigmoid" else None)
