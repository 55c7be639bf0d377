"""What a model's input and output mean, which ONNX does not say: written into metadata that onnxvis reads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refusal import ConversionError, refusing

LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NCW", "NWC", "CW", "NW", "NCDHW", "NDHWC", "NC", "C", "FLAT")
"""The order of an input's axes; FLAT: each number is a feature of its own."""
_IMAGENET = {"range": (0.0, 1.0), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "caffe": {"range": (0.0, 255.0), "mean": (103.939, 116.779, 123.68), "bgr": True},
    "tf": {"range": (-1.0, 1.0)},
    "torch": _IMAGENET,
    "imagenet": _IMAGENET,
    "unit": {"range": (0.0, 1.0)},
    "raw255": {"range": (0.0, 255.0)},
}
"""The first three are the modes of `keras.applications.imagenet_utils.preprocess_input`; imagenet, unit and raw255 are
onnxvis's names for what torchvision does and for pictures in [0, 1] and [0, 255]."""


@dataclass(frozen=True)
class Meaning:
    """What somebody said of a model's input and output; None and empty where nobody did.

    The model is fed `(low + pixel / 255 * (high - low) - mean) / std`.

    Attributes:
        layout: The order of the input's axes, one of `LAYOUTS`.
        range: What black and white are before mean and std.
        mean: Subtracted, one for each channel in the model's order or one for all.
        std: Divided by, likewise.
        bgr: Whether the channels are blue, green, red.
        labels: The names of the classes.
    """

    layout: str | None = None
    range: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool | None = None
    labels: tuple[str, ...] = ()

    def metadata(self) -> dict[str, str]:
        """Write it as the entries of `metadata_props` that onnxvis reads (its docs/preprocessing.md)."""
        numbers = {key: getattr(self, key) for key in ("range", "mean", "std", "bgr")}
        told = {f"onnxvis.{key}": json.dumps(value) for key, value in numbers.items() if value is not None}
        told |= {"onnxvis.layout": self.layout} if self.layout else {}
        told |= {"onnxvis.labels": json.dumps(self.labels, ensure_ascii=False)} if self.labels else {}
        return told

    def __str__(self) -> str:
        """Say it in one line, and also what nobody said."""
        told = [f"layout {self.layout}" if self.layout else "no layout (--layout)"]
        numbers = {key: getattr(self, key) for key in ("range", "mean", "std")}
        if not any(numbers.values()):
            told.append("no range, mean and std (--preprocess or --range, --mean, --std)")
        told += [f"{key} {' '.join(f'{value:g}' for value in values)}" for key, values in numbers.items() if values]
        told += ["BGR"] if self.bgr else []
        told.append(f"{len(self.labels)} labels" if self.labels else "no labels (--labels)")
        return ", ".join(told)


def meaning(arguments: argparse.Namespace, layout: str | None = None, labels: Sequence[str] = ()) -> Meaning:
    """Collect what the options say; a single option wins over `--preprocess`.

    Args:
        arguments: As parsed.
        layout: What the framework knows of the input's axes; `--layout` wins.
        labels: What it knows of the classes; `--labels` wins.

    Raises:
        ConversionError: Numbers that make no sense, or labels that cannot be read.
    """
    given = {key: getattr(arguments, key) for key in ("range", "mean", "std", "bgr")}
    found = {**PRESETS.get(arguments.preprocess, {}), **{key: told for key, told in given.items() if told is not None}}
    low_high, std = found.get("range", (0.0, 1.0)), found.get("std", (1.0,))
    if len(set(low_high)) != 2 or len(low_high) != 2:  # noqa: PLR2004 - (low, high)
        message = f"--range takes two different numbers, not {' '.join(map(str, low_high))}"
        raise ConversionError(message)
    if 0 in std or not std or not found.get("mean", (0.0,)):
        message = "--mean and --std take one number for each channel, or one for all; a std is not 0"
        raise ConversionError(message)
    names = read_labels(arguments.labels) if arguments.labels else tuple(labels)
    return Meaning(layout=arguments.layout or layout, labels=names, **found)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names: one a line, a JSON list, or a JSON object by index.

    An entry may be a list that ends in the name, as in Keras's imagenet_class_index.json:
    `{"0": ["n01440764", "tench"], ...}`.

    Raises:
        ConversionError: The file cannot be read, holds none, or misses an index.
    """
    with refusing(f"cannot read class names from {path}"):
        found = _entries(path.read_text(encoding="utf-8-sig").strip())
    if not found:
        message = f"{path} holds no class names"
        raise ConversionError(message)
    return tuple(str(entry[-1] if isinstance(entry, list) else entry) for entry in found)


def _entries(text: str) -> Sequence[Any]:
    if not text.startswith(("[", "{")):
        return [line.strip() for line in text.splitlines()]
    found = json.loads(text)
    return [found[str(index)] for index in range(len(found))] if isinstance(found, dict) else list(found)
