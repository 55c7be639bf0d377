"""Matrix products of domain com.microsoft with weights of a few bits, quantized in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.straight_through import straight_through
from onnxvis.ops.table import operator

_BYTE = 8
_INT8 = 4
"""The accuracy level at which onnxruntime quantizes both factors."""
_LARGEST = 127


@operator("MatMulNBits", domain=DOMAIN)
def mat_mul_n_bits(
    A: Tensor,
    B: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Tensor:
    """Return A W + bias with weights of few bits, quantized in blocks along K.

    Args:
        A: (..., K).
        B: The weights W transposed, (N, blocks, block_size * bits / 8), of type uint8; the first of a byte are its
            lowest bits.
        scales: One for each block, N * blocks.
        zero_points: One for each block: packed as the weights, each row filled up to whole bytes, or floats; without
            them half of the range.
        g_idx: Of each index along K the number of its block; by default its neighbors'.
        bias: (N).
        K: The length of a row.
        N: The number of columns of the result.
        accuracy_level: How coarsely A may be computed: with 4 its blocks are rounded to int8, as onnxruntime does for
            weights of 4 and 8 bits that are packed and in order.
        bits: The width of a weight: 2, 4 or 8.
        block_size: How many neighbors along K share a scale.
        weight_prepacked: Not implemented: an arrangement for one kind of hardware.

    Raises:
        UnsupportedOpError: Rearranged weights.
    """
    if weight_prepacked:
        message = "MatMulNBits: weight_prepacked is not implemented; save the model without prepacked weights"
        raise UnsupportedOpError(message, op_type="MatMulNBits", attributes=["weight_prepacked"])
    weights = unpacked(B.reshape(N, -1), bits)[:, :K].to(A.dtype)
    of_block = scales.reshape(N, -1)
    block = torch.arange(K, device=A.device) // block_size if g_idx is None else g_idx.long()
    zeros = _zero_points(zero_points, of_block, bits).to(A.dtype)
    W = (weights - zeros[:, block]) * of_block[:, block]
    if accuracy_level == _INT8 and bits >= _INT8 and g_idx is None and not _is_float(zero_points):
        A = _rounded_in_blocks(A, block_size)
    product = A @ W.T
    return product if bias is None else product + bias


def _rounded_in_blocks(A: Tensor, block_size: int) -> Tensor:
    """Round to multiples of 1/127 of the largest magnitude in each block of the last axis."""
    size = A.shape[-1]
    blocks = functional.pad(A.detach(), (0, -size % block_size)).reshape(*A.shape[:-1], -1, block_size)
    step = blocks.abs().amax(-1, keepdim=True) / _LARGEST
    step = torch.where(step == 0, torch.ones_like(step), step)
    return straight_through(A, (torch.round(blocks / step) * step).flatten(-2)[..., :size])


def _is_float(zero_points: Tensor | None) -> bool:
    return zero_points is not None and zero_points.is_floating_point()


def _zero_points(given: Tensor | None, of_block: Tensor, bits: int) -> Tensor:
    if given is None:
        return torch.full_like(of_block, 1 << (bits - 1))
    rows = given.reshape(len(of_block), -1)
    return rows if rows.is_floating_point() else unpacked(rows, bits)[:, : of_block.shape[1]]


def unpacked(packed: Tensor, bits: int) -> Tensor:
    """Return the numbers in the bytes of each row, which is the last axis; the lowest bits are the first number."""
    places = torch.arange(0, _BYTE, bits, device=packed.device, dtype=torch.uint8)
    return ((packed.unsqueeze(-1) >> places) & ((1 << bits) - 1)).flatten(-2)
