"""Rows of a table whose numbers are quantized in blocks: an embedding of domain com.microsoft."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.affine import along, dequantized
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_block_quantized import unpacked
from onnxvis.ops.table import Types, operator


@operator("GatherBlockQuantized", domain=DOMAIN, differentiable=False)
def gather_block_quantized(
    data: Tensor,
    indices: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
    input_types: Types,
) -> Tensor:
    """Return (data - zero_points) * scales at the indices along an axis, in the type of the scales.

    Args:
        data: Integers of 4 bits, floats of 8 bits and less, or uint8. Bytes hold 8 / `bits` neighbors along the last
            axis, the first of them in the lowest bits.
        indices: Of any shape, which takes the place of the axis; negative ones count from its end. Outside of it the
            result is 0.
        scales: As data, with one for each block along `quantize_axis`. Those of floats broadcast along other axes.
        zero_points: One for each scale, packed as the data; without them half of the range for bytes, else 0.
        bits: The width of a number in a byte: 2, 4 or 8.
        block_size: How many neighbors share a scale; 0, for floats: all.
        gather_axis: The axis of the indices.
        quantize_axis: The axis of the blocks.
        input_types: The types of the inputs.
    """
    gather_axis, quantize_axis = gather_axis % data.ndim, quantize_axis % data.ndim
    length = data.shape[gather_axis]
    flat = indices.reshape(-1).long()
    is_inside = (flat >= -length) & (flat < length)
    rows = torch.where(flat < 0, flat + length, flat).clamp(0, length - 1)
    # What is few is unpacked: the rows, not the table.
    values, scale = data.index_select(gather_axis, rows), scales
    if input_types[0] == TensorProto.UINT8:
        values = unpacked(values, bits)
        zero_points = _zero_points(zero_points, scales, bits)
    is_along_blocks = gather_axis == quantize_axis
    if scales.shape[gather_axis] > 1:
        places = rows // block_size if is_along_blocks else rows
        scale = scales.index_select(gather_axis, places)
        zero_points = None if zero_points is None else zero_points.index_select(gather_axis, places)
    size = 0 if is_along_blocks else block_size
    of_values = along(scale, values, quantize_axis, size)
    found = dequantized(values, of_values, along(zero_points, values, quantize_axis, size))
    shape = [-1 if axis == gather_axis else 1 for axis in range(data.ndim)]
    found = torch.where(is_inside.reshape(shape), found, torch.zeros_like(found))
    return found.reshape(*data.shape[:gather_axis], *indices.shape, *found.shape[gather_axis + 1 :])


def _zero_points(packed: Tensor | None, scales: Tensor, bits: int) -> Tensor:
    """Return those of bytes, one for each scale; a row's last byte may hold more."""
    if packed is None:
        return torch.full_like(scales, 1 << (bits - 1))
    return unpacked(packed, bits)[..., : scales.shape[-1]]
