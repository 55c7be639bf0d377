"""Draw the pictures of docs/options.md: what each option does to one unit of a sample model.

    python samples/draw_options.py [FOLDER]

Each row is one setting changed and everything else as it is; the number under a picture is its activation by
onnxruntime. Without a folder they go to docs/images. It takes about two minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import onnxvis
from onnxvis.figures import enlarged
from onnxvis.sheets import contact_sheet

SAMPLES = Path(__file__).parent
QUALITY = 90
Settings = Mapping[str, Any]

PIXELS: Settings = {"parameterization": onnxvis.Pixel(), "transforms": ()}
RINGS: Settings = {"node": "logits", "filter": "rings"}
STROKES: Settings = {"node": "relu4", "filter": 20}
ROWS: Mapping[str, tuple[str, Settings, Mapping[str, Settings]]] = {
    "goal": (
        "blobs.onnx",
        {},
        {
            "minimize": {"goal": "minimize"},
            **{f"reach {count}": {"goal": float(count)} for count in (2, 4, 8, 12)},
            "maximize": {},
        },
    ),
    "neuron": ("textures.onnx", STROKES, {"mean": {}, "center": {"neuron": "center"}, "2,2": {"neuron": (2, 2)}}),
    "parameterization": (
        "textures.onnx",
        RINGS,
        {"pixel, no jitter": PIXELS, "fourier, no jitter": {"transforms": ()}, "fourier, views": {}},
    ),
    "tv": (
        "textures.onnx",
        {**STROKES, **PIXELS},
        {f"weight {weight:g}": {"tv_weight": float(weight)} for weight in (0, 1, 10, 100)},
    ),
    "lp": (
        "textures.onnx",
        {**STROKES, **PIXELS},
        {f"weight {weight:g}": {"lp_weight": float(weight)} for weight in (0, 1, 2, 4)},
    ),
    "jitter": (
        "textures.onnx",
        {**RINGS, "parameterization": onnxvis.Pixel()},
        {
            "none": {"transforms": ()},
            "2 pixels": {"transforms": (onnxvis.Jitter(2),)},
            "8 pixels": {"transforms": (onnxvis.Jitter(8),)},
            "views (default)": {},
        },
    ),
    "backprop": (
        "textures.onnx",
        {"node": "relu3", "filter": 5},
        {"plain": {}, "guided": {"backprop": "guided"}, "deconvnet": {"backprop": "deconvnet"}},
    ),
    "gradient-modifier": (
        "textures.onnx",
        RINGS,
        {
            "none": {},
            **{name: {"gradient_modifier": name} for name in ("negate", "relu", "absolute", "invert", "small_values")},
        },
    ),
}
SHEETS: Mapping[str, tuple[str, Settings]] = {
    "grey": ("grey.onnx", {}),
    "keras": ("keras_nhwc.onnx", {}),
    "signals": ("signals.onnx", {}),
    "volumes": ("volumes.onnx", {}),
}


def row(file: str, base: Settings, columns: Mapping[str, Settings]) -> Image.Image:
    """Draw one option: a picture for each of its values."""
    model = onnxvis.load(SAMPLES / file)
    results = [onnxvis.visualize(model, **{**base, **changed}) for changed in columns.values()]
    labels = [f"{name}: {result.activation:.3g}" for name, result in zip(columns, results, strict=True)]
    return contact_sheet([enlarged(result.image) for result in results], labels, columns=len(labels))


def sheet(file: str, settings: Settings) -> Image.Image:
    """Draw all filters of a model's output."""
    found = onnxvis.visualize_filters(SAMPLES / file, filters="all", **settings)
    results = [result for result in found if result is not None]
    labels = [f"{', '.join(result.target.labels)}: {result.activation:.3g}" for result in results]
    return contact_sheet([_small(result.image) for result in results], labels)


def _small(picture: Image.Image) -> Image.Image:
    """Halve a plot, of which there are many."""
    return picture.resize((picture.width // 2, picture.height // 2)) if picture.width > 400 else picture  # noqa: PLR2004


def main(words: Sequence[str]) -> None:
    """Write all pictures into a folder."""
    folder = Path(words[0]) if words else SAMPLES.parent / "docs" / "images"
    for name, (file, base, columns) in ROWS.items():
        row(file, base, columns).save(folder / f"option-{name}.jpg", quality=QUALITY)
        print(name)
    for name, (file, settings) in SHEETS.items():
        sheet(file, settings).save(folder / f"sample-{name}.jpg", quality=QUALITY)
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
