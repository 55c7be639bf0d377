"""The geometry of sliding windows, which convolution and pooling share (ONNX specification, `Conv` and `MaxPool`)."""

from __future__ import annotations

from collections.abc import Sequence

from onnxvis.ops.table import Ints


def per_axis(values: Ints | None, count: int, default: int = 1) -> Ints:
    """The attribute's values, or `count` times its default where the node does not have it."""
    return (default,) * count if values is None else values


def extents(kernel: Ints, dilations: Ints) -> Ints:
    """How many elements a dilated window spans along each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))


def split_pads(
    auto_pad: str, pads: Ints | None, sizes: Sequence[int], extent: Ints, strides: Ints
) -> tuple[Ints, Ints]:
    """Return the padding at the beginning and at the end of each spatial axis.

    With "SAME" there are ceil(size / stride) windows, however they are dilated: so says the specification, and so its
    reference pads. onnxruntime refuses to convolve such a node, and pools it as if windows were not dilated, which
    leaves fewer of them.

    Args:
        auto_pad: "NOTSET" (take `pads`), "VALID", "SAME_UPPER" or "SAME_LOWER".
        pads: All beginnings, then all ends; None is no padding.
        sizes: The spatial sizes of the input.
        extent: What a window spans along each axis.
        strides: The step of the window along each axis.
    """
    count = len(extent)
    if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        totals = [
            max((-(-size // stride) - 1) * stride + span - size, 0)
            for size, span, stride in zip(sizes, extent, strides, strict=True)
        ]
        return halves(totals, upper=auto_pad == "SAME_UPPER")
    if auto_pad == "VALID" or pads is None:
        return (0,) * count, (0,) * count
    return pads[:count], pads[count:]


def halves(totals: Sequence[int], *, upper: bool) -> tuple[Ints, Ints]:
    """Split each total into beginning and end; an odd element goes to the end if `upper`, else to the beginning."""
    small = tuple(total // 2 for total in totals)
    large = tuple(total - total // 2 for total in totals)
    return (small, large) if upper else (large, small)


def interleave(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Arrange pads as `torch.nn.functional.pad` wants them."""
    # (top, left), (bottom, right) -> (left, right, top, bottom)
    return [pad for pair in zip(reversed(begins), reversed(ends), strict=True) for pad in pair]
