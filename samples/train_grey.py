"""Train a network on drawn textures without their colors and write it as `grey.onnx` beside this script.

Run `python samples/train_grey.py`; it takes a few minutes on two cores and reads no data.
"""

from __future__ import annotations

from pathlib import Path

from classifiers import Drawings, train_classifier
from convnet import Design
from export import Description, described, write
from metadata import image_metadata
from robust import VALIDATION_SEED, Schedule
from textures import SIZE, TEXTURES, draw_grey_batch, draw_grey_spoiled

OUTPUT = Path(__file__).with_name("grey.onnx")
DESIGN = Design(
    shape=(1, SIZE, SIZE),
    widths=(16, 32, 64, 80, 80),
    kernels=(5, 3, 3, 3, 3),
    pooled=(0, 1, 2),
    outputs=len(TEXTURES),
    blurs=2,
)
DRAWINGS = Drawings(len(TEXTURES), draw_grey_batch, draw_grey_spoiled)
DESCRIPTION = Description(
    name="grey",
    script="train_grey.py",
    text=f"Tells {len(TEXTURES)} drawn textures apart, without their colors.",
    input="image",
    dense="logits",
    metadata=image_metadata("Gray8", "Normalized_0_1") | described(DESIGN, (0, 1), list(TEXTURES)),
)


def main() -> None:
    """Train, measure, write, and compare what was written."""
    network = train_classifier(DESIGN, DRAWINGS, Schedule(radius=1.5))
    inputs, _ = DRAWINGS.labelled(VALIDATION_SEED, 0, 64)
    write(OUTPUT, network, DESCRIPTION, inputs)


if __name__ == "__main__":
    main()
