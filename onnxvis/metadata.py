"""What a file says about its input image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnxvis.errors import SettingError
from onnxvis.preprocess import PRESETS, is_layout


def recorded(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read ONNX's own image metadata, then the project's keys, which win.

    The names are of the ONNX documentation, "Metadata": https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md

    Args:
        metadata: A model's `metadata_props`.

    Returns:
        dict: Any of "preset", "range", "mean", "std", "bgr", "layout".

    Raises:
        SettingError: A key of the project's holds something that is not understood.
    """
    found: dict[str, Any] = {}
    pixel_range = metadata.get("Image.NominalPixelRange")
    if pixel_range in _NOMINAL_RANGES:
        found["range"] = _NOMINAL_RANGES[pixel_range]
    if "bgr" in metadata.get("Image.BitmapPixelFormat", "").lower():
        found["bgr"] = True
    for key, read in _KEYS.items():
        text = metadata.get(f"onnxvis.{key}")
        if text is not None:
            found["preset" if key == "preprocess" else key] = _parsed(key, text, read)
    return found


def _parsed(key: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except (RecursionError, TypeError, ValueError) as error:
        message = (
            f"The file's metadata key onnxvis.{key} holds {text[:80]!r}, which is not understood. Give --{key} instead."
        )
        raise SettingError(message, key=key, text=text) from error


def _floats(text: str) -> tuple[float, ...]:
    text = text.strip()
    numbers = json.loads(text) if text.startswith("[") else text.split(",")
    return tuple(float(number) for number in numbers)


def _pair(text: str) -> tuple[float, float]:
    low, high = _floats(text)
    return low, high


def _one_of(names: Sequence[str], fold: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        return names[names.index(fold(text.strip()))]

    return read


def _layout(text: str) -> str:
    word = text.strip().upper()
    if not is_layout(word):
        message = "not a layout"
        raise ValueError(message)
    return word


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in _FLAGS:
        message = f"not one of {', '.join(_FLAGS)}"
        raise ValueError(message)
    return _FLAGS[word]


_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NOMINAL_RANGES: Mapping[str | None, tuple[float, float]] = {
    "NominalRange_0_255": (0.0, 255.0),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (-1.0, 1.0),
    "NominalRange_16_235": (16.0, 235.0),
}
_KEYS: Mapping[str, Callable[[str], Any]] = {
    "preprocess": _one_of(list(PRESETS), str.lower),
    "range": _pair,
    "mean": _floats,
    "std": _floats,
    "bgr": _flag,
    "layout": _layout,
}
