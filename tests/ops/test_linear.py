from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from onnxvis.ops import linear
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 5)).astype(np.float32)
B = RNG.normal(size=(5, 4)).astype(np.float32)
C = RNG.normal(size=(3, 4)).astype(np.float32)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 28])
@pytest.mark.parametrize("c", [C, C[0], C[:, :1], C[:1], np.array(0.3, np.float32)], ids=lambda c: str(c.shape))
def test_gemm_broadcasts_its_bias(c: Array, opset: int) -> None:
    assert_agrees("Gemm", [A, B, c], opset, alpha=0.5, beta=2.0)


@pytest.mark.parametrize("transA", [0, 1])
@pytest.mark.parametrize("transB", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_gemm_transposes(transA: int, transB: int, bias: bool) -> None:
    inputs = [A.T.copy() if transA else A, B.T.copy() if transB else B] + [C] * bias
    assert_agrees("Gemm", inputs, 11, transA=transA, transB=transB, alpha=2.0)


def test_gemm_of_integers_agrees() -> None:
    a, b, c = (np.round(3 * x).astype(np.int32) for x in (A, B, C))
    (found,) = computed("Gemm", [a, b, c], 11, alpha=2.0, beta=3.0)
    np.testing.assert_array_equal(found, 2 * a @ b + 3 * c)
    assert found.dtype == np.int32
    (found,) = computed("Gemm", [a, b], 11, alpha=2.0)
    np.testing.assert_array_equal(found, 2 * a @ b)


def test_gemm_before_opset_7_announces_that_it_broadcasts() -> None:
    (found,) = computed("Gemm", [A, B, C[0]], 6, broadcast=1, alpha=0.5)
    np.testing.assert_allclose(found, 0.5 * A @ B + C[0], rtol=1e-5)


@pytest.mark.parametrize("opset", [7, 9, 13, 28])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 5), (5, 4)),
        ((2, 3, 5), (2, 5, 4)),
        ((2, 1, 3, 5), (6, 5, 4)),
        ((5,), (5,)),
        ((5,), (2, 5, 4)),
        ((2, 3, 5), (5,)),
    ],
    ids=str,
)
def test_mat_mul_follows_numpy(a: tuple[int, ...], b: tuple[int, ...], opset: int) -> None:
    x, y = RNG.normal(size=a).astype(np.float32), RNG.normal(size=b).astype(np.float32)
    assert_agrees("MatMul", [x, y], opset)


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "ij , jk -> ki", "ij,jk", "ij,jk->", "...j,jk->...k", "Ij,jK->IK", "ij,jk->ijk"]
)
@pytest.mark.parametrize("opset", [12, 28])
def test_einsum_agrees(equation: str, opset: int) -> None:
    assert_agrees("Einsum", [A, B], opset, equation=equation)


def test_einsum_of_one_input_agrees() -> None:
    square = RNG.normal(size=(2, 4, 4)).astype(np.float32)
    assert_agrees("Einsum", [square], 12, equation="bii->bi")
    assert_agrees("Einsum", [square], 12, equation="bij->bji")
    assert_agrees("Einsum", [A, B, C], 12, equation="ij,jk,ik->j")


@pytest.mark.parametrize("opset", [11, 22, 28])
def test_determinants_agree(opset: int) -> None:
    assert_agrees("Det", [RNG.normal(size=(2, 4, 4)).astype(np.float32)], opset)
    assert_agrees("Det", [RNG.normal(size=(3, 3)).astype(np.float32)], opset)


def test_gradients_pass() -> None:
    a, b, c = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (A, B, C[0]))
    assert torch.autograd.gradcheck(lambda *x: linear.gemm(*x, alpha=0.5, beta=2.0), (a, b, c))
    assert torch.autograd.gradcheck(linear.mat_mul, (a, b))
    assert torch.autograd.gradcheck(lambda *x: linear.einsum(*x, equation="ij,jk->k"), (a, b))
