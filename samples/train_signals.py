"""Train a network on drawn signals and write it as `signals.onnx` beside this script.

Run `python samples/train_signals.py`; it takes a minute or two and reads no data.
"""

from __future__ import annotations

from pathlib import Path

from classifiers import Drawings, train_classifier
from convnet import Design
from export import Description, described, write
from robust import VALIDATION_SEED, Schedule
from signals import LENGTH, SIGNALS, draw_batch, draw_spoiled

OUTPUT = Path(__file__).with_name("signals.onnx")
DESIGN = Design(
    shape=(1, LENGTH),
    widths=(16, 32, 48, 64, 64),
    kernels=(9, 5, 5, 5, 5),
    pooled=(0, 1, 2, 3),
    outputs=len(SIGNALS),
)
DRAWINGS = Drawings(len(SIGNALS), draw_batch, draw_spoiled, bounds=(-1.0, 1.0))
DESCRIPTION = Description(
    name="signals",
    script="train_signals.py",
    text=f"Tells {len(SIGNALS)} kinds of drawn signals apart.",
    input="signal",
    dense="logits",
    metadata=described(DESIGN, (-1, 1), list(SIGNALS)),
)


def main() -> None:
    """Train, measure, write, and compare what was written."""
    network = train_classifier(DESIGN, DRAWINGS, Schedule(radius=2.0, steps=1000))
    inputs, _ = DRAWINGS.labelled(VALIDATION_SEED, 0, 64)
    write(OUTPUT, network, DESCRIPTION, inputs)


if __name__ == "__main__":
    main()
