"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxvis.ops.table import operator


@operator("Gemm", since=7)
def gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Return alpha A B + beta C, of shape (M, N); C is broadcast to it.

    Args:
        A: (M, K), or (K, M) with `transA`.
        B: (K, N), or (N, K) with `transB`.
        C: A tensor that broadcasts to (M, N).
        alpha: Factor of the product.
        beta: Factor of C.
        transA: Whether A is transposed first.
        transB: Whether B is transposed first.
    """
    A = A.T if transA else A
    B = B.T if transB else B
    if C is None:
        product = A @ B
        return product if alpha == 1 else (alpha * product).to(A.dtype)
    if A.is_floating_point():
        return torch.addmm(C, A, B, beta=beta, alpha=alpha)
    return (alpha * (A @ B) + beta * C).to(A.dtype)


@operator("Gemm")
def gemm_1(
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    broadcast: int = 0,  # noqa: ARG001 - what fits without it fits with it
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Return alpha A B + beta C, as `gemm`; `broadcast` announced that C is smaller than (M, N)."""
    return gemm(A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)


@operator("MatMul")
def mat_mul(A: Tensor, B: Tensor) -> Tensor:
    """Matrix product of the last two dimensions, as `numpy.matmul`."""
    return torch.matmul(A, B)


@operator("Einsum")
def einsum(*Inputs: Tensor, equation: str) -> Tensor:
    """Sum of products in Einstein's notation."""
    return torch.einsum(equation, *Inputs)


@operator("Det")
def det(X: Tensor) -> Tensor:
    """Determinants of matrices (..., M, M)."""
    return torch.det(X)
