"""Draw the ten solids that a sample network tells apart.

The law that all of them obey: a solid is a signed distance in voxels, negative inside, over coordinates about a random
center, turned a little about the axis of depth. `fill` gives any of them values, soft surfaces and grain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Solid = Callable[[Generator, Floats, Floats, Floats], Floats]

SIZE = 20  # voxels
TILT = 8.0  # degrees, either way


def length(*coordinates: Floats) -> Floats:
    """Compute the distance from the origin, the axis or the plane where all the coordinates are zero."""
    return np.asarray(np.sqrt(np.sum(np.square(coordinates), axis=0)))


def sphere(rng: Generator, z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a full ball."""
    return length(z, y, x) - rng.uniform(4.5, 6.5)


def shell(rng: Generator, z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a hollow ball."""
    return np.abs(length(z, y, x) - rng.uniform(5.5, 7)) - rng.uniform(0.8, 1.1)


def cube(rng: Generator, z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a full cube."""
    return np.asarray(np.max(np.abs((z, y, x)), axis=0)) - rng.uniform(4, 6)


def rod_depth(rng: Generator, _z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a rod from the first slice to the last."""
    return length(y, x) - rng.uniform(1.6, 2.6)


def rod_height(rng: Generator, z: Floats, _y: Floats, x: Floats) -> Floats:
    """Draw a rod from the top to the bottom."""
    return length(z, x) - rng.uniform(1.6, 2.6)


def rod_width(rng: Generator, z: Floats, y: Floats, _x: Floats) -> Floats:
    """Draw a rod from the left to the right."""
    return length(z, y) - rng.uniform(1.6, 2.6)


def plate(rng: Generator, _z: Floats, y: Floats, _x: Floats) -> Floats:
    """Draw a level floor."""
    return np.abs(y) - rng.uniform(0.9, 1.6)


def ring(rng: Generator, z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a ring about the axis of depth."""
    return length(length(y, x) - rng.uniform(5.5, 7), z) - rng.uniform(1.4, 2)


def helix(rng: Generator, z: Floats, y: Floats, x: Floats) -> Floats:
    """Draw a corkscrew about the axis of depth."""
    radius, pitch = rng.uniform(4.5, 6), rng.uniform(11, 15)
    turn = 2 * np.pi * (z / pitch + rng.uniform())
    return length(y - radius * np.sin(turn), x - radius * np.cos(turn)) - rng.uniform(1.7, 2.3)


def noise(rng: Generator, _z: Floats, _y: Floats, x: Floats) -> Floats:
    """Draw independent random voxels."""
    return rng.normal(0, rng.uniform(0.5, 1.5), x.shape)


SOLIDS: dict[str, Solid] = {
    solid.__name__: solid
    for solid in (sphere, shell, cube, rod_depth, rod_height, rod_width, plate, ring, helix, noise)
}
SHAPELY = [name for name in SOLIDS if name != "noise"]


def space(rng: Generator) -> tuple[Floats, Floats, Floats]:
    """Make voxel coordinates, depth, height and width, about a random center and turned a little."""
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    z, y, x = np.meshgrid(*(axis - rng.uniform(-2.5, 2.5) for _ in range(3)), indexing="ij")
    angle = np.radians(rng.uniform(-TILT, TILT))
    return z, np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


def fill(rng: Generator, distance: Floats) -> NDArray[np.float32]:
    """Turn a signed distance in voxels into values, a bright solid in a dark space: (1, D, H, W) in [0, 1]."""
    coverage = np.clip(0.5 - distance / rng.uniform(1, 2), 0, 1)
    dark, bright = rng.uniform(0, 0.3), rng.uniform(0.6, 1)
    grain = rng.normal(0, rng.uniform(0, 0.1), distance.shape)
    return np.clip(dark + (bright - dark) * coverage + grain, 0, 1).astype(np.float32)[None]


def draw(name: str, rng: Generator) -> NDArray[np.float32]:
    """Draw one solid: (1, 20, 20, 20) in [0, 1]."""
    return fill(rng, SOLIDS[name](rng, *space(rng)))


def draw_batch(rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw `count` solids of random classes: (count, 1, 20, 20, 20) and class indices (count,)."""
    names = tuple(SOLIDS)
    labels = rng.integers(len(names), size=count)
    return np.stack([draw(names[label], rng) for label in labels]), labels


def draw_united(rng: Generator) -> NDArray[np.float32]:
    """Draw two or three solids that pass through each other."""
    chosen = rng.choice(SHAPELY, rng.integers(2, 4))
    return fill(rng, np.min([SOLIDS[name](rng, *space(rng)) for name in chosen], axis=0))


def draw_shuffled(rng: Generator) -> NDArray[np.float32]:
    """Cut a solid into eight boxes and put each in another's place, mirrored or not."""
    half = SIZE // 2
    whole = draw(rng.choice(SHAPELY), rng)
    boxes = whole.reshape(2, half, 2, half, 2, half).transpose(0, 2, 4, 1, 3, 5).reshape(8, half, half, half)
    mixed = np.stack([np.flip(box, tuple(np.flatnonzero(rng.integers(2, size=3)))) for box in rng.permutation(boxes)])
    joined = mixed.reshape(2, 2, 2, half, half, half).transpose(0, 3, 1, 4, 2, 5)
    return joined.reshape(whole.shape)


def draw_spoiled(rng: Generator, count: int) -> NDArray[np.float32]:
    """Draw `count` volumes that have the parts of a solid and are none: (count, 1, 20, 20, 20)."""
    return np.stack([(draw_united if rng.integers(2) else draw_shuffled)(rng) for _ in range(count)])
