"""Opsets 1 to 6 beside onnxruntime, which runs little of them: what they meant, said in the words of a newer opset."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from onnxvis.ops.table import find
from tests.ops.oracle import computed, expected, node_model

Array = npt.NDArray[Any]
Attributes = dict[str, Any]

OLD = range(1, 7)
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return RNG.uniform(0.2, 0.8, size=shape).astype(np.float32)


def truths(*shape: int) -> Array:
    return RNG.integers(0, 2, size=shape).astype(np.bool_)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


IMAGE = normal(2, 3, 6, 5)
RATIO = positive(2, 3, 4, 5)
MATRIX = normal(4, 6)
SLOPES = positive(3)
ONE, TWO = np.array(1, np.float32), np.array(2, np.float32)
PADS = [0, 0, 1, 2, 0, 0, 0, 1]
STATISTICS = [positive(3) for _ in range(4)]


class Case(NamedTuple):
    """A node of an old opset, and how a newer one says the same."""

    op_type: str
    inputs: list[Array]
    attributes: Attributes
    since: int = 1
    until: int = 6
    newer: int = 1  # the first opset that onnxruntime runs
    newer_inputs: list[Array] | None = None
    newer_attributes: Attributes | None = None
    outputs: int = 1


def unchanged(op_types: str, inputs: list[Array], newer: int = 1, /, **attributes: Any) -> list[Case]:
    """Operators whose words did not change."""
    return [Case(op_type, inputs, attributes, newer=newer) for op_type in op_types.split()]


def broadcast(op_type: str, A: Array, B: Array, axis: int | None) -> Case:
    """The first dimension of B was laid on `axis` of A; now B has trailing dimensions of size 1."""
    attributes = {"broadcast": 1} if axis is None else {"broadcast": 1, "axis": axis}
    trailing = 0 if axis is None else A.ndim - axis % A.ndim - B.ndim
    aligned = B.reshape(*B.shape, *[1] * trailing)
    return Case(op_type, [A, B], attributes, newer=7, newer_inputs=[A, aligned], newer_attributes={})


CASES = [
    *unchanged("Abs Ceil Elu Exp Floor HardSigmoid LeakyRelu Neg Relu Sigmoid Tanh", [IMAGE], 6),
    *unchanged("Elu LeakyRelu", [IMAGE], 6, alpha=0.3),
    *unchanged("HardSigmoid", [IMAGE], 6, alpha=0.3, beta=0.4),
    *unchanged("Log Sqrt Reciprocal", [RATIO], 6),
    *unchanged("Softplus Softsign Identity Softmax LogSoftmax Hardmax Flatten Transpose Shape Size", [IMAGE]),
    *unchanged("Softmax LogSoftmax Hardmax Flatten", [IMAGE], axis=2),
    *unchanged("GlobalAveragePool GlobalMaxPool ArgMax ArgMin LpNormalization", [IMAGE]),
    *unchanged("ArgMax ArgMin", [IMAGE], axis=2, keepdims=0),
    *unchanged("Max Min Mean Sum", [normal(2, 3), normal(2, 3), normal(2, 3)], 6),
    *unchanged("Not", [truths(2, 3)]),
    *unchanged("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax", [RATIO], axes=[1, 2], keepdims=0),
    *unchanged("ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare", [RATIO], axes=[1, 2], keepdims=0),
    *unchanged("ReduceSum ReduceL2", [RATIO]),
    *unchanged("Add Sub Mul Div Pow", [RATIO, positive(2, 3, 4, 5)], 7),
    *unchanged("Add Sub Mul Div", [np.array([-7, 7, 5]), np.array([2, -2, 5])], 7),
    *unchanged("And Or Xor", [truths(3, 4), truths(3, 4)], 7),
    *unchanged("Equal", [ints(1, 2, 3), ints(1, 3, 3)], 7),
    *unchanged("Less Greater", [normal(4), normal(4)], 7),
    *unchanged("MatMul", [normal(2, 3, 4), normal(4, 2)]),
    *unchanged("Gemm", [normal(3, 4), normal(4, 5), normal(3, 5)], 7, alpha=0.5, beta=2.0),
    *unchanged("InstanceNormalization", [IMAGE, positive(3), positive(3)], 6, epsilon=0.1),
    *unchanged("LRN", [IMAGE], size=3),
    *unchanged("Conv", [IMAGE, normal(4, 3, 3, 2), normal(4)], pads=[1, 0, 2, 1], strides=[2, 1]),
    *unchanged("ConvTranspose", [IMAGE, normal(3, 2, 3, 3)], strides=[2, 2], output_shape=[12, 10]),
    *unchanged("AveragePool", [IMAGE], 7, kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1]),
    *unchanged("MaxPool", [IMAGE], kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1]),
    *unchanged("MaxRoiPool", [IMAGE, np.array([[1, 0, 1, 3, 4]], np.float32)], pooled_shape=[2, 2]),
    *unchanged("Slice", [IMAGE], axes=[1, 3], starts=[0, -3], ends=[2, 100]),
    *unchanged("Gather", [IMAGE, ints(0, 2)], axis=1),
    *unchanged("Squeeze", [normal(1, 3, 1)], axes=[0]),
    *unchanged("Unsqueeze", [normal(2, 3)], axes=[0, 3]),
    *unchanged("DepthToSpace", [normal(2, 8, 3, 2)], blocksize=2),
    *unchanged("SpaceToDepth", [normal(2, 2, 4, 6)], blocksize=2),
    *unchanged("Constant", [], value=onnx.numpy_helper.from_array(RATIO)),
    *unchanged("PRelu", [IMAGE, positive(1)], 7),
    Case("PRelu", [IMAGE, SLOPES], {}, newer=7, newer_inputs=[IMAGE, SLOPES.reshape(3, 1, 1)]),
    *[broadcast(name, RATIO, positive(4, 5), None) for name in ("Add", "Sub", "Mul", "Div", "Pow")],
    *[broadcast(name, RATIO, positive(3, 4), 1) for name in ("Add", "Sub", "Mul", "Div", "Pow")],
    *[
        broadcast("Mul", RATIO, positive(*shape), axis)
        for shape, axis in (((3,), 1), ((2,), 0), ((4,), -2), ((1,), None))
    ],
    *[broadcast(name, truths(2, 3, 4), truths(3), 1) for name in ("And", "Or", "Xor")],
    broadcast("Equal", RNG.integers(0, 3, (2, 3, 4)), RNG.integers(0, 3, 3), 1),
    *[broadcast(name, RATIO, positive(3), 1) for name in ("Less", "Greater")],
    Case(
        "BatchNormalization",
        [IMAGE, *STATISTICS],
        {"is_test": 1, "epsilon": 0.1},
        newer=7,
        newer_attributes={"epsilon": 0.1},
    ),
    Case("Cast", [3 * IMAGE], {"to": "INT32"}, until=5, newer=6, newer_attributes={"to": onnx.TensorProto.INT32}),
    Case("Cast", [3 * IMAGE], {"to": onnx.TensorProto.INT64}, since=6),
    Case("Clip", [IMAGE], {"min": -0.5}, newer=6),
    Case("Clip", [IMAGE], {"min": -0.5, "max": 0.5}, newer=6),
    Case("Concat", [normal(2, 3), normal(2, 2)], {}, until=3, newer=4, newer_attributes={"axis": 1}),
    Case("Concat", [normal(2, 3), normal(1, 3)], {"axis": 0}, newer=4),
    Case("Dropout", [IMAGE], {"is_test": 1}, newer=7, newer_attributes={}),
    Case(
        "Gemm",
        [normal(4, 3), normal(5, 4), normal(5)],
        {"transA": 1, "transB": 1, "broadcast": 1},
        newer=7,
        newer_attributes={"transA": 1, "transB": 1},
    ),
    Case("GlobalLpPool", [IMAGE], {"p": 3.0}, until=1, newer=2, newer_attributes={"p": 3}),
    Case("GlobalLpPool", [IMAGE], {"p": 3}, since=2),
    Case(
        "LpPool",
        [IMAGE],
        {"kernel_shape": [3, 2], "p": 3.0},
        until=1,
        newer=2,
        newer_attributes={"kernel_shape": [3, 2], "p": 3},
    ),
    Case("LpPool", [IMAGE], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}, since=2),
    Case("Pad", [IMAGE], {"paddings": PADS}, until=1, newer=2, newer_attributes={"pads": PADS}),
    Case("Pad", [IMAGE], {"pads": PADS, "mode": "reflect"}, since=2),
    Case("Pad", [IMAGE], {"pads": PADS, "value": 2.0}, since=2),
    Case(
        "Reshape", [IMAGE], {"shape": [0, -1]}, until=4, newer=5, newer_inputs=[IMAGE, ints(0, -1)], newer_attributes={}
    ),
    Case("Reshape", [IMAGE, ints(0, -1)], {}, since=5),
    Case("Selu", [IMAGE], {}, until=5, newer=6, newer_attributes={"alpha": 1.6732, "gamma": 1.0507}),
    Case("Selu", [IMAGE], {}, since=6),
    Case("Split", [normal(4, 6)], {"axis": 1, "split": [2, 4]}, newer=2, outputs=2),
    Case("Split", [normal(4, 6)], {"axis": 1}, newer=2, outputs=3),
    Case("Split", [MATRIX, ints(1, 3)], {"axis": 0}, until=1, newer=13, outputs=2),
    Case("Tile", [MATRIX, TWO, ONE], {}, until=5, newer=6, newer_inputs=[MATRIX, ints(1, 2)]),
    Case("Tile", [normal(2, 3), ints(2, 3)], {}, since=6),
    Case("TopK", [normal(3, 5)], {"k": 2}, outputs=2),
    Case("TopK", [normal(3, 5)], {"k": 2, "axis": 0}, outputs=2),
    *[
        Case(
            "Upsample",
            [IMAGE],
            {"height_scale": 2.0, "width_scale": 3.0, "mode": mode},
            newer=7,
            newer_attributes={"scales": [1.0, 1.0, 2.0, 3.0], "mode": newer_mode},
        )
        for mode, newer_mode in (("nearest", "nearest"), ("bilinear", "linear"))
    ],
    *[
        Case(
            name,
            [normal(3, 2, 4), normal(1, gates * 5, 4), normal(1, gates * 5, 5), normal(1, 2 * gates * 5)],
            {"hidden_size": 5, "output_sequence": 1},
            newer=7,
            newer_attributes={"hidden_size": 5},
            outputs=outputs,
        )
        for name, gates, outputs in (("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3))
    ],
]
# What has no kernel that one could compare with, or is not the table's.
ELSEWHERE = {"If", "Loop", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def opsets(case: Case) -> list[int]:
    """The opsets of the case at which the schema changed, and the last one."""
    changes = {case.since, case.until, *(schema.since_version for schema in schemas() if schema.name == case.op_type)}
    return [opset for opset in sorted(changes) if case.since <= opset <= case.until]


def schemas() -> list[onnx.defs.OpSchema]:
    """Those of the default domain in old opsets."""
    return [
        schema
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version in OLD
    ]


RUNS = [pytest.param(case, opset, id=f"{case.op_type}-{opset}") for case in CASES for opset in opsets(case)]


@pytest.mark.parametrize(("case", "opset"), RUNS)
def test_an_old_operator_is_what_a_newer_one_says(case: Case, opset: int) -> None:
    inputs = case.inputs if case.newer_inputs is None else case.newer_inputs
    attributes = case.attributes if case.newer_attributes is None else case.newer_attributes
    newer = max(opset, case.newer)
    model = node_model(case.op_type, inputs, newer, outputs=case.outputs, **attributes)
    wanted = expected(model, inputs)
    found = computed(case.op_type, case.inputs, opset, outputs=case.outputs, **case.attributes)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == np.shape(theirs)
        assert mine.dtype == np.asarray(theirs).dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op_type", sorted({schema.name for schema in schemas()}))
def test_every_old_operator_has_an_entry_and_a_case(op_type: str) -> None:
    assert op_type in {case.op_type for case in CASES} | ELSEWHERE
    assert find(op_type, 6) is not None or op_type in {"If", "Loop"}


@pytest.mark.parametrize("opset", [1, 5])
def test_an_old_node_says_which_inputs_it_consumes(opset: int) -> None:
    (found,) = computed("Relu", [IMAGE], opset, consumed_inputs=[0])
    np.testing.assert_array_equal(found, np.maximum(IMAGE, 0))


def test_the_statistics_of_single_elements_normalize_them() -> None:
    scale, bias, mean, variance = (positive(3, 6, 5) for _ in range(4))
    for opset in (1, 6):
        inputs = [IMAGE, scale, bias, mean, variance]
        (found,) = computed("BatchNormalization", inputs, opset, is_test=1, spatial=0, epsilon=0.1)
        wanted = scale * (IMAGE - mean) / np.sqrt(variance + 0.1) + bias
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_mask_of_an_old_dropout_is_of_the_type_of_the_data() -> None:
    for opset in (1, 6):
        _, mask = computed("Dropout", [IMAGE], opset, is_test=1, outputs=2)
        assert mask.dtype == np.float32
