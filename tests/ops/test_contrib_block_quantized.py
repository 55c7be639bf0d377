from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import ModelProto, numpy_helper

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_block_quantized import mat_mul_n_bits
from tests.ops.oracle import assert_agrees, computed, node_model
from tests.ops.quantities import MICROSOFT

Array = npt.NDArray[Any]
N = 6


def case(bits: int, block_size: int, K: int) -> tuple[list[Array | None], dict[str, Any]]:
    """Inputs without zero points, and the attributes."""
    rng = np.random.default_rng(0)
    blocks = -(-K // block_size)
    A = rng.normal(size=(2, 3, K)).astype(np.float32)
    B = rng.integers(0, 256, (N, blocks, block_size * bits // 8)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, (N, blocks)).astype(np.float32)
    return [A, B, scales], {"K": K, "N": N, "bits": bits, "block_size": block_size}


def packed_zero_points(bits: int, block_size: int, K: int) -> Array:
    blocks = -(-K // block_size)
    return np.random.default_rng(1).integers(0, 256, (N, -(-blocks * bits // 8))).astype(np.uint8)


def unpacked(rows: Array, bits: int) -> Array:
    """The numbers in the bytes of each row, lowest bits first, one by one."""
    numbers = [[int(byte) >> shift & ((1 << bits) - 1) for byte in row for shift in range(0, 8, bits)] for row in rows]
    return np.array(numbers, np.float64)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("block_size", "K"), [(16, 64), (16, 72), (32, 80)])
def test_weights_in_blocks_agree(bits: int, block_size: int, K: int) -> None:
    inputs, attributes = case(bits, block_size, K)
    bias = np.random.default_rng(2).normal(size=N).astype(np.float32)
    settings = {"domain": MICROSOFT, "constant": False, **attributes}
    assert_agrees("MatMulNBits", inputs, 21, **settings)
    assert_agrees("MatMulNBits", [*inputs, packed_zero_points(bits, block_size, K), None, bias], 21, **settings)


@pytest.mark.parametrize("bits", [2, 4])
def test_zero_points_can_be_floats(bits: int) -> None:
    inputs, attributes = case(bits, 16, 72)
    zeros = np.random.default_rng(3).uniform(0, 2**bits, (N, 5)).astype(np.float32)
    assert_agrees("MatMulNBits", [*inputs, zeros], 21, domain=MICROSOFT, constant=False, **attributes)


def test_blocks_can_be_out_of_order() -> None:
    inputs, attributes = case(4, 16, 72)
    order = np.random.default_rng(4).permutation(np.arange(72) // 16).astype(np.int32)
    assert_agrees("MatMulNBits", [*inputs, None, order], 21, domain=MICROSOFT, constant=False, **attributes)
    # Which onnxruntime forgets about zero points that are packed.
    zeros = packed_zero_points(4, 16, 72)
    (found,) = computed("MatMulNBits", [*inputs, zeros, order], 21, domain=MICROSOFT, constant=False, **attributes)
    A, B, scales = inputs
    assert A is not None
    assert B is not None
    assert scales is not None
    W = (unpacked(B.reshape(N, -1), 4)[:, :72] - unpacked(zeros, 4)[:, order]) * scales[:, order]
    np.testing.assert_allclose(found, A @ W.T, rtol=0, atol=1e-5 * np.abs(A @ W.T).max())


def with_constants(model: ModelProto, inputs: list[Array | None]) -> ModelProto:
    """The model with all inputs but the first as constants: onnxruntime packs weights only then."""
    for index, x in enumerate(inputs[1:], start=1):
        if x is not None:
            model.graph.initializer.append(numpy_helper.from_array(x, f"x{index}"))
    del model.graph.input[1:]
    return model


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_at_accuracy_level_4_both_factors_are_integers(bits: int, zeros: bool) -> None:
    inputs, attributes = case(bits, 16, 72)
    inputs += [packed_zero_points(bits, 16, 72)] if zeros else []
    attributes |= {"accuracy_level": 4}
    model = with_constants(node_model("MatMulNBits", inputs, 21, domain=MICROSOFT, **attributes), inputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x0": inputs[0]})[0]
    (found,) = computed("MatMulNBits", inputs, 21, domain=MICROSOFT, constant=False, **attributes)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("accuracy_level", [0, 4])
def test_the_gradient_is_that_of_the_product(accuracy_level: int) -> None:
    inputs, attributes = case(4, 16, 72)
    A, B, scales = (torch.from_numpy(x) for x in inputs if x is not None)
    A.requires_grad_()
    y = mat_mul_n_bits(A, B, scales, accuracy_level=accuracy_level, **attributes)
    weights = torch.arange(1.0, 1.0 + y.numel()).reshape(y.shape)
    (slope,) = torch.autograd.grad((y * weights).sum(), A)
    W = (torch.from_numpy(unpacked(B.reshape(N, -1).numpy(), 4))[:, :72] - 8) * scales.repeat_interleave(16, 1)[:, :72]
    torch.testing.assert_close(slope.double(), weights.double() @ W, rtol=1e-5, atol=1e-4)


def test_a_block_of_zeros_stays_zero() -> None:
    inputs, attributes = case(4, 16, 64)
    _, B, scales = (torch.from_numpy(x) for x in inputs if x is not None)
    y = mat_mul_n_bits(torch.zeros(1, 64), B, scales, accuracy_level=4, **attributes)
    torch.testing.assert_close(y, torch.zeros(1, N))


def test_rearranged_weights_are_refused() -> None:
    inputs, attributes = case(4, 16, 64)
    with pytest.raises(UnsupportedOpError, match="weight_prepacked"):
        computed("MatMulNBits", inputs, 21, domain=MICROSOFT, constant=False, weight_prepacked=1, **attributes)
