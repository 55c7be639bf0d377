"""Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, spread
from tests.ops.one_node import Case

FIRST_WITH_AXIS_INPUT = 20


@compares("DFT", oldest=17)
def dft(draw: Draw, version: int) -> Case:
    """Real and complex signals along any axis, cut off and extended, forward and back.

    onnxruntime 1.31 is wrong about the inverse of a one-sided spectrum of another length.
    """
    shape = [draw(st.integers(2, 6)) for _ in range(draw(st.integers(2, 3)))]
    parts = draw(st.integers(1, 2))
    way: dict[str, Any] = chosen(draw, inverse=(None, 0, 1))
    if parts == 1 and not way.get("inverse"):
        way |= chosen(draw, onesided=(None, 0, 1))
    x = spread(draw, (*shape, parts))
    axis = draw(st.integers(0, len(shape) - 1))
    length = draw(st.sampled_from([None, np.array(4, np.int64), np.array(7, np.int64)]))
    if version < FIRST_WITH_AXIS_INPUT:
        return Case([x] if length is None else [x, length], {**way, "axis": axis}, constants=frozenset({1}))
    places = np.array(axis - draw(st.sampled_from([0, len(shape) + 1])), np.int64)
    return Case([x, length, places], way, constants=frozenset({1, 2}))


@compares("STFT", oldest=17)
def stft(draw: Draw) -> Case:
    """Real and complex signals, with a window, a length, or both."""
    onesided = draw(st.integers(0, 1))
    parts = 1 if onesided else draw(st.integers(1, 2))
    signal = spread(draw, (draw(st.integers(1, 2)), draw(st.integers(9, 14)), parts))
    step, length = np.array(draw(st.integers(1, 4)), np.int64), np.array(8, np.int64)
    given = draw(st.sampled_from(["window", "length", "both"]))
    window: Array | None = None if given == "length" else spread(draw, (8,), 0.2, 1)
    inputs = [signal, step, window, None if given == "window" else length]
    return Case(inputs, {"onesided": onesided}, constants=frozenset({1, 3}))
