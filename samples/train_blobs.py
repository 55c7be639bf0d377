"""Train a network to count drawn blobs and write it as `blobs.onnx` beside this script.

Run `python samples/train_blobs.py`; it takes a few minutes on two cores and reads no data.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from blobs import SIZE, draw_batch
from convnet import ConvNet, Design
from export import Description, described, write
from metadata import image_metadata
from robust import VALIDATION_SEED, Schedule, Task, as_tensor, attack, train
from torch import Tensor
from torch.nn import functional

OUTPUT = Path(__file__).with_name("blobs.onnx")
DESIGN = Design(
    shape=(1, SIZE, SIZE),
    widths=(12, 24, 48, 48),
    kernels=(5, 5, 3, 3),
    pooled=(0, 1),
    outputs=1,
    blurs=1,
)
DESCRIPTION = Description(
    name="blobs",
    script="train_blobs.py",
    text="Counts bright round blobs.",
    input="image",
    dense="count",
    metadata=image_metadata("Gray8", "Normalized_0_1") | described(DESIGN, (0, 1), ["count"]),
    softmax=False,
)


def counted(seed: int, batch: int, index: int) -> tuple[Tensor, Tensor]:
    """Draw images (N, 1, 64, 64) and the numbers of their blobs (N, 1), the same ones for the same seed and index."""
    images, numbers = draw_batch(np.random.default_rng([seed, index]), batch)
    return as_tensor(images), torch.from_numpy(numbers)


def distance(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute how far each count is off, squared below 1: (N,)."""
    return functional.smooth_l1_loss(outputs, targets, reduction="none")[:, 0]


def task(schedule: Schedule) -> Task:
    """Say what is to be learned: counts that are not far off."""
    return Task(functools.partial(counted, schedule.seed, schedule.batch), attacked=distance, learned=distance)


def train_counter(schedule: Schedule) -> ConvNet:
    """Train a network from scratch."""
    torch.manual_seed(schedule.seed)
    network = ConvNet(DESIGN)
    train(network, task(schedule), schedule)
    return network


def errors(network: ConvNet, schedule: Schedule) -> tuple[float, float]:
    """Measure the mean absolute error of the count on new drawings, as they are and under attack."""
    images, numbers = counted(VALIDATION_SEED, 512, 0)
    attacked = attack(network, task(schedule), images, numbers, schedule.radius, schedule.attack_steps)
    with torch.no_grad():
        clean, worse = ((network(x) - numbers).abs().mean() for x in (images, attacked))
    return clean.item(), worse.item()


def main() -> None:
    """Train, measure, write, and compare what was written."""
    schedule = Schedule(radius=1.5, batch=64, steps=350)
    network = train_counter(schedule)
    clean, robust = errors(network, schedule)
    print(f"validation error {clean:.2f} blobs, within an L2 distance of {schedule.radius:g}: {robust:.2f}")
    inputs, _ = counted(VALIDATION_SEED, 64, 1)
    write(OUTPUT, network, DESCRIPTION, inputs)


if __name__ == "__main__":
    main()
