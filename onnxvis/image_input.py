"""Which input of a model holds the picture, and how the model wants it.

What is given wins over what the file says, and that over what is assumed from the graph and its exporter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxvis.errors import InputError, SettingError
from onnxvis.metadata import recorded
from onnxvis.model import Model
from onnxvis.preprocess import LAYOUTS, PRESETS, Layout, Preprocess, Preset

_OPPOSITE: Mapping[Layout, Layout] = {"NCHW": "NHWC", "NHWC": "NCHW", "CHW": "HWC", "HWC": "CHW"}
_COLORS = (1, 3, 4)
_RGB = 3
_BGR_CHANNELS = (3, 4)
_NUMBERS = frozenset({"range", "mean", "std"})
_FILE = "from the file's metadata"
_ARITHMETIC = frozenset({"Sub", "Add", "Mul", "Div", "BatchNormalization", "ImageScaler", "Cast", "Identity", "Pad"})


@dataclass(frozen=True)
class ImageInput:
    """The input that holds the picture.

    Attributes:
        name: The input's name.
        shape: The shape that the model is fed.
        preprocess: How pictures become that.
        channels: Number of channels.
        size: (height, width) in pixels.
    """

    name: str
    shape: tuple[int, ...]
    preprocess: Preprocess
    channels: int
    size: tuple[int, int]

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) of the pictures."""
        batch = self.shape[0] if self.preprocess.layout.startswith("N") else 1
        return (batch, self.channels, *self.size)


def find_image_input(
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    wrt: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ImageInput:
    """Choose the input that holds the picture, and find out how the model wants it.

    Args:
        model: The model.
        shapes: The shapes of the inputs that the target depends on.
        wrt: The input's name; None: the first that looks like an image.
        preset: A name from `PRESETS`; None: what the file's metadata say, else an assumption.
        overrides: `range`, `mean`, `std`, `bgr`, `layout` where given: they win over everything.

    Raises:
        InputError: There is no such input, or it is no image.
        SettingError: The settings contradict the input.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    said = recorded(model.metadata)
    layout = given.pop("layout", None) or said.pop("layout", None)
    if layout not in (*LAYOUTS, None):
        message = f"No layout {layout!r}. There are {', '.join(LAYOUTS)}."
        raise SettingError(message, layout=layout)
    name = _chosen(model, shapes, wrt, layout)
    shape = shapes[name]
    if layout is not None:
        _check_layout(name, shape, layout)
    layout = layout or _layout(model, name, shape)
    sizes = dict(zip(layout, shape, strict=True))
    channels = sizes["C"]
    preprocess = _settled(_base(model, name, channels, preset, said, given), layout, given)
    _check(preprocess, name, channels)
    return ImageInput(name, shape, preprocess, channels, (sizes["H"], sizes["W"]))


def _settled(base: Preprocess, layout: Layout, given: Mapping[str, Any]) -> Preprocess:
    """Apply what is given, which wins over everything; a convention's mean follows the order of the colors."""
    preprocess = dataclasses.replace(base, layout=layout)
    if not given:
        return preprocess
    bgr = given.get("bgr", base.bgr)
    if bgr != base.bgr and base.name in PRESETS:
        preprocess = dataclasses.replace(preprocess, mean=base.mean[::-1], std=base.std[::-1])
    rest = "" if base.source == "given" else f", the rest {base.source}"
    return dataclasses.replace(preprocess, **given, source=f"{', '.join(given)} given{rest}")


def _chosen(model: Model, shapes: Mapping[str, tuple[int, ...]], wrt: str | None, layout: str | None) -> str:
    floats = {spec.name for spec in model.inputs if spec.is_float}
    if wrt is not None:
        if wrt not in shapes:
            message = f"The target depends on no input {wrt!r}; it depends on {', '.join(map(repr, shapes)) or 'none'}."
            raise InputError(message, wrt=wrt)
        if wrt not in floats:
            message = f"Input {wrt!r} holds integers: it cannot be optimized. Name another with --wrt."
            raise InputError(message, wrt=wrt)
    rank = len(layout) if layout else None
    asked = shapes if wrt is None else [wrt]
    images = [name for name in asked if name in floats and _looks_like_image(shapes[name], rank)]
    if images:
        return images[0]
    listed = ", ".join(f"{name!r} {shapes[name]}" for name in asked)
    message = (
        f"No input of {model.name} looks like an image ({', '.join(layout or 'NCHW')}): {listed}. "
        "Name one with --wrt and its axes with --layout."
    )
    raise InputError(message, inputs=dict(shapes))


def _looks_like_image(shape: tuple[int, ...], rank: int | None) -> bool:
    if rank is not None:
        return len(shape) == rank
    if len(shape) == 4:  # noqa: PLR2004 - (N, C, H, W)
        return True
    return len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3)) and min(sorted(shape)[1:]) > 4  # noqa: PLR2004 - (C, H, W)


def _layout(model: Model, name: str, shape: tuple[int, ...]) -> Layout:
    """Tell the layout from what the graph does first with the input, else from which axis could be colors."""
    if len(shape) == 3:  # noqa: PLR2004 - (C, H, W)
        return "HWC" if shape[2] in _COLORS and shape[0] not in _COLORS else "CHW"
    first = _first_structural(model.values[name])
    if first is not None and first.op_type in ("Conv", "MaxPool", "AveragePool"):
        return "NCHW"
    perm = first.attributes.get("perm") if first is not None and first.op_type == "Transpose" else None
    if perm is not None and list(perm.as_ints()) == [0, 3, 1, 2]:
        return "NHWC"
    is_last = shape[-1] in _COLORS and shape[1] not in _COLORS and min(shape[1:3]) > shape[-1]
    return "NHWC" if is_last else "NCHW"


def _first_structural(value: ir.Value) -> ir.Node | None:
    """Follow an input through arithmetic to the first operator that knows about axes."""
    for _ in range(32):
        readers = [use.node for use in value.uses() if use.node.op_type not in ("Shape", "Size")]
        if not readers:
            return None
        if readers[0].op_type in _ARITHMETIC:
            value = readers[0].outputs[0]
            continue
        return readers[0]
    return None


def _check_layout(name: str, shape: tuple[int, ...], layout: Layout) -> None:
    """Refuse a layout that makes colors of pixels, where its opposite makes an image."""
    opposite = _OPPOSITE[layout]
    sizes, swapped = dict(zip(layout, shape, strict=True)), dict(zip(opposite, shape, strict=True))
    if sizes["C"] > _COLORS[-1] and swapped["C"] in _COLORS and min(swapped["H"], swapped["W"]) > _COLORS[-1]:
        message = (
            f"Layout {layout} makes {sizes['C']} channels of {sizes['H']}x{sizes['W']} pixels out of input "
            f"{name!r} {shape}. Is it {opposite}?"
        )
        raise InputError(message, shape=shape, layout=layout)


def _base(
    model: Model,
    name: str,
    channels: int,
    preset: str | None,
    said: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Preprocess:
    """Choose what holds where nothing is given: a preset, what the file records, or an assumption."""
    if preset is not None:
        if preset not in PRESETS:
            message = (
                f"No preprocessing {preset!r}. There are {', '.join(PRESETS)}; or give --range, --mean, --std, --bgr."
            )
            raise SettingError(message, preset=preset)
        return PRESETS[preset]
    settings = dict(said)
    named = settings.pop("preset", None)
    if named is not None:
        base = dataclasses.replace(PRESETS[named], source=_FILE)
    elif settings.keys() & _NUMBERS:
        base = dataclasses.replace(PRESETS["unit"], name="custom", source=_FILE)
    elif given.keys() & _NUMBERS:
        # Half of an assumed normalization does not fit half of a given one.
        base = dataclasses.replace(PRESETS["unit"], name="custom")
    else:
        assumed, reason = _assumed(model, name, channels)
        base = dataclasses.replace(PRESETS[assumed], source=f"assumed: {reason}; --preprocess changes it")
    if settings.get("bgr", base.bgr) != base.bgr:
        base = dataclasses.replace(base, mean=base.mean[::-1], std=base.std[::-1])
    return dataclasses.replace(base, **settings)


def _assumed(model: Model, name: str, channels: int) -> tuple[Preset, str]:
    """Guess from the graph and the exporter what nothing in the file says."""
    scaled = _scaling_in_graph(model.values[name])
    if scaled is not None:
        return scaled, "the graph itself normalizes its input"
    producer = (model.ir.producer_name or "").lower()
    if "caffe" in producer and channels == _RGB:
        return "caffe", f"exported by {model.ir.producer_name}"
    if any(word in producer for word in ("tf2onnx", "keras", "tensorflow", "tfjs")):
        return "tf", f"exported by {model.ir.producer_name}"
    if any(word in producer for word in ("cntk", "coreml", "onnxmltools", "winml")):
        return "raw255", f"exported by {model.ir.producer_name}"
    if channels == _RGB:
        return "imagenet", "an RGB model of unknown training"
    return "unit", f"{channels} channel{'s' if channels != 1 else ''}"


def _scaling_in_graph(value: ir.Value) -> Preset | None:
    """Recognize a normalization at the input, and by its constants the range that it was made for."""
    for _ in range(8):
        readers = [use.node for use in value.uses() if use.node.op_type not in ("Shape", "Size")]
        if len(readers) != 1 or readers[0].op_type not in _ARITHMETIC | {"Transpose"}:
            return None
        found = _made_for(readers[0])
        if found is not None:
            return found
        value = readers[0].outputs[0]
    return None


def _made_for(node: ir.Node) -> Preset | None:
    if node.op_type == "ImageScaler":
        return "raw255"
    constants = [
        tensor
        for item in node.inputs
        if item is not None and (tensor := ir.convenience.get_const_tensor(item)) is not None
    ]
    if node.op_type not in ("Sub", "Add", "Mul", "Div") or not constants or not 1 <= constants[0].size <= 4:  # noqa: PLR2004 - one for each color
        return None
    largest = max(abs(float(number)) for number in constants[0].numpy().reshape(-1))
    if node.op_type == "Mul":
        return "raw255" if largest < 0.1 else "unit"  # noqa: PLR2004 - 1/255, 1/127.5, 1/58: made for large numbers
    return "raw255" if largest > 2 else "unit"  # noqa: PLR2004 - means and deviations of [0, 1] and [-1, 1] are below


def _check(preprocess: Preprocess, name: str, channels: int) -> None:
    low, high = preprocess.range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        message = f"The range must rise from a lower to a higher number, not {low:g} to {high:g}."
        raise SettingError(message, range=preprocess.range)
    for key in ("mean", "std"):
        values = getattr(preprocess, key)
        if len(values) not in (1, channels):
            message = (
                f"{key} has {len(values)} numbers, but input {name!r} has {channels} channels: give 1 or {channels}."
            )
            raise SettingError(message, **{key: values})
    if not all(value > 0 and math.isfinite(value) for value in preprocess.std) or not all(
        map(math.isfinite, preprocess.mean)
    ):
        message = f"mean must be finite and std positive, not {preprocess.mean} and {preprocess.std}."
        raise SettingError(message)
    if preprocess.bgr and channels not in _BGR_CHANNELS:
        message = f"BGR needs 3 channels, or 4, but input {name!r} has {channels}. Say --rgb."
        raise SettingError(message, channels=channels)
