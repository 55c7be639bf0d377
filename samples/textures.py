"""Draw the seventeen textures that the sample network tells apart.

The law that all of them obey: a texture is a signed distance in pixels, negative inside the foreground, over
coordinates that have been turned, sheared and shifted a little. `paint` gives any of them colors, soft edges, uneven
light and grain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texture = Callable[[Generator, Floats, Floats], Floats]

SIZE = 64  # pixels
TILT = 6.0  # degrees, either way


def stripes(position: Floats, period: float, width: float) -> Floats:
    """Measure the distance to parallel bands of the given width, one in every period."""
    return np.abs(position - period * np.round(position / period)) - width / 2


def turn(x: Floats, y: Floats, degrees: float) -> tuple[Floats, Floats]:
    """Rotate coordinates about the origin."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return cosine * x - sine * y, sine * x + cosine * y


def cells(rng: Generator, x: Floats, y: Floats, period: float, jitter: float = 0.0) -> tuple[Floats, Floats]:
    """Repeat the plane: coordinates relative to the center of the nearest cell.

    Odd rows are staggered by half a period, or not, at random. `jitter` displaces every center by up to that
    fraction of a period.
    """
    row = np.round(y / period)
    shift = period / 2 * (row % 2) * rng.integers(2)
    column = np.round((x - shift) / period)
    table = period * jitter * rng.uniform(-1, 1, (2, 32, 32))
    moved = table[:, row.astype(int) % 32, column.astype(int) % 32]
    return x - shift - period * column - moved[0], y - period * row - moved[1]


def bands(rng: Generator, position: Floats) -> Floats:
    """Draw straight bands of random period and width."""
    period = rng.uniform(6, 16)
    return stripes(position, period, period * rng.uniform(0.35, 0.65))


def horizontal_stripes(rng: Generator, _x: Floats, y: Floats) -> Floats:
    """Draw bands that run from left to right."""
    return bands(rng, y)


def vertical_stripes(rng: Generator, x: Floats, _y: Floats) -> Floats:
    """Draw bands that run from top to bottom."""
    return bands(rng, x)


def rising_stripes(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw bands that run from the lower left to the upper right."""
    return bands(rng, (x + y) / np.sqrt(2))


def falling_stripes(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw bands that run from the upper left to the lower right."""
    return bands(rng, (x - y) / np.sqrt(2))


def checkerboard(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw squares of two alternating colors."""
    side = rng.uniform(6, 14)
    across, down = stripes(x, 2 * side, side), stripes(y, 2 * side, side)
    return np.sign(across * down) * np.minimum(np.abs(across), np.abs(down))


def grid(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw thin lines that cross at right angles."""
    period = rng.uniform(9, 18)
    width = period * rng.uniform(0.15, 0.28)
    return np.minimum(stripes(x, period, width), stripes(y, period, width))


def bricks(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw the joints of a brick wall, every second course staggered."""
    height = rng.uniform(7, 13)
    length = height * rng.uniform(1.8, 2.4)
    joint = rng.uniform(1.5, 3)
    course = np.floor(y / height)
    beds = stripes(y, height, joint)
    heads = stripes(x + length / 2 * (course % 2), length, joint)
    return np.minimum(beds, heads)


def honeycomb(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw the walls between hexagonal cells."""
    period = rng.uniform(11, 20)
    row = period * np.sqrt(3) / 2
    # The distance of a point to the nearest wall is half the gap between its two nearest centers,
    # measured along the line that joins them; the centers are two interleaved rectangular lattices.
    walls = []
    for shift in (0.0, 0.5):
        u = (x / period + shift + 0.5) % 1 - 0.5
        v = (y / (2 * row) + shift + 0.5) % 1 - 0.5
        u, v = np.abs(u * period), np.abs(v * 2 * row)
        walls.append(np.maximum(u, u / 2 + v * np.sqrt(3) / 2))
    distance: Floats = period / 2 - np.minimum(*walls) - rng.uniform(0.9, 1.6)
    return distance


def waves(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw bands that undulate smoothly."""
    length = rng.uniform(22, 34)
    height = length * rng.uniform(0.12, 0.16)
    return bands(rng, 0.85 * (y + height * np.sin(2 * np.pi * x / length)))


def zigzags(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw bands that turn at sharp corners."""
    length = rng.uniform(14, 24)
    slope = rng.uniform(1.1, 1.6)
    return bands(rng, 0.65 * (y + slope * stripes(x, length, 0)))


def dots(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw small filled discs in rows."""
    period = rng.uniform(10, 17)
    u, v = cells(rng, x, y, period, 0.04)
    return np.hypot(u, v) - period * rng.uniform(0.22, 0.34)


def rings(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw circles with empty centers."""
    period = rng.uniform(20, 29)
    u, v = cells(rng, x, y, period, 0.06)
    return np.abs(np.hypot(u, v) - period * rng.uniform(0.3, 0.36)) - period * rng.uniform(0.06, 0.09)


def crosses(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw separate plus signs."""
    period = rng.uniform(20, 29)
    u, v = np.abs(cells(rng, x, y, period, 0.05))
    reach, half = period * rng.uniform(0.36, 0.41), period * rng.uniform(0.11, 0.14)
    distance: Floats = np.minimum(np.maximum(u - reach, v - half), np.maximum(v - reach, u - half))
    return distance


def triangles(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw filled triangles that stand on their base."""
    period = rng.uniform(18, 27)
    u, v = cells(rng, x, y, period, 0.05)
    distance: Floats = np.maximum(v, np.abs(u) * np.sqrt(3) / 2 - v / 2) - period * rng.uniform(0.17, 0.21)
    return distance


def stars(rng: Generator, x: Floats, y: Floats) -> Floats:
    """Draw filled five-pointed stars."""
    period = rng.uniform(24, 33)
    u, v = cells(rng, x, y, period, 0.05)
    tip = period * rng.uniform(0.36, 0.42)
    # Fold the plane onto half a point of the star: one straight edge from the tip to the notch is left.
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
    along, aside = np.hypot(u, v) * np.cos(angle), np.hypot(u, v) * np.sin(angle)
    distance: Floats = (along - tip) * np.sin(np.radians(18)) + aside * np.cos(np.radians(18))
    return distance


def smooth_field(rng: Generator, shape: tuple[int, ...], scale: float) -> Floats:
    """Draw Gaussian noise of mean 0 and deviation 1 that is smooth over `scale` pixels."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-2 * (np.pi * frequency * scale) ** 2)
    field = np.fft.irfft2(spectrum, shape)
    return np.asarray((field - field.mean()) / field.std())


def blobs(rng: Generator, x: Floats, _y: Floats) -> Floats:
    """Draw irregular rounded patches."""
    scale = rng.uniform(3.5, 6.5)
    return smooth_field(rng, x.shape, scale) * scale + rng.uniform(-1, 1)


def noise(rng: Generator, x: Floats, _y: Floats) -> Floats:
    """Draw independent random pixels."""
    return rng.normal(0, rng.uniform(0.5, 2), x.shape)


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (
        horizontal_stripes,
        vertical_stripes,
        rising_stripes,
        falling_stripes,
        checkerboard,
        grid,
        bricks,
        honeycomb,
        waves,
        zigzags,
        dots,
        rings,
        crosses,
        triangles,
        stars,
        blobs,
        noise,
    )
}

SHAPELY = [name for name in TEXTURES if name not in {"blobs", "noise"}]  # those that can be spoiled


def plane(rng: Generator, size: int) -> tuple[Floats, Floats]:
    """Make pixel coordinates, y downwards, about a random origin, turned and sheared a little."""
    axis = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    x, y = turn(x, y, rng.uniform(-TILT, TILT))
    x = x * rng.uniform(0.93, 1.07) + y * rng.uniform(-0.06, 0.06)
    shift_x, shift_y = rng.uniform(-size / 8, size / 8, 2)
    return x + shift_x, y + shift_y


def colors(rng: Generator) -> tuple[Floats, Floats]:
    """Draw a background and a foreground, RGB in [0, 1], of clearly different brightness."""
    while True:
        background, foreground = rng.uniform(0, 1, (2, 3))
        if abs((foreground - background).mean()) > rng.uniform(0.2, 0.4):
            return background, foreground


def paint(rng: Generator, distance: Floats) -> NDArray[np.float32]:
    """Color a signed distance in pixels (H, W): RGB in [0, 1], (3, H, W)."""
    coverage = np.clip(0.5 - distance / rng.uniform(1, 2.5), 0, 1)
    background, foreground = colors(rng)
    image = background[:, None, None] + (foreground - background)[:, None, None] * coverage
    rows, columns = (np.linspace(-1, 1, length) for length in distance.shape)
    light = 1 + rng.uniform(-0.15, 0.15) * rows[:, None] + rng.uniform(-0.15, 0.15) * columns
    grain = rng.normal(0, rng.uniform(0, 0.1), image.shape)
    return np.clip(image * light + grain, 0, 1).astype(np.float32)


def draw(name: str, rng: Generator, size: int = SIZE) -> NDArray[np.float32]:
    """Draw one texture: RGB in [0, 1], (3, size, size)."""
    return paint(rng, TEXTURES[name](rng, *plane(rng, size)))


def draw_batch(rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw `count` textures of random classes: images (count, 3, 64, 64) and class indices (count,)."""
    names = tuple(TEXTURES)
    labels = rng.integers(len(names), size=count)
    return np.stack([draw(names[label], rng) for label in labels]), labels


def draw_overlaid(rng: Generator) -> NDArray[np.float32]:
    """Lay several drawings over each other, usually of the same class: RGB in [0, 1], (3, 64, 64)."""
    layers = int(rng.integers(2, 5))
    chosen = rng.choice(SHAPELY, layers if rng.integers(4) == 0 else 1)
    drawings = np.stack([draw(name, rng) for name in np.resize(chosen, layers)])
    middle = drawings.mean((0, 2, 3))[:, None, None]
    image: NDArray[np.float32] = np.clip(middle + (drawings - middle).sum(0) / np.sqrt(layers), 0, 1).astype(np.float32)
    return image


def draw_melted(rng: Generator) -> NDArray[np.float32]:
    """Draw a texture on crumpled coordinates, so that no line is straight and no shape itself."""
    x, y = plane(rng, SIZE)
    scale = rng.uniform(5, 8)
    reach = rng.uniform(0.5, 0.8) * scale
    x, y = (axis + reach * smooth_field(rng, axis.shape, scale) for axis in (x, y))
    return paint(rng, TEXTURES[rng.choice(SHAPELY)](rng, x, y))


def draw_spoiled(rng: Generator, count: int) -> NDArray[np.float32]:
    """Draw `count` images that have the parts of a texture and are none: (count, 3, 64, 64)."""
    return np.stack([(draw_overlaid if rng.integers(2) else draw_melted)(rng) for _ in range(count)])


def grey(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the brightness of RGB images (N, 3, H, W): (N, 1, H, W), with the weights of ITU-R BT.601."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
    return np.asarray(np.sum(images * weights, axis=1, keepdims=True))


def draw_grey_batch(rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw `count` textures of random classes: grey images (count, 1, 64, 64) and class indices (count,)."""
    images, labels = draw_batch(rng, count)
    return grey(images), labels


def draw_grey_spoiled(rng: Generator, count: int) -> NDArray[np.float32]:
    """Draw `count` grey images that have the parts of a texture and are none: (count, 1, 64, 64)."""
    return grey(draw_spoiled(rng, count))
