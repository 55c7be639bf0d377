"""Draw the twelve kinds of signals that a sample network tells apart.

The law that all of them obey: a signal is a function of time in samples, about -1 to 1, at a random place, and
`record` gives any of them loudness, an offset, a drift and noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Signal = Callable[[Generator, Floats], Floats]

LENGTH = 256  # samples


def burst(rng: Generator, time: Floats, low: float, high: float) -> Floats:
    """Draw a sine that swells and fades, of a period between `low` and `high`."""
    period = rng.uniform(low, high)
    width = rng.uniform(0.14, 0.22) * LENGTH
    center = rng.uniform(0.35, 0.65) * LENGTH
    envelope = np.exp(-(((time - center) / width) ** 2))
    return envelope * np.sin(2 * np.pi * (time / period + rng.uniform()))


def slow_burst(rng: Generator, time: Floats) -> Floats:
    """Draw a burst of a few long waves."""
    return burst(rng, time, 40, 56)


def medium_burst(rng: Generator, time: Floats) -> Floats:
    """Draw a burst of waves of medium length."""
    return burst(rng, time, 19, 26)


def fast_burst(rng: Generator, time: Floats) -> Floats:
    """Draw a burst of many short waves."""
    return burst(rng, time, 8, 12)


def phase(rng: Generator, time: Floats) -> Floats:
    """Draw a random period and shift: the fraction of the period that has passed, in [0, 1)."""
    return (time / rng.uniform(28, 60) + rng.uniform()) % 1


def square_wave(rng: Generator, time: Floats) -> Floats:
    """Draw a signal that jumps between two levels."""
    return np.asarray(np.where(phase(rng, time) < rng.uniform(0.4, 0.6), 1.0, -1.0))


def triangle_wave(rng: Generator, time: Floats) -> Floats:
    """Draw a signal that climbs and falls in straight lines."""
    return 4 * np.abs(phase(rng, time) - 0.5) - 1


def sawtooth(rng: Generator, time: Floats) -> Floats:
    """Draw a signal that climbs slowly and drops at once."""
    return 2 * phase(rng, time) - 1


def spikes(rng: Generator, time: Floats) -> Floats:
    """Draw a flat line with a few narrow peaks, upwards."""
    places = rng.uniform(0, LENGTH, rng.integers(4, 9))
    width = rng.uniform(1.5, 3)
    peaks: Floats = np.exp(-(((time - places[:, None]) / width) ** 2)).max(axis=0)
    return 1.8 * peaks - 0.5


def chirp(rng: Generator, time: Floats, *, rising: bool) -> Floats:
    """Draw a sine whose frequency rises, or falls, fivefold or more."""
    slow, fast = rng.uniform(0.012, 0.018), rng.uniform(0.09, 0.12)  # cycles per sample
    place = time / LENGTH
    place = place if rising else 1 - place
    return np.sin(2 * np.pi * (LENGTH * (slow * place + (fast - slow) * place**2 / 2) + rng.uniform()))


def rising_chirp(rng: Generator, time: Floats) -> Floats:
    """Draw a sine that becomes faster."""
    return chirp(rng, time, rising=True)


def falling_chirp(rng: Generator, time: Floats) -> Floats:
    """Draw a sine that becomes slower."""
    return chirp(rng, time, rising=False)


def step_up(rng: Generator, time: Floats) -> Floats:
    """Draw a low level, and from some time on a high one."""
    return np.tanh((time - rng.uniform(0.3, 0.7) * LENGTH) / rng.uniform(1, 4))


def step_down(rng: Generator, time: Floats) -> Floats:
    """Draw a high level, and from some time on a low one."""
    return -step_up(rng, time)


def noise(rng: Generator, time: Floats) -> Floats:
    """Draw independent random samples."""
    return rng.uniform(-1, 1, time.shape)


SIGNALS: dict[str, Signal] = {
    signal.__name__: signal
    for signal in (
        slow_burst,
        medium_burst,
        fast_burst,
        square_wave,
        triangle_wave,
        sawtooth,
        spikes,
        rising_chirp,
        falling_chirp,
        step_up,
        step_down,
        noise,
    )
}


def record(rng: Generator, values: Floats) -> NDArray[np.float32]:
    """Give a signal (L,) a random loudness, offset, drift and noise: (1, L) in [-1, 1]."""
    drift = np.linspace(-1, 1, len(values)) * rng.uniform(-0.08, 0.08)
    hiss = rng.normal(0, rng.uniform(0, 0.08), values.shape)
    heard = rng.uniform(0.5, 0.85) * values + rng.uniform(-0.1, 0.1) + drift + hiss
    return np.clip(heard, -1, 1).astype(np.float32)[None]


def draw(name: str, rng: Generator) -> NDArray[np.float32]:
    """Draw one signal: (1, 256) in [-1, 1]."""
    return record(rng, SIGNALS[name](rng, np.arange(LENGTH, dtype=np.float64)))


def draw_batch(rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw `count` signals of random classes: (count, 1, 256) and class indices (count,)."""
    names = tuple(SIGNALS)
    labels = rng.integers(len(names), size=count)
    return np.stack([draw(names[label], rng) for label in labels]), labels


def draw_overlaid(rng: Generator) -> NDArray[np.float32]:
    """Add two or three signals of different classes."""
    time = np.arange(LENGTH, dtype=np.float64)
    chosen = rng.choice(list(SIGNALS), rng.integers(2, 4), replace=False)
    total = np.sum([SIGNALS[name](rng, time) for name in chosen], axis=0)
    return record(rng, total / np.sqrt(len(chosen)))


def draw_shuffled(rng: Generator) -> NDArray[np.float32]:
    """Cut a signal into pieces and join them in another order."""
    name = rng.choice([name for name in SIGNALS if name not in {"noise", "spikes"}])
    pieces = np.array_split(draw(name, rng), rng.integers(6, 12), axis=1)
    order = rng.permutation(len(pieces))
    flipped = [pieces[index] * rng.choice([-1, 1]) for index in order]
    return np.concatenate(flipped, axis=1).astype(np.float32)


def draw_spoiled(rng: Generator, count: int) -> NDArray[np.float32]:
    """Draw `count` signals that have the parts of a class and are none: (count, 1, 256)."""
    return np.stack([(draw_overlaid if rng.integers(2) else draw_shuffled)(rng) for _ in range(count)])
