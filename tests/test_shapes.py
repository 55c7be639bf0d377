from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
import torch

from onnxvis.model import load
from onnxvis.ops import find
from onnxvis.shapes import TensorSpec

HEADER = '<ir_version: 8, opset_import: ["": 17]>'


def shapes(text: str) -> dict[str, TensorSpec]:
    return dict(load(onnx.parser.parse_model(text)).tensors)


@pytest.mark.parametrize(
    ("dtype", "is_float"),
    [("FLOAT", True), ("FLOAT16", True), ("UNDEFINED", True), ("INT64", False), ("BOOL", False), ("SEQUENCE", False)],
)
def test_floats_are_what_a_gradient_can_reach(dtype: str, is_float: bool) -> None:
    assert TensorSpec("x", dtype, None).is_float is is_float


def test_a_spec_prints_its_open_sizes() -> None:
    assert str(TensorSpec("x", "FLOAT", ("N", 3, None))) == "x (N, 3, ?) float"
    assert str(TensorSpec("x", "FLOAT", None)) == "x (?) float"


def test_sizes_are_inferred_through_shape_arithmetic() -> None:
    found = shapes(
        HEADER
        + """ g (float[1, 4, 6] x) => (float[A, B] y)
        { s = Shape <start = 0, end = 1> (x)  rest = Constant <value_ints = [-1]> ()
          both = Concat <axis = 0> (s, rest)  y = Reshape (x, both) }"""
    )
    assert found["y"].shape == (1, 24)
    assert found["s"].dtype == "INT64"


def test_opset_13_is_inferred_through_shape_arithmetic_too() -> None:
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[N, 4, 6] x) => (float[A, B, C, D] y)
        { s = Shape (x)  zero = Constant <value_ints = [0]> ()  two = Constant <value_ints = [2]> ()
          head = Slice (s, zero, two)  tail = Constant <value_ints = [2, 3]> ()
          sizes = Concat <axis = 0> (head, tail)  h = Reshape (x, sizes)  y = Relu (h) }"""
    assert shapes(text)["h"].shape == ("N", 4, 2, 3)


@pytest.mark.parametrize("written", ["", "?", "None", "-1"])
def test_what_exporters_write_for_an_open_size_is_none(written: str) -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = written
    assert load(proto).inputs[0].shape == (None, 3)


@pytest.mark.parametrize("written", [0, -1])
def test_sizes_that_cannot_be_are_open(written: int) -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = written
    assert load(proto).inputs[0].shape == (None, 3)


def test_a_sequence_is_no_float_tensor() -> None:
    found = load(
        onnx.parser.parse_model(
            HEADER
            + """ g (float[1, 3] x) => (float[1, 3] y)
            { s = SequenceConstruct (x, x)  i = Constant <value_int = 0> ()  y = SequenceAt (s, i) }"""
        )
    )
    assert found.tensors["s"] == TensorSpec("s", "SEQUENCE", None)
    assert [node.tensor for node in found.nodes] == ["y"]


def test_a_model_that_contradicts_itself_keeps_its_declared_shapes() -> None:
    found = shapes(HEADER + " g (float[1, 3] x) => (float[7, 7] y) { y = Relu (x) }")
    assert found["x"].shape == (1, 3)
    assert found["y"].shape == (7, 7)


@pytest.mark.parametrize(
    "attributes", ["border = [1, 2, 3, 0]", "border = [1, 2, 0, 0], scale = [4, 3]", "border = [0, 0, 0, 0]"]
)
def test_a_crop_has_the_shape_that_its_operator_gives(attributes: str) -> None:
    text = f"""<ir_version: 3, opset_import: ["": 7]> g (float[1, 3, 10, 9] x) => (float[A, B, C, D] y)
    {{ c = Crop <{attributes}> (x)  y = Relu (c) }}"""
    proto = onnx.parser.parse_model(text)
    settings = {item.name: tuple(item.ints) for item in proto.graph.node[0].attribute}
    operator = find("Crop", 7)
    assert operator is not None
    assert load(proto).tensors["y"].shape == tuple(operator.function(torch.zeros(1, 3, 10, 9), **settings).shape)


def test_withdrawn_operators_without_a_twin_leave_their_shape_open() -> None:
    found = shapes(
        """<ir_version: 3, opset_import: ["": 7]> g (float[1, 3] x) => (float[1, 3] y)
        { f = ConstantFill <shape = [1, 3]> ()  y = Add (x, f) }"""
    )
    assert "f" not in found
    assert found["y"].shape == (1, 3)


def test_weights_have_their_own_type_and_shape() -> None:
    proto = onnx.parser.parse_model(HEADER + " g (float[1, 3] x) => (float[1, 3] y) { y = Add (x, w) }")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "w"))
    assert load(proto).tensors["w"] == TensorSpec("w", "FLOAT", (3,))


@pytest.mark.parametrize(
    "nodes",
    [
        """a = Constant <value = int64 {0}> ()  b = Constant <value = int64 {200000000}> ()
        c = Constant <value = int64 {1}> ()  r = Range (a, b, c)  y = Cast <to = 1> (r)""",
        "m = Mul (s, s)  y = Cast <to = 1> (m)",
    ],
)
def test_long_lists_of_numbers_are_not_followed_one_by_one(nodes: str) -> None:
    began = time.process_time()
    found = shapes(HEADER + " g (int64[200000000] s) => (float[N] y) { " + nodes + " }")
    assert found["y"].shape == (200_000_000,)
    assert time.process_time() - began < 5
