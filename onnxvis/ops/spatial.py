"""Rearranging and sampling space. Layout: (N, C, D1, ..., Dn)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.table import Ints, operator
from onnxvis.ops.window import extents, interleave, per_axis, split_pads


@operator("DepthToSpace")
def depth_to_space(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move blocks of channels into space: (N, C b b, H, W) -> (N, C, H b, W b); "DCR" and "CRD" order the channels."""
    if mode == "CRD":
        return functional.pixel_shuffle(input, blocksize)
    N, C, H, W = input.shape
    b = blocksize
    # (N, b, b, C, H, W) -> (N, C, H, b, W, b)
    blocks = input.reshape(N, b, b, C // (b * b), H, W).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(N, C // (b * b), H * b, W * b)


@operator("SpaceToDepth")
def space_to_depth(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move blocks of space into channels: (N, C, H b, W b) -> (N, C b b, H, W); "DCR" and "CRD" order the channels."""
    if mode == "CRD":
        return functional.pixel_unshuffle(input, blocksize)
    N, C, H, W = input.shape
    b = blocksize
    # (N, C, H, b, W, b) -> (N, b, b, C, H, W)
    blocks = input.reshape(N, C, H // b, b, W // b, b).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(N, C * b * b, H // b, W // b)


@operator("Col2Im")
def col2im(
    input: Tensor,
    image_shape: Ints,
    block_shape: Ints,
    *,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Add up overlapping blocks: (N, C prod(block_shape), L) -> (N, C, *image_shape)."""
    rank = len(image_shape)
    strides, dilations = per_axis(strides, rank), per_axis(dilations, rank)
    begins, ends = split_pads("NOTSET", pads, image_shape, block_shape, strides)
    padded = [size + b + e for size, b, e in zip(image_shape, begins, ends, strict=True)]
    target = _block_positions(padded, block_shape, strides, dilations, input.device)
    blocks = input.reshape(input.shape[0], -1, target.numel())
    image = blocks.new_zeros(*blocks.shape[:2], math.prod(padded)).index_add(2, target, blocks)
    crop = interleave([-b for b in begins], [-e for e in ends])
    return functional.pad(image.reshape(*blocks.shape[:2], *padded), crop)


def _block_positions(sizes: list[int], block: Ints, strides: Ints, dilations: Ints, device: torch.device) -> Tensor:
    """Where each element of each block lies in the flattened image, by element of the block, then by block."""
    rank = len(sizes)
    position = torch.zeros([1] * (2 * rank), dtype=torch.int64, device=device)
    for axis, extent in enumerate(extents(block, dilations)):
        taps = torch.arange(block[axis], device=device) * dilations[axis]
        starts = torch.arange(0, sizes[axis] - extent + 1, strides[axis], device=device)
        along = taps.reshape(-1, *[1] * (2 * rank - 1 - axis)) + starts.reshape(-1, *[1] * (rank - 1 - axis))
        position = position * sizes[axis] + along
    return position.flatten()


@operator("CenterCropPad")
def center_crop_pad(input_data: Tensor, shape: Ints, *, axes: Ints | None = None) -> Tensor:
    """Crop or pad with zeros, evenly on both sides, to the shape; an odd element is at the end."""
    begins, ends = [0] * input_data.ndim, [0] * input_data.ndim
    for axis, size in zip(range(input_data.ndim) if axes is None else axes, shape, strict=True):
        surplus = input_data.shape[axis] - size
        begins[axis] = -(surplus // 2) if surplus > 0 else -surplus // 2
        ends[axis] = -surplus - begins[axis]
    return functional.pad(input_data, interleave(begins, ends))


@operator("Crop")
def crop(input: Tensor, *, border: Ints, scale: Ints | None = None) -> Tensor:
    """Cut off the border (left, top, right, bottom), or keep `scale` rows and columns; experimental in opset 1."""
    left, top, right, bottom = border
    height, width = (input.shape[2] - top - bottom, input.shape[3] - left - right) if scale is None else scale
    return input[:, :, top : top + height, left : left + width]


@operator("MaxUnpool")
def max_unpool(
    X: Tensor,
    I: Tensor,  # noqa: E741 - the specification's name
    output_shape: Ints | None = None,
    *,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Put each element back where MaxPool found it, zeros elsewhere.

    The indices are those of the flattened result, also where `output_shape` says what it is: so onnxruntime, and so
    MaxPool, whose input it restores. The reference takes them for those of the smallest possible result.
    """
    if output_shape is None:
        rank = len(kernel_shape)
        strides, pads = per_axis(strides, rank), per_axis(pads, 2 * rank, default=0)
        axes = zip(X.shape[2:], strides, kernel_shape, pads[:rank], pads[rank:], strict=True)
        sizes = [(size - 1) * stride + kernel - begin - end for size, stride, kernel, begin, end in axes]
        output_shape = (*X.shape[:2], *sizes)
    flat = X.new_zeros(math.prod(output_shape)).scatter(0, I.flatten(), X.flatten())
    return flat.reshape(output_shape)


@operator("AffineGrid")
def affine_grid(theta: Tensor, size: Ints, *, align_corners: int = 0) -> Tensor:
    """Return the sampling positions of an affine map: (N, 2, 3) -> (N, H, W, 2), or (N, 3, 4) -> (N, D, H, W, 3)."""
    return functional.affine_grid(theta, list(size), align_corners=bool(align_corners))


@operator("GridSample")
def grid_sample(
    X: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """Sample (N, C, H, W) at (N, H', W', 2), or (N, C, D, H, W) at (N, D', H', W', 3); -1 and 1 are the borders."""
    # Opset 20 renamed the modes of opset 16; torch kept the names.
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return functional.grid_sample(X, grid, mode, padding_mode, bool(align_corners))
