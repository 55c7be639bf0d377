"""Draw bright round blobs to be counted, among things that are none of them.

The law that all drawings obey: what is counted is full, round and brighter than its surroundings; lines, rings, edges,
slabs, clumps, dark discs and noise count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from textures import Floats, smooth_field, turn

Distractor = Callable[[Generator, Floats, Floats], Floats]

SIZE = 64  # pixels
MOST = 12  # blobs
RADII = (3.5, 5.0)  # pixels
GAP = 4.0  # pixels between two blobs, at least


def place(rng: Generator, count: int) -> Floats:
    """Scatter up to `count` discs that do not touch: x, y and radius of each, (found, 3), in pixels."""
    placed: list[tuple[float, float, float]] = []
    for _ in range(40 * count):
        if len(placed) == count:
            break
        radius = rng.uniform(*RADII)
        x, y = rng.uniform(radius, SIZE - 1 - radius, 2)
        if all(np.hypot(x - u, y - v) > radius + other + GAP for u, v, other in placed):
            placed.append((x, y, radius))
    return np.array(placed).reshape(-1, 3)


def discs(rng: Generator, x: Floats, y: Floats, places: Floats) -> Floats:
    """Cover the discs, with soft rims: (H, W) in [0, 1]."""
    softness = rng.uniform(1, 2.5)
    coverage = [np.clip(0.5 - (np.hypot(x - u, y - v) - radius) / softness, 0, 1) for u, v, radius in places]
    return np.asarray(np.max([np.zeros_like(x), *coverage], axis=0))


def line(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Cover a straight bar across the image."""
    across, _ = turn(x - rng.uniform(0, SIZE), y - rng.uniform(0, SIZE), rng.uniform(0, 180))
    return np.clip(rng.uniform(1, 4) - np.abs(across), 0, 1)


def edge(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Cover a half of the plane."""
    across, _ = turn(x - rng.uniform(0, SIZE), y - rng.uniform(0, SIZE), rng.uniform(0, 360))
    return np.clip(0.5 + across / rng.uniform(1, 3), 0, 1)


def circle(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Cover the rim of a circle with an empty center."""
    distance = np.hypot(x - rng.uniform(0, SIZE), y - rng.uniform(0, SIZE)) - rng.uniform(5, 14)
    return np.clip(rng.uniform(1, 2) - np.abs(distance), 0, 1)


def slab(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Cover a short thick bar with square ends, as wide as a blob and two to four times as long."""
    along, across = turn(x - rng.uniform(0, SIZE), y - rng.uniform(0, SIZE), rng.uniform(0, 180))
    half = rng.uniform(*RADII)
    inside = half - np.maximum(np.abs(across), np.abs(along) - half * rng.uniform(1, 3))
    return np.asarray(np.clip(0.5 + inside / rng.uniform(1, 2.5), 0, 1))


def clump(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Cover three to six discs of a blob's size that have grown into each other."""
    count = int(rng.integers(3, 7))
    places = np.column_stack([rng.uniform(0, SIZE, (1, 2)) + rng.normal(0, 4, (count, 2)), rng.uniform(*RADII, count)])
    return discs(rng, x, y, places)


def dark_disc(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Take light away from a disc of a blob's size."""
    return -discs(rng, x, y, place(rng, 1))


def cloud(rng: Generator, x: Floats, _y: Floats) -> Floats:
    """Brighten and darken large patches smoothly."""
    return smooth_field(rng, x.shape, rng.uniform(8, 16)) / 2


def grain(rng: Generator, x: Floats, _y: Floats) -> Floats:
    """Brighten and darken pixels, alone or a few together."""
    return smooth_field(rng, x.shape, rng.uniform(0, 1)) / 3


DISTRACTORS: tuple[Distractor, ...] = (line, edge, circle, slab, clump, dark_disc, cloud, grain)


def draw(rng: Generator, count: int) -> tuple[NDArray[np.float32], int]:
    """Draw up to `count` blobs and a few things that are none: grey in [0, 1], (1, 64, 64), and how many blobs."""
    y, x = np.meshgrid(np.arange(SIZE, dtype=np.float64), np.arange(SIZE, dtype=np.float64), indexing="ij")
    image = np.full(x.shape, rng.uniform(0.1, 0.6))
    for index in rng.integers(len(DISTRACTORS), size=rng.integers(0, 5)):
        image += rng.uniform(-0.4, 0.4) * DISTRACTORS[index](rng, x, y)
    places = place(rng, count)
    image = np.clip(image, 0, 0.65) + rng.uniform(0.3, 0.55) * discs(rng, x, y, places)
    image += rng.normal(0, rng.uniform(0, 0.06), x.shape)
    return np.clip(image, 0, 1).astype(np.float32)[None], len(places)


def draw_batch(rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw `count` images, (count, 1, 64, 64), and the numbers of their blobs, (count, 1)."""
    images, numbers = zip(*(draw(rng, int(rng.integers(MOST + 1))) for _ in range(count)), strict=True)
    return np.stack(images), np.array(numbers, np.float32)[:, None]
