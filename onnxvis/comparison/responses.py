"""Which tensor of one file is which of the other, by what they hold: names, layouts and neighbors may differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxvis.comparison.axes import Alignment, Array, Errors, aligned
from onnxvis.comparison.sides import Recording, Side

_MARGIN = 4.0
"""How much further the statistics of two tensors may be apart than their elements: these are compared after them."""
_MOST_TRIED = 16
_FLAT = 1e-9


@dataclass(frozen=True)
class Match:
    """Two tensors that hold the same.

    Attributes:
        tensor: Its name in the second file.
        alignment: From the axes of the first to those of the second.
        errors: How far they are apart.
    """

    tensor: str
    alignment: Alignment
    errors: Errors


@dataclass(frozen=True)
class _Profile:
    """What is the same for a tensor in any layout."""

    name: str
    size: int
    numbers: Array
    scale: float


def match_responses(
    sides: tuple[Side, Side], recordings: tuple[Recording, Recording], limit: float, names: Sequence[str] | None = None
) -> dict[str, Match]:
    """Find for each tensor of the first file the tensor of the second that holds the same, if there is one.

    Constant tensors, which say nothing, are left out. Of several the one with the same operator, then the same name,
    then the nearest place is taken.

    Args:
        sides: The two files.
        recordings: What each computes for the same inputs.
        limit: The largest error, relative to the tensor's largest magnitude.
        names: The tensors of the first file to look at; None: all.
    """
    seconds: dict[int, list[_Profile]] = {}
    for name, array in recordings[1].items():
        profile = _profile(name, array)
        if profile is not None:
            seconds.setdefault(profile.size, []).append(profile)
    found: dict[str, Match] = {}
    for name in names if names is not None else list(recordings[0]):
        profile = _profile(name, recordings[0][name])
        if profile is None:
            continue
        near = [other for other in seconds.get(profile.size, []) if _near(profile, other, limit)]
        match = _best(sides, recordings, name, near, limit)
        if match is not None:
            found[name] = match
    return found


def _profile(name: str, array: Array) -> _Profile | None:
    values = array.reshape(len(array), -1)
    if values.shape[1] == 0:
        return None
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, 0)
    highest, lowest = values.max(axis=1), values.min(axis=1)
    scale = float(max(highest.max(), -lowest.min()))
    means = values.mean(axis=1)
    sizes = np.array([math.sqrt(float(row @ row) / len(row)) for row in values])
    spread = float(highest.max()) - float(lowest.min())
    if scale <= _FLAT or spread <= _FLAT * scale:
        return None
    return _Profile(name, values.shape[1], np.concatenate([means, sizes, highest, lowest]), scale)


def _near(first: _Profile, second: _Profile, limit: float) -> bool:
    return bool(np.max(np.abs(first.numbers - second.numbers)) <= _MARGIN * limit * first.scale)


def _best(
    sides: tuple[Side, Side],
    recordings: tuple[Recording, Recording],
    name: str,
    near: Sequence[_Profile],
    limit: float,
) -> Match | None:
    op_type, position = sides[0].op_type(name), sides[0].position[name] / len(sides[0].position)

    def unlikeness(profile: _Profile) -> tuple[bool, bool, float]:
        other = profile.name
        place = sides[1].position[other] / len(sides[1].position)
        return sides[1].op_type(other) != op_type, other != name, abs(place - position)

    for profile in sorted(near, key=unlikeness)[:_MOST_TRIED]:
        found = aligned(recordings[0][name], recordings[1][profile.name], limit)
        if found is not None:
            return Match(profile.name, *found)
    return None
