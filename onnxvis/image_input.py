"""Which input of a model is optimized, and how the model wants it.

Any float input can be: pictures, signals, volumes, plain features. What is given wins over what the file says, and that
over what is assumed from the graph and its exporter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import onnx_ir as ir
from torch import Tensor

from onnxvis.errors import InputError, SettingError
from onnxvis.layouts import ARITHMETIC, COLORS, guessed_layout, looks_like_image
from onnxvis.metadata import recorded
from onnxvis.model import Model
from onnxvis.preprocess import FLAT, LAYOUTS, PRESETS, Preprocess, Preset, canonical, is_layout

Kind = Literal["picture", "signal", "volume", "features"]

_KINDS: Mapping[int, Kind] = {0: "features", 1: "signal", 2: "picture", 3: "volume"}
_OPPOSITE: Mapping[str, str] = {"NCHW": "NHWC", "NHWC": "NCHW", "CHW": "HWC", "HWC": "CHW"}
_RGB = 3
_BGR_CHANNELS = (3, 4)
_NUMBERS = frozenset({"range", "mean", "std"})
_FILE = "from the file's metadata"


@dataclass(frozen=True)
class ImageInput:
    """An input that is optimized; what it holds is called its image, of whatever kind.

    Attributes:
        name: The input's name.
        shape: The shape that the model is fed for one image.
        preprocess: How images become that.
        channels: Number of channels.
        size: The spatial sizes: (height, width), (length,), (depth, height, width), or () for features.
    """

    name: str
    shape: tuple[int, ...]
    preprocess: Preprocess
    channels: int
    size: tuple[int, ...]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *spatial) of one image."""
        return (self.channels, *self.size)

    @property
    def kind(self) -> Kind:
        """What a person would call it."""
        return _KINDS[len(self.size)]

    @property
    def copies(self) -> int:
        """How often one image fills the input: the size of a fixed batch."""
        layout = self.preprocess.layout
        return self.shape[layout.index("N")] if layout != FLAT and "N" in layout else 1

    def feed(self, images: Tensor) -> Tensor:
        """Turn (N, C, *spatial) images in [0, 1] into the model's input; N is 1 where the layout has no batch."""
        fed = self.preprocess.to_input(images)
        return fed.reshape(self.shape) if self.preprocess.layout == FLAT else fed

    def feed_one(self, image: Tensor) -> Tensor:
        """Turn one (1, C, *spatial) image in [0, 1] into the model's input; it fills a fixed batch."""
        return self.feed(image.expand(self.copies, *image.shape[1:]))


def find_image_input(
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    wrt: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ImageInput:
    """Choose the input that is optimized, and find out how the model wants it.

    Args:
        model: The model.
        shapes: The shapes of the inputs that the target depends on.
        wrt: The input's name; None: the first that looks like a picture, else the first of floats.
        preset: A name from `PRESETS`; None: what the file's metadata say, else an assumption.
        overrides: `range`, `mean`, `std`, `bgr`, `layout` where given: they win over everything.

    Raises:
        InputError: There is no such input, or none of floats.
        SettingError: The settings contradict the input.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    said = recorded(model.metadata)
    recorded_layout = said.pop("layout", None)
    layout = given.pop("layout", None)
    if layout is not None and not is_layout(layout):
        message = f"No layout {layout!r}. Write the input's axes in order: {', '.join(LAYOUTS)}."
        raise SettingError(message, layout=layout)
    name = _chosen(model, shapes, wrt, layout or recorded_layout)
    shape = shapes[name]
    if layout is None and recorded_layout is not None and _fits(shape, recorded_layout):
        # What a file records is of its picture, and not of another input.
        layout = recorded_layout
    if layout is not None:
        _check_layout(model, name, shape, layout)
    assumed = layout is None
    layout = layout or guessed_layout(model, name, shape)
    channels, size = _sizes(layout, shape)
    preprocess = _settled(_base(model, name, channels, len(size), preset, said, given), layout, given)
    if assumed and len(size) != len("HW") and "assumed" not in preprocess.source:
        preprocess = dataclasses.replace(preprocess, source=f"{preprocess.source}; layout assumed")
    _check(preprocess, name, channels)
    return ImageInput(name, shape, preprocess, channels, size)


def _sizes(layout: str, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return the number of channels and the spatial sizes."""
    if layout == FLAT:
        return math.prod(shape), ()
    sizes = dict(zip(layout, shape, strict=True))
    return sizes.get("C", 1), tuple(sizes[axis] for axis in canonical(layout)[2:])


def _fits(shape: tuple[int, ...], layout: str) -> bool:
    return layout == FLAT or len(layout) == len(shape)


def _settled(base: Preprocess, layout: str, given: Mapping[str, Any]) -> Preprocess:
    """Apply what is given, which wins over everything; a convention's mean follows the order of the colors."""
    preprocess = dataclasses.replace(base, layout=layout)
    if not given:
        return preprocess
    bgr = given.get("bgr", base.bgr)
    if bgr != base.bgr and base.name in PRESETS:
        preprocess = dataclasses.replace(preprocess, mean=base.mean[::-1], std=base.std[::-1])
    rest = "" if base.source == "given" else f", the rest {base.source}"
    return dataclasses.replace(preprocess, **given, source=f"{', '.join(given)} given{rest}")


def refuse_integers_alone(model: Model, names: Collection[str]) -> None:
    """Refuse a target that depends on no float input, before anybody is asked for its sizes.

    Args:
        model: The model.
        names: The inputs that the target depends on.

    Raises:
        InputError: None of them holds floats.
    """
    needed = [spec for spec in model.inputs if spec.name in names]
    if needed and not any(spec.is_float for spec in needed):
        raise _nothing_to_move(", ".join(map(str, needed)))


def _nothing_to_move(listed: str) -> InputError:
    message = (
        f"All inputs that the target depends on hold integers or one number: {listed}. No gradient moves these. Of a "
        "model of tokens export the part behind the embedding, whose input is floats."
    )
    return InputError(message, inputs=listed)


def _chosen(model: Model, shapes: Mapping[str, tuple[int, ...]], wrt: str | None, layout: str | None) -> str:
    floats = [spec.name for spec in model.inputs if spec.is_float and shapes.get(spec.name)]
    if not floats:
        raise _nothing_to_move(", ".join(f"{name!r} {shape}" for name, shape in shapes.items()))
    if wrt is not None:
        if wrt not in shapes:
            message = f"The target depends on no input {wrt!r}; it depends on {', '.join(map(repr, shapes)) or 'none'}."
            raise InputError(message, wrt=wrt)
        if wrt not in floats:
            message = f"Input {wrt!r} holds integers or one number: it cannot be optimized. Name another with --wrt."
            raise InputError(message, wrt=wrt)
        return wrt
    fitting = [name for name in floats if layout is None or _fits(shapes[name], layout)]
    images = [name for name in fitting if layout is not None or looks_like_image(model, name, shapes[name])]
    if images or fitting:
        return (images or fitting)[0]
    listed = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
    wanted = f"of layout {layout}" if layout else "of floats"
    message = f"{model.name} has no input {wanted}: {listed}. Name one with --wrt and its axes with --layout."
    raise InputError(message, inputs=dict(shapes))


def _check_layout(model: Model, name: str, shape: tuple[int, ...], layout: str) -> None:
    """Refuse a layout of another rank, or one that makes colors of pixels where its opposite makes an image."""
    if not _fits(shape, layout):
        message = f"Layout {layout} has {len(layout)} axes, but input {name!r} is {shape}. Give --layout for its axes."
        raise InputError(message, shape=shape, layout=layout)
    opposite = _OPPOSITE.get(layout)
    if opposite is None or guessed_layout(model, name, shape) == layout:
        return
    sizes, swapped = dict(zip(layout, shape, strict=True)), dict(zip(opposite, shape, strict=True))
    if sizes["C"] > COLORS[-1] and swapped["C"] in COLORS and min(swapped["H"], swapped["W"]) > COLORS[-1]:
        message = (
            f"Layout {layout} makes {sizes['C']} channels of {sizes['H']}x{sizes['W']} pixels out of input "
            f"{name!r} {shape}. Is it {opposite}?"
        )
        raise InputError(message, shape=shape, layout=layout)


def _base(
    model: Model,
    name: str,
    channels: int,
    rank: int,
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
        base = _assumed_base(model, name, channels, rank)
    if settings.get("bgr", base.bgr) != base.bgr:
        base = dataclasses.replace(base, mean=base.mean[::-1], std=base.std[::-1])
    return dataclasses.replace(base, **settings)


def _assumed_base(model: Model, name: str, channels: int, rank: int) -> Preprocess:
    if rank in (0, 1):
        what = "a signal" if rank else "features"
        return Preprocess("custom", (-1.0, 1.0), source=f"assumed: {what} of unknown range; --range changes it")
    assumed, reason = _assumed(model, name, channels)
    return dataclasses.replace(PRESETS[assumed], source=f"assumed: {reason}; --preprocess changes it")


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
        if len(readers) != 1 or readers[0].op_type not in ARITHMETIC | {"Transpose"}:
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
