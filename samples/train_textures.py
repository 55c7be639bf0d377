"""Train the sample network on drawn textures and write it as `textures.onnx` beside this script.

Run `python samples/train_textures.py`; it takes a few minutes on two cores and reads no data.
"""

from __future__ import annotations

from pathlib import Path

from classifiers import Drawings, train_classifier
from convnet import Design
from export import Description, described, write
from metadata import image_metadata
from robust import VALIDATION_SEED, Schedule
from textures import SIZE, TEXTURES, draw_batch, draw_spoiled

OUTPUT = Path(__file__).with_name("textures.onnx")
DESIGN = Design(
    shape=(3, SIZE, SIZE),
    widths=(16, 32, 64, 96, 96),
    kernels=(5, 3, 3, 3, 3),
    pooled=(0, 1, 2),
    outputs=len(TEXTURES),
    blurs=2,
    mean=0.5,  # pixels in [0, 1] become [-1, 1]
    std=0.5,
)
DRAWINGS = Drawings(len(TEXTURES), draw_batch, draw_spoiled)
DESCRIPTION = Description(
    name="textures",
    script="train_textures.py",
    text=f"Tells {len(TEXTURES)} drawn textures apart.",
    input="image",
    dense="logits",
    metadata=image_metadata("Rgb8", "Normalized_1_1") | described(DESIGN, (0, 1), list(TEXTURES)),
)


def main() -> None:
    """Train, measure, write, and compare what was written."""
    network = train_classifier(DESIGN, DRAWINGS, Schedule(radius=3.0))
    inputs, _ = DRAWINGS.labelled(VALIDATION_SEED, 0, 64)
    write(OUTPUT, network, DESCRIPTION, inputs)


if __name__ == "__main__":
    main()
