"""Convolutions. Layout: X is (N, C, D1, ..., Dn), one to three spatial axes; W is as the ONNX specification has it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Ints, operator
from onnxvis.ops.window import extents, halves, interleave, per_axis, split_pads

_CONV: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@operator("Conv")
def conv(
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
    """Convolve (N, C, D1, ..., Dn) with (M, C / group, k1, ..., kn)."""
    rank = X.ndim - 2
    convolve = _of_rank(_CONV, "Conv", rank)
    strides, dilations = per_axis(strides, rank), per_axis(dilations, rank)
    kernel = tuple(W.shape[2:]) if kernel_shape is None else kernel_shape
    begins, ends = split_pads(auto_pad, pads, X.shape[2:], extents(kernel, dilations), strides)
    if begins == ends and min(begins) >= 0:
        return convolve(X, W, B, strides, begins, dilations, group)
    return convolve(functional.pad(X, interleave(begins, ends)), W, B, strides, 0, dilations, group)


@operator("ConvTranspose")
def conv_transpose(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Convolve (N, C, D1, ..., Dn), transposed, with (C, M / group, k1, ..., kn)."""
    rank = X.ndim - 2
    convolve = _of_rank(_CONV_TRANSPOSE, "ConvTranspose", rank)
    strides, dilations = per_axis(strides, rank), per_axis(dilations, rank)
    output_padding = per_axis(output_padding, rank, default=0)
    kernel = tuple(W.shape[2:]) if kernel_shape is None else kernel_shape
    extent = extents(kernel, dilations)
    full = tuple((size - 1) * s + e for size, s, e in zip(X.shape[2:], strides, extent, strict=True))
    padded = tuple(f + p for f, p in zip(full, output_padding, strict=True))
    if output_shape is None and auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        # Where the stride exceeds the window, the specification would add a margin; onnxruntime does not.
        output_shape = tuple(min(n * s, p) for n, s, p in zip(X.shape[2:], strides, padded, strict=True))
    begins, sizes = _crop(auto_pad, pads, output_shape, padded)
    # What torch calls output_padding is whatever is missing after cutting `begins` on both sides.
    missing = tuple(size - f + 2 * b for size, f, b in zip(sizes, full, begins, strict=True))
    limits = map(max, strides, dilations)
    if min(begins) >= 0 and all(0 <= m < limit for m, limit in zip(missing, limits, strict=True)):
        return convolve(X, W, B, strides, begins, missing, group, dilations)
    result = convolve(X, W, None, strides, 0, 0, group, dilations)
    ends = [size - f + b for size, f, b in zip(sizes, full, begins, strict=True)]
    result = functional.pad(result, interleave([-b for b in begins], ends))
    return result if B is None else result + B.reshape(-1, *[1] * rank)


def _crop(auto_pad: str, pads: Ints | None, output_shape: Ints | None, padded: Ints) -> tuple[Ints, Ints]:
    """What is cut off at the beginning of each axis of size `padded`, and the size that is left."""
    rank = len(padded)
    if output_shape is not None:
        wanted = output_shape[-rank:]
        totals = [max(p - w, 0) for p, w in zip(padded, wanted, strict=True)]
        return halves(totals, upper=auto_pad == "SAME_UPPER")[0], wanted
    if pads is None or auto_pad == "VALID":
        return (0,) * rank, padded
    begins, ends = pads[:rank], pads[rank:]
    return begins, tuple(p - b - e for p, b, e in zip(padded, begins, ends, strict=True))


def _of_rank(functions: dict[int, Callable[..., Tensor]], op_type: str, rank: int) -> Callable[..., Tensor]:
    if rank not in functions:
        message = f"{op_type}: {rank} spatial axes; 1 to 3 are implemented"
        raise UnsupportedOpError(message, op_type=op_type, rank=rank)
    return functions[rank]
