"""Padding: constant, reflected, repeated edge, or wrapped; a negative pad cuts off (ONNX specification, `Pad`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Ints, operator
from onnxvis.ops.window import interleave

_TORCH_MODES = {"reflect": "reflect", "edge": "replicate"}
_TORCH_RANKS = {3, 4, 5}


@operator("Pad", since=11)
def pad(
    data: Tensor,
    pads: Ints,
    constant_value: Tensor | float | None = None,
    axes: Ints | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Pad the axes (all where omitted) by `pads`: all beginnings, then all ends."""
    begins, ends = _of_all_axes(pads, axes, data.ndim)
    if mode == "constant":
        return _constant(data, interleave(begins, ends), 0.0 if constant_value is None else constant_value)
    if mode not in _INDEX:
        message = f"Pad: mode {mode!r} is not implemented; constant, reflect, edge and wrap are"
        raise UnsupportedOpError(message, op_type="Pad", mode=mode)
    data = _crop(data, begins, ends)
    begins, ends = [max(b, 0) for b in begins], [max(e, 0) for e in ends]
    if mode in _TORCH_MODES and _torch_can_pad(data, begins, ends):
        last = data.ndim - 2
        return functional.pad(data, interleave(begins[-last:], ends[-last:]), mode=_TORCH_MODES[mode])
    return _by_index(data, begins, ends, mode)


@operator("Pad", since=2)
def pad_2(data: Tensor, *, pads: Ints, mode: str = "constant", value: float = 0.0) -> Tensor:
    """As `pad`, with the pads and the value as attributes."""
    return pad(data, pads, value, mode=mode)


@operator("Pad")
def pad_1(data: Tensor, *, paddings: Ints, mode: str = "constant", value: float = 0.0) -> Tensor:
    """As `pad_2`, under the attribute's first name."""
    return pad(data, paddings, value, mode=mode)


def _of_all_axes(pads: Ints, axes: Ints | None, rank: int) -> tuple[list[int], list[int]]:
    if axes is None:
        return list(pads[:rank]), list(pads[rank:])
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[position], pads[position + len(axes)]
    return begins, ends


def _constant(data: Tensor, pads: list[int], value: Tensor | float) -> Tensor:
    if not isinstance(value, Tensor):
        return functional.pad(data, pads, value=value)
    outside = functional.pad(torch.zeros_like(data, dtype=torch.bool), pads, value=True)
    return torch.where(outside, value.reshape(()), functional.pad(data, pads))


def _crop(data: Tensor, begins: Sequence[int], ends: Sequence[int]) -> Tensor:
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin < 0 or end < 0:
            start = max(-begin, 0)
            data = data.narrow(axis, start, data.shape[axis] - start - max(-end, 0))
    return data


def _torch_can_pad(data: Tensor, begins: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether `torch.nn.functional.pad` has it: spatial axes only, and less than the axis is long."""
    largest = list(map(max, begins, ends))
    fits = all(pad < size for pad, size in zip(largest, data.shape, strict=True))
    return data.ndim in _TORCH_RANKS and data.is_floating_point() and fits and not any(largest[:2])


def _by_index(data: Tensor, begins: Sequence[int], ends: Sequence[int], mode: str) -> Tensor:
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin or end:
            size = data.shape[axis]
            position = torch.arange(-begin, size + end, device=data.device)
            data = data.index_select(axis, _INDEX[mode](position, size))
    return data


def _reflected(position: Tensor, size: int) -> Tensor:
    position = position % max(2 * size - 2, 1)
    return torch.minimum(position, 2 * size - 2 - position)


def _clamped(position: Tensor, size: int) -> Tensor:
    return position.clamp(0, size - 1)


def _wrapped(position: Tensor, size: int) -> Tensor:
    return position % size


_INDEX = {"reflect": _reflected, "edge": _clamped, "wrap": _wrapped}
