"""What the files of the samples say about their inputs and outputs, in ONNX's own words and in onnxvis's."""

from __future__ import annotations

import json
from collections.abc import Sequence

LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
"""The axes of an input with one to three spatial sizes, where channels come first."""
AUTHOR = {"model_author": "the onnxvis project", "model_license": "MIT"}


def input_metadata(
    *, bounds: tuple[int, int], mean: float, std: float, channels: int, layout: str, labels: Sequence[str]
) -> dict[str, str]:
    """State the range of an input before normalization, the normalization, the layout and the outputs' labels."""
    return {
        "onnxvis.range": json.dumps(bounds),
        "onnxvis.mean": json.dumps([mean] * channels),
        "onnxvis.std": json.dumps([std] * channels),
        "onnxvis.layout": layout,
        "onnxvis.labels": json.dumps(labels),
    }


def image_metadata(pixels: str, nominal_range: str) -> dict[str, str]:
    """State what an image means in ONNX's own words."""
    return {
        "Image.BitmapPixelFormat": pixels,
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": nominal_range,
    }
