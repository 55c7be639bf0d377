from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxvis.errors import InvalidModelError
from onnxvis.model import load
from onnxvis.sparse import densified, has_sparse
from onnxvis.verify import verify

TEXT = '<ir_version: 8, opset_import: ["": 17]> g (float[2, 3] x) => (float[2, 3] y) { y = Add (x, w) }'


def sparse(positions: list[int], shape: list[int], dims: list[int]) -> onnx.SparseTensorProto:
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [5.0, 7.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("", TensorProto.INT64, shape, positions), dims)


def with_initializer(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(TEXT)
    proto.graph.sparse_initializer.append(tensor)
    return proto


@pytest.mark.parametrize(("positions", "shape"), [([1, 5], [2]), ([0, 1, 1, 2], [2, 2])])
def test_a_sparse_initializer_is_the_dense_one_that_it_means(positions: list[int], shape: list[int]) -> None:
    proto = with_initializer(sparse(positions, shape, [2, 3]))
    before = proto.SerializeToString()
    model = load(proto)
    found = model.values["w"].const_value
    assert found is not None
    np.testing.assert_array_equal(found.numpy(), [[0, 5, 0], [0, 0, 7]])
    assert verify(model).ok
    assert proto.SerializeToString() == before


def test_a_sparse_constant_is_the_dense_one_that_it_means() -> None:
    proto = onnx.parser.parse_model(TEXT)
    node = proto.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.append(helper.make_attribute("sparse_value", sparse([1, 5], [2], [2, 3])))
    assert has_sparse(proto)
    (attribute,) = densified(proto).graph.node[1].attribute
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(attribute.t), [[0, 5, 0], [0, 0, 7]])
    assert verify(proto).ok


def test_a_sparse_tensor_in_a_branch_is_found() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[2, 3] x) => (float[2, 3] y)
        { k = Constant <value = bool {1}> ()
          y = If (k) < then_branch = t () => (float[2, 3] p) { p = Add (x, w) },
                       else_branch = e () => (float[2, 3] q) { q = Neg (x) } > }"""
    )
    branch = next(attribute.g for attribute in proto.graph.node[1].attribute if attribute.name == "then_branch")
    branch.sparse_initializer.append(sparse([1, 5], [2], [2, 3]))
    assert has_sparse(proto)
    assert verify(proto).ok


def test_a_model_without_any_has_none() -> None:
    assert not has_sparse(onnx.parser.parse_model(TEXT))


@pytest.mark.parametrize(
    ("positions", "shape", "dims", "reason"),
    [
        ([1, 6], [2], [2, 3], "wrong"),
        ([-1, 5], [2], [2, 3], "from -1"),
        ([1, 2, 3], [3], [2, 3], "2 values at positions"),
        ([0, 1, 1, 3], [2, 2], [2, 3], "wrong"),
        ([1, 5], [2], [2**20, 2**20], "too large"),
        ([1, 5], [2], [-2, 3], "too large"),
    ],
)
def test_a_sparse_tensor_that_cannot_be_is_refused(
    positions: list[int], shape: list[int], dims: list[int], reason: str
) -> None:
    with pytest.raises(InvalidModelError, match=reason):
        load(with_initializer(sparse(positions, shape, dims)))
