"""Arithmetic of domain com.microsoft: inverses, distances, complex numbers and Fourier transforms.

A complex number is two elements of the last axis: its real and its imaginary part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.table import operator


@operator("Inverse", domain=DOMAIN)
def inverse(X: Tensor) -> Tensor:
    """Inverses of matrices (..., M, M)."""
    inverses: Tensor = torch.linalg.inv(X)
    return inverses


@operator("CDist", domain=DOMAIN)
def cdist(A: Tensor, B: Tensor, *, metric: str = "sqeuclidean") -> Tensor:
    """Distances of the rows of A, (M, K), to those of B, (N, K): (M, N).

    Raises:
        UnsupportedOpError: Another metric than "euclidean" and "sqeuclidean", as in onnxruntime.
    """
    if metric == "sqeuclidean":
        return (A[:, None] - B).square().sum(-1)
    if metric == "euclidean":
        return torch.cdist(A, B, compute_mode="donot_use_mm_for_euclid_dist")
    message = f"CDist: metric {metric!r} is not implemented; euclidean and sqeuclidean are"
    raise UnsupportedOpError(message, op_type="CDist", metric=metric)


@operator("ComplexMul", domain=DOMAIN)
def complex_mul(A: Tensor, B: Tensor) -> Tensor:
    """Product of complex numbers."""
    (a, b), (c, d) = A.unbind(-1), B.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], -1)


@operator("ComplexMulConj", domain=DOMAIN)
def complex_mul_conj(A: Tensor, B: Tensor) -> Tensor:
    """Product of A and the conjugate of B."""
    return complex_mul(A, torch.stack([B[..., 0], -B[..., 1]], -1))


@operator("Rfft", domain=DOMAIN)
def rfft(X: Tensor, *, normalized: int = 0, onesided: int = 1, signal_ndim: int = 1) -> Tensor:
    """Fourier transform of real numbers over the last `signal_ndim` axes: (..., n) -> (..., n / 2 + 1, 2)."""
    _require_plain("Rfft", normalized, onesided)
    return torch.view_as_real(torch.fft.rfftn(X, dim=tuple(range(-signal_ndim, 0))))


@operator("Irfft", domain=DOMAIN)
def irfft(X: Tensor, *, normalized: int = 0, onesided: int = 1, signal_ndim: int) -> Tensor:
    """Inverse of `rfft`, for an even n: (..., n / 2 + 1, 2) -> (..., n)."""
    _require_plain("Irfft", normalized, onesided)
    signal: Tensor = torch.fft.irfftn(torch.view_as_complex(X.contiguous()), dim=tuple(range(-signal_ndim, 0)))
    return signal


def _require_plain(op_type: str, normalized: int, onesided: int) -> None:
    if normalized or not onesided:
        message = f"{op_type} is implemented as in onnxruntime: one-sided and not normalized"
        raise UnsupportedOpError(message, op_type=op_type)
