"""Train a network on drawn solids and write it as `volumes.onnx` beside this script.

Run `python samples/train_volumes.py`; it takes a few minutes on two cores and reads no data.
"""

from __future__ import annotations

from pathlib import Path

from classifiers import Drawings, train_classifier
from convnet import Design
from export import Description, described, write
from robust import VALIDATION_SEED, Schedule
from volumes import SIZE, SOLIDS, draw_batch, draw_spoiled

OUTPUT = Path(__file__).with_name("volumes.onnx")
DESIGN = Design(
    shape=(1, SIZE, SIZE, SIZE),
    widths=(8, 16, 32, 48),
    kernels=(5, 3, 3, 3),
    pooled=(0, 1),
    outputs=len(SOLIDS),
)
DRAWINGS = Drawings(len(SOLIDS), draw_batch, draw_spoiled)
DESCRIPTION = Description(
    name="volumes",
    script="train_volumes.py",
    text=f"Tells {len(SOLIDS)} drawn solids apart.",
    input="volume",
    dense="logits",
    metadata=described(DESIGN, (0, 1), list(SOLIDS)),
)


def main() -> None:
    """Train, measure, write, and compare what was written."""
    network = train_classifier(DESIGN, DRAWINGS, Schedule(radius=3.0, steps=400))
    inputs, _ = DRAWINGS.labelled(VALIDATION_SEED, 0, 64)
    write(OUTPUT, network, DESCRIPTION, inputs)


if __name__ == "__main__":
    main()
