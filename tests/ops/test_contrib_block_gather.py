from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from onnxvis import load, verify
from tests.ops.oracle import computed, node_model
from tests.ops.quantities import MICROSOFT

Array = npt.NDArray[Any]
ROWS = 5
INDICES = np.array([[0, 4, -1], [2, -5, 2]])


def agrees(inputs: list[Array], **attributes: Any) -> Array:
    """Compare to the bit; all but the indices are constants, since onnxruntime takes no arrays of 4 bits."""
    attributes = {"block_size": 16, **attributes}
    model = node_model("GatherBlockQuantized", inputs, 21, domain=MICROSOFT, **attributes)
    names = [f"x{i}" for i in range(len(inputs))]
    model.graph.initializer.extend(
        numpy_helper.from_array(x, name) for x, name in zip(inputs, names, strict=True) if name != "x1"
    )
    kept = [value for value in model.graph.input if value.name == "x1"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted: Array = session.run(None, {"x1": inputs[1]})[0]
    (found,) = computed("GatherBlockQuantized", inputs, 21, domain=MICROSOFT, constant=False, **attributes)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    return wanted


def random_scales(*shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(1).uniform(0.01, 0.1, shape).astype(dtype)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("indices", [INDICES, INDICES.astype(np.int32), np.array(3)], ids=["int64", "int32", "one"])
def test_bytes_agree(bits: int, dtype: Any, indices: Array) -> None:
    generator = np.random.default_rng(0)
    columns, blocks = 40, 3  # the last block is half of one
    data = generator.integers(0, 256, (ROWS, columns * bits // 8)).astype(np.uint8)
    zeros = generator.integers(0, 256, (ROWS, -(-blocks * bits // 8))).astype(np.uint8)
    inputs: list[Array] = [data, indices, random_scales(ROWS, blocks, dtype=dtype)]
    agrees(inputs, bits=bits)
    agrees([*inputs, zeros], bits=bits, quantize_axis=-1)


@pytest.mark.parametrize("kind", [ml_dtypes.int4, ml_dtypes.uint4])
@pytest.mark.parametrize(("gather_axis", "quantize_axis"), [(0, 1), (1, 0), (0, 0), (-1, 1), (2, 2)])
def test_integers_of_4_bits_agree_along_any_axes(kind: Any, gather_axis: int, quantize_axis: int) -> None:
    shape, blocks = [5, 6, 8], [5, 6, 8]
    shape[quantize_axis], blocks[quantize_axis] = 40, 3
    low = -8 if kind is ml_dtypes.int4 else 0
    generator = np.random.default_rng(0)
    data, zeros = (generator.integers(low, low + 16, size).astype(kind) for size in (shape, blocks))
    inputs: list[Array] = [data, INDICES, random_scales(*blocks)]
    agrees(inputs, gather_axis=gather_axis, quantize_axis=quantize_axis)
    agrees([*inputs, zeros], gather_axis=gather_axis, quantize_axis=quantize_axis)


def test_indices_pick_their_block_where_both_axes_are_one() -> None:
    data = np.arange(40).reshape(40, 1).astype(np.uint8).astype(ml_dtypes.uint4)
    agrees([data, np.array([0, 15, 16, 39, -40, -9]), random_scales(3, 1)], gather_axis=0, quantize_axis=0)


@pytest.mark.parametrize("index", [5, -6, 1000])
def test_an_index_outside_of_the_table_gives_zeros(index: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, (ROWS, 8)).astype(np.uint8)
    inputs: list[Array] = [data, np.array([1, index]), random_scales(ROWS, 1)]
    inside, outside = agrees(inputs)
    assert np.any(inside)
    assert not np.any(outside)


@pytest.mark.parametrize("kind", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("rows", [1, ROWS])
def test_floats_of_8_bits_agree_and_their_scales_broadcast(kind: Any, rows: int) -> None:
    data = np.random.default_rng(0).normal(size=(ROWS, 40)).astype(kind)
    agrees([data, INDICES, random_scales(rows, 3)])


def test_floats_without_blocks_agree() -> None:
    data = np.random.default_rng(0).normal(size=(ROWS, 40)).astype(ml_dtypes.float8_e4m3fn)
    agrees([data, INDICES, random_scales(ROWS, 1)], block_size=0)


@pytest.mark.parametrize("is_symmetric", [False, True])
def test_what_the_quantizer_writes_agrees(is_symmetric: bool) -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        embedded (int64[2, 3] tokens) => (float[2, 3, 8] y) { e = Gather (table, tokens) y = MatMul (e, w) }"""
    )
    generator = np.random.default_rng(0)
    for name, shape in (("table", (20, 64)), ("w", (64, 8))):
        model.graph.initializer.append(numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name))
    quantizer = MatMulNBitsQuantizer(
        model, bits=4, block_size=32, is_symmetric=is_symmetric, op_types_to_quantize=("MatMul", "Gather")
    )
    quantizer.process()
    report = verify(load(quantizer.model.model), inputs={"tokens": np.array([[0, 19, 7], [7, 3, 11]])})
    assert report.ok
    assert [item.op_type for item in report.comparisons] == ["GatherBlockQuantized", "MatMulNBits"]
