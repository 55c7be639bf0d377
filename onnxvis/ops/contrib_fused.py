"""Convolutions and matrix products of domain com.microsoft, with what onnxruntime's optimizers fuse into them.

"Nhwc" in a name: the channels of X, Z and the result are last; the weights are those of `Conv` unless a function says
otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.contrib_activation import ACTIVATIONS, DOMAIN, activated
from onnxvis.ops.conv import conv, conv_transpose
from onnxvis.ops.linear import gemm
from onnxvis.ops.table import Floats, Ints, operator


@operator("FusedConv", domain=DOMAIN)
def fused_conv(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    Z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: Floats = (),
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Return activation(conv(X, W, B) + Z); the other settings are those of `Conv`."""
    Y = conv(
        X,
        W,
        B,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    names = ACTIVATIONS[activation][1] if activation in ACTIVATIONS else ()
    return activated(Y if Z is None else Y + Z, activation, dict(zip(names, activation_params, strict=False)))


@operator("NhwcFusedConv", domain=DOMAIN)
def nhwc_fused_conv(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    Z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: Floats = (),
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """As `fused_conv`, with the channels last."""
    Y = fused_conv(
        X.movedim(-1, 1),
        W,
        B,
        None if Z is None else Z.movedim(-1, 1),
        activation=activation,
        activation_params=activation_params,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return Y.movedim(1, -1)


@operator("NhwcConv", domain=DOMAIN)
def nhwc_conv(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """As `Conv`, with the channels last, those of the weights too: (M, k1, ..., kn, C / group)."""
    return nhwc_fused_conv(
        X,
        W.movedim(-1, 1),
        B,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )


@operator("ConvTransposeWithDynamicPads", domain=DOMAIN)
def conv_transpose_with_dynamic_pads(
    X: Tensor,
    W: Tensor,
    Pads: Ints | None = None,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """As `ConvTranspose`, with the pads as an input, which must be known."""
    return conv_transpose(
        X,
        W,
        B,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        output_padding=output_padding,
        pads=Pads,
        strides=strides,
    )


@operator("FusedGemm", domain=DOMAIN)
def fused_gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Return activation(alpha A B + beta C); the other settings are those of `Gemm`."""
    Y = gemm(A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)
    settings = {"alpha": activation_alpha, "beta": activation_beta, "gamma": activation_gamma}
    return activated(Y, activation, settings)


@operator("FusedMatMul", domain=DOMAIN)
def fused_mat_mul(
    A: Tensor,
    B: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """Return alpha A B, as `MatMul`, of factors that may be transposed before.

    Args:
        A: Matrices in the last two axes.
        B: Likewise.
        alpha: Factor of the product.
        transA: Whether the last two axes of A are exchanged; a vector stays what it is.
        transB: The same for B.
        transBatchA: Whether the first axis of A stands just before the last one, before all else.
        transBatchB: The same for B.
    """
    product = torch.matmul(_transposed(A, transA, transBatchA), _transposed(B, transB, transBatchB))
    return product if alpha == 1 else alpha * product


@operator("TransposeMatMul", domain=DOMAIN)
def transpose_mat_mul(A: Tensor, B: Tensor, *, alpha: float = 1.0, transA: int = 0, transB: int = 0) -> Tensor:
    """As `fused_mat_mul`, under its first name."""
    return fused_mat_mul(A, B, alpha=alpha, transA=transA, transB=transB)


@operator("FusedMatMulActivation", domain=DOMAIN)
def fused_mat_mul_activation(
    A: Tensor,
    B: Tensor,
    *,
    activation: str,
    activation_alpha: float | None = None,
    activation_axis: int | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """Return the activation of `fused_mat_mul`; it can also be a Softmax, over `activation_axis`."""
    Y = fused_mat_mul(A, B, alpha=alpha, transA=transA, transB=transB, transBatchA=transBatchA, transBatchB=transBatchB)
    if activation == "Softmax":
        return torch.softmax(Y, -1 if activation_axis is None else activation_axis)
    settings = {"alpha": activation_alpha, "beta": activation_beta, "gamma": activation_gamma}
    return activated(Y, activation, settings)


@operator("GemmFastGelu", domain=DOMAIN)
def gemm_fast_gelu(X: Tensor, W: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the tanh approximation of Gelu of X W + bias."""
    product = torch.matmul(X, W)
    return functional.gelu(product if bias is None else product + bias, approximate="tanh")


def _transposed(factor: Tensor, matrix: int, batch: int) -> Tensor:
    if batch:
        # (M, D1, ..., Dn, K) -> (D1, ..., Dn, M, K)
        factor = factor.movedim(0, -2)
    return factor.mT if matrix and factor.ndim > 1 else factor
