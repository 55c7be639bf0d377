"""From what one file is fed to what the other is: another layout, another order of colors, another normalization."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from onnxvis.comparison.axes import Alignment, alignments
from onnxvis.comparison.sides import Side, constant
from onnxvis.errors import InputError, SettingError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.preprocess import PRESETS

Array = np.ndarray[Any, Any]
Source = Literal["same", "declared", "found"]

_COLORS = (3, 4)
_RGB = 3
_LONGEST = 8
_SHOWN = 4
_PREAMBLE = frozenset(
    {"Add", "BatchNormalization", "Cast", "Div", "Identity", "ImageScaler", "Mul", "Sub", "Transpose"}
)
_EXACT = 1e-4
_NONE = "none"


@dataclass(frozen=True)
class Relation:
    """How an array for the first file becomes one for the second.

    Attributes:
        alignment: What is done to its axes.
        axis: The axis of the channels in the first file's shape, or None.
        scale: Multiplied by, one for each channel in the first file's order, or one for all.
        offset: Added then, likewise.
        reversed: Whether the second file takes the colors in the opposite order.
        source: "same": the same numbers; "declared": as both files, or the request, say; "found": by trial.
    """

    alignment: Alignment
    axis: int | None = None
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    reversed: bool = False
    source: Source = "same"

    def __call__(self, array: Array) -> Array:
        """Return what the second file is fed, of the array that the first is fed."""
        values = np.asarray(array)
        if self.scale != (1.0,) or self.offset != (0.0,):
            values = (values * self._spread(self.scale, values) + self._spread(self.offset, values)).astype(np.float32)
        if self.reversed and self.axis is not None:
            values = np.take(values, _turned(np.arange(values.shape[self.axis])), self.axis)
        return np.ascontiguousarray(self.alignment(values[None])[0])

    def _spread(self, numbers: Sequence[float], values: Array) -> Array:
        shape = [1] * values.ndim
        if self.axis is not None:
            shape[self.axis] = len(numbers)
        elif len(numbers) == values.size:
            shape = list(values.shape)
        return np.asarray(numbers, np.float32).reshape(shape)

    @property
    def is_plain(self) -> bool:
        """Whether the numbers and their colors stay as they are."""
        return self.scale == (1.0,) and self.offset == (0.0,) and not self.reversed

    def __str__(self) -> str:
        parts = []
        if not self.alignment.is_identity:
            parts.append(f"axes {self.alignment.inner} -> {self.alignment.shape}")
        if self.scale != (1.0,) or self.offset != (0.0,):
            parts.append(f"times {_numbers(self.scale)}, plus {_numbers(self.offset)}")
        if self.reversed:
            parts.append("colors in the opposite order")
        return "; ".join(parts) or "the same"


def _numbers(values: Sequence[float]) -> str:
    """Write one number for each channel, or one for all where they are the same; of many the first ones."""
    written = [f"{value:.4g}" for value in values]
    if len(set(written)) == 1:
        return written[0]
    return " ".join(written[:_SHOWN]) + (" ..." if len(written) > _SHOWN else "")


def orders(first: Sequence[int], second: Sequence[int]) -> list[Alignment]:
    """Return how one input may be laid out as the other: as it is, or with the channels moved to the other end."""
    rank = len([size for size in first if size != 1])
    usual = [tuple(range(rank)), (*range(1, rank), 0), (rank - 1, *range(rank - 1))]
    found = [alignment for alignment in alignments(first, second) if alignment.order in usual]
    return found or list(alignments(first, second))[:1]


def declared(pair: tuple[ImageInput, ImageInput], alignment: Alignment, source: Source = "declared") -> Relation:
    """Return the relation under which both files are shown the same image, by their preprocessing.

    Args:
        pair: The input of each file.
        alignment: Between their shapes.
        source: What the preprocessing is known from.
    """
    one, other = (_ends(item) for item in pair)
    reversed_ = pair[0].preprocess.bgr != pair[1].preprocess.bgr
    if reversed_:
        # In the order of the first file.
        other = (_turned(other[0]), _turned(other[1]))
    scale = (other[1] - other[0]) / (one[1] - one[0])
    offset = other[0] - scale * one[0]
    return Relation(alignment, _channel_axis(pair[0]), _plain(scale, 1.0), _plain(offset, 0.0), reversed_, source)


def _turned(numbers: Array) -> Array:
    """Put the colors into the opposite order; what comes after them stays."""
    return np.concatenate([numbers[:_RGB][::-1], numbers[_RGB:]])


def _plain(numbers: Array, neutral: float) -> tuple[float, ...]:
    if np.allclose(numbers, neutral, rtol=0, atol=1e-5):
        return (neutral,)
    return tuple(float(number) for number in numbers)


def _channel_axis(item: ImageInput) -> int | None:
    layout = item.preprocess.layout
    return layout.index("C") if "C" in layout and len(layout) == len(item.shape) else None


def _ends(item: ImageInput) -> tuple[Array, Array]:
    """Return what black and white become, by channel in the file's order."""
    low, high = item.preprocess.range
    mean, std = (np.resize(np.asarray(values, np.float64), item.channels) for values in _moments(item))
    return (low - mean) / std, (high - mean) / std


def _moments(item: ImageInput) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return item.preprocess.mean, item.preprocess.std


def candidates(
    sides: tuple[Side, Side],
    names: tuple[str, str],
    shapes: tuple[Mapping[str, tuple[int, ...]], Mapping[str, tuple[int, ...]]],
    overrides: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Iterator[Relation]:
    """Yield what the relation between two inputs may be, the likeliest first; some may appear twice.

    Args:
        sides: The two files.
        names: The input of each.
        shapes: The shapes of the inputs of each.
        overrides: What is given of the preprocessing of each, as to `find_image_input`; "preset" too.
    """
    items = [
        _image(side, shape, name, given)
        for side, shape, name, given in zip(sides, shapes, names, overrides, strict=True)
    ]
    plain = orders(shapes[0][names[0]], shapes[1][names[1]])
    one, other = items
    if (
        one is not None
        and other is not None
        and (_is_known(one) or overrides[0])
        and (_is_known(other) or overrides[1])
    ):
        yield from (declared((one, other), alignment) for alignment in plain)
    axis = None if one is None else _channel_axis(one)
    yield from (Relation(alignment, axis) for alignment in plain)
    if one is None or other is None:
        return
    for alignment in plain:
        yield from _found(sides, (one, other), Relation(alignment, axis, source="found"))


def _image(
    side: Side, shapes: Mapping[str, tuple[int, ...]], name: str, overrides: Mapping[str, Any]
) -> ImageInput | None:
    rest = dict(overrides)
    preset = rest.pop("preset", None)
    try:
        return find_image_input(side.model, shapes, wrt=name, preset=preset, overrides=rest)
    except (InputError, SettingError):
        if overrides:
            raise
        return None


def _is_known(item: ImageInput) -> bool:
    return "assumed" not in item.preprocess.source


def _found(sides: tuple[Side, Side], items: tuple[ImageInput, ImageInput], plain: Relation) -> Iterator[Relation]:
    colors = items[0].channels in _COLORS and plain.axis is not None
    if colors:
        yield dataclasses.replace(plain, reversed=True)
    maps = [_maps(side, item) for side, item in zip(sides, items, strict=True)]
    for scale_one, offset_one in maps[0]:
        for scale_other, offset_other in maps[1]:
            for turned in (False, True) if colors else (False,):
                # What the second does is told in its own order of the channels.
                scales, offsets = (_turned(item) if turned else item for item in (scale_other, offset_other))
                scale, offset = scale_one / scales, (offset_one - offsets) / scales
                yield dataclasses.replace(plain, scale=_plain(scale, 1.0), offset=_plain(offset, 0.0), reversed=turned)
    yield from _conventions(items, plain)


def _conventions(items: tuple[ImageInput, ImageInput], plain: Relation) -> Iterator[Relation]:
    """Yield the relations between files that were trained by two of the usual conventions."""
    fitting = [
        preset
        for name, preset in PRESETS.items()
        if name != _NONE
        and len(preset.mean) in (1, items[0].channels)
        and (not preset.bgr or items[0].channels == _RGB)
    ]
    for first in fitting:
        for second in fitting:
            pair = tuple(
                dataclasses.replace(item, preprocess=dataclasses.replace(preset, layout=item.preprocess.layout))
                for item, preset in zip(items, (first, second), strict=True)
            )
            found = declared((pair[0], pair[1]), plain.alignment, "found")
            yield found
            if items[0].channels in _COLORS:
                yield dataclasses.replace(found, reversed=not found.reversed)


def _maps(side: Side, item: ImageInput) -> list[tuple[Array, Array]]:
    """Return scale and offset, by channel, of what a file first does to its input by itself; none comes first."""
    found = [(np.ones(item.channels), np.zeros(item.channels))]
    scale, offset = found[0]
    layout = item.preprocess.layout
    if "C" not in layout:
        return found
    axis, value = layout.index("C"), side.model.values[item.name]
    for _ in range(_LONGEST):
        readers = [use.node for use in value.uses() if use.node.op_type not in ("Shape", "Size")]
        if len(readers) != 1 or readers[0].op_type not in _PREAMBLE:
            break
        node = readers[0]
        if node.op_type == "Transpose":
            axis = list(node.attributes.get_ints("perm", list(range(len(layout)))[::-1])).index(axis)
        step = _step(node, value.name or "", item.channels, axis, len(layout))
        if step is None:
            break
        scale, offset = scale * step[0], offset * step[0] + step[1]
        found.append((scale, offset))
        value = node.outputs[0]
    return found


def _step(node: Any, source: str, channels: int, axis: int, rank: int) -> tuple[Array, Array] | None:
    """Return scale and offset of one operator of such a beginning; None: it is another map."""
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type in ("Cast", "Identity", "Transpose"):
        return ones, zeros
    if node.op_type == "ImageScaler":
        bias = np.asarray(node.attributes.get_floats("bias", [0.0]))
        return ones * node.attributes.get_float("scale", 1.0), zeros + bias
    if node.op_type == "BatchNormalization":
        return _normalization(node, channels, axis)
    first = node.inputs[0] is not None and node.inputs[0].name == source
    numbers = _by_channel(constant(node.inputs[1 if first else 0]), channels, axis, rank)
    if numbers is None or (node.op_type == "Div" and not (first and numbers.all())):
        return None
    steps = {"Mul": (numbers, zeros), "Add": (ones, numbers), "Sub": (ones, -numbers) if first else (-ones, numbers)}
    return steps[node.op_type] if node.op_type in steps else (1 / numbers, zeros)


def _normalization(node: Any, channels: int, axis: int) -> tuple[Array, Array] | None:
    values = [constant(value) for value in node.inputs[1:5]]
    if axis != 1 or any(array is None or array.size != channels for array in values):
        return None
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in values)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return scale, beta - mean * scale


def _by_channel(array: Array | None, channels: int, axis: int, rank: int) -> Array | None:
    """Read a constant as one number for each channel; None: it differs along another axis."""
    if array is None or array.dtype.kind not in "fiu":
        return None
    if array.size == 1:
        return np.full(channels, float(array.reshape(-1)[0]))
    padded = (
        np.asarray(array, np.float64).reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim <= rank else None
    )
    if padded is None or padded.shape[axis] != channels or padded.size != channels:
        return None
    return padded.reshape(-1)


def image_of(item: ImageInput, images: Array) -> Array:
    """Return what a model is fed for one image: (C, *spatial) in [0, 1]."""
    return np.asarray(item.feed_one(torch.from_numpy(images[None])).contiguous().numpy(), np.float32)
