"""Tensor by tensor: how far two files agree, and where they part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from onnxvis.comparison.axes import Alignment, Array, Errors, nearest
from onnxvis.comparison.likeness import cosine, linear_cka, permutation
from onnxvis.comparison.responses import Match
from onnxvis.comparison.sides import Recording, Side
from onnxvis.comparison.structure import Correspondence

How = Literal["response", "structure"]
Verdict = Literal["agrees", "permuted", "differs", "shape"]

_COARSE = 2e-2


@dataclass(frozen=True)
class Limits:
    """From where on two tensors differ; what is None does not count.

    Attributes:
        relative: The largest error, relative to the largest magnitude.
        mean: The root of the mean squared error, relative to that of the first tensor.
        cosine: The least cosine.
        coarse: Whether it is one of quantized files, inside which tensors that agree are still apart.
    """

    relative: float | None = None
    mean: float | None = None
    cosine: float | None = None
    coarse: bool = False

    def meets(self, found: Errors, angle: float) -> bool:
        """Whether two tensors agree."""
        # Written so that NaN counts as a disagreement; but two tensors of zeros have no angle, and no error.
        if found.absolute == 0:
            return True
        near = self.relative is None or found.relative <= self.relative
        small = self.mean is None or found.mean <= self.mean
        return near and small and (self.cosine is None or angle >= self.cosine)

    @property
    def sharp(self) -> float:
        """The relative error at which single numbers are told apart."""
        return _COARSE if self.relative is None else self.relative

    def __str__(self) -> str:
        said = [
            "" if self.relative is None else f"relative error {self.relative:g}",
            "" if self.mean is None else f"mean relative error {self.mean:g}",
            "" if self.cosine is None else f"cosine {self.cosine:g}",
        ]
        return ", ".join(text for text in said if text)


@dataclass(frozen=True)
class TensorPair:
    """One tensor of both files.

    Attributes:
        first: Its name in the first file.
        second: Its name in the second.
        how: By what they were matched.
        verdict: Whether they agree: as they are, but for the order of their filters, or not; or have other shapes.
        errors: How far they are apart.
        cosine: Of the angle between them.
        cka: How alike the layers are, whichever filter is which.
        permutation: For each filter of the first its number in the second, where they are permuted.
        alignment: From the axes of the first to those of the second; None: their shapes differ.
    """

    first: str
    second: str
    how: How
    verdict: Verdict
    errors: Errors
    cosine: float
    cka: float
    permutation: tuple[int, ...] | None = field(default=None, repr=False)
    alignment: Alignment | None = field(default=None, repr=False)

    @property
    def agrees(self) -> bool:
        """Whether they hold the same."""
        return self.verdict == "agrees"


def compare_pairs(
    sides: tuple[Side, Side],
    recordings: tuple[Recording, Recording],
    matches: Mapping[str, Match],
    correspondence: Correspondence,
    limits: Limits,
) -> dict[str, TensorPair]:
    """Compare all tensors that have a counterpart, by the first file's names, in the order of computation."""
    found = {}
    ends = _ends(sides[0], matches, correspondence)
    for name in recordings[0]:
        other = correspondence[name]
        if other is None or other not in recordings[1]:
            continue
        by_response = name in matches and matches[name].tensor == other
        if not by_response and ends.get(other, name) != name:
            continue
        if name in correspondence.absorbed and other not in ends:
            continue
        known = (matches[name].alignment, matches[name].errors) if by_response else None
        found[name] = _pair(sides[0], name, other, (recordings[0][name], recordings[1][other]), known, limits)
    return found


def _ends(side: Side, matches: Mapping[str, Match], correspondence: Correspondence) -> dict[str, str]:
    """Return the last of each row of tensors for which the second file has one, by that one's name.

    Where a normalization has been folded into the convolution before it, the convolution's own output is nowhere there.
    What a tensor agrees with stays with it, but for outputs: these are compared in any case.
    """
    matched = {match.tensor for match in matches.values()}
    return {
        other: name for name, other in correspondence.absorbed.items() if other not in matched or name in side.decisive
    }


def _pair(
    side: Side,
    first: str,
    second: str,
    arrays: tuple[Array, Array],
    known: tuple[Alignment, Errors] | None,
    limits: Limits,
) -> TensorPair:
    how: How = "structure" if known is None else "response"
    near = known or nearest(*arrays)
    if near is None:
        return TensorPair(first, second, how, "shape", Errors(math.inf, math.inf, math.inf), math.nan, math.nan)
    alignment, found = near
    one, other = alignment(arrays[0]), arrays[1]
    angle = cosine(one, other)
    verdict: Verdict = "agrees" if limits.meets(found, angle) else "differs"
    axis = side.model.channel_axes.get(first)
    units = units_of(arrays[0], axis), units_of(back(alignment, arrays[0], other), axis)
    order = None
    if verdict == "differs":
        order = permutation(*units, limits.sharp)
        verdict = "permuted" if order is not None else verdict
    return TensorPair(first, second, how, verdict, found, angle, linear_cka(units[0].T, units[1].T), order, alignment)


def back(alignment: Alignment, first: Array, second: Array) -> Array:
    """Bring the second tensor into the axes of the first."""
    if alignment.is_identity:
        return second.reshape(first.shape)
    places = alignment(np.arange(first[0].size).reshape(1, *first.shape[1:])).reshape(-1)
    values = np.empty((len(second), first[0].size), second.dtype)
    values[:, places] = second.reshape(len(second), -1)
    return values.reshape(first.shape)


def units_of(array: Array, axis: int | None) -> Array:
    """Return (units, examples): each unit's values at all places; without a channel axis each number is a unit."""
    if axis is None or axis + 1 >= array.ndim:
        return array.reshape(len(array), -1).T
    return np.moveaxis(array, axis + 1, 0).reshape(array.shape[axis + 1], -1)


def roots(sides: tuple[Side, Side], pairs: Mapping[str, TensorPair], decisive: Sequence[str]) -> list[str]:
    """Return where two files part: tensors that differ although all that they are computed from agrees.

    What differs and is made good before it reaches an output is none: files may compute the same in other steps.

    Args:
        sides: The two files.
        pairs: The compared tensors.
        decisive: The tensors of the first file that say whether the two agree.
    """
    exposed = _exposed(sides[0], pairs, decisive)
    return [
        name
        for name, pair in pairs.items()
        if not pair.agrees and name in exposed and all(before.agrees for before in sources(sides[0], pairs, name))
    ]


def sources(side: Side, pairs: Mapping[str, TensorPair], tensor: str) -> Iterator[TensorPair]:
    """Yield the nearest compared tensors that a tensor is computed from."""
    seen: set[str] = set()
    node = side.producer(tensor)
    waiting = [] if node is None else side.data_inputs(node)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in pairs:
            yield pairs[name]
            continue
        node = side.producer(name)
        waiting += [] if node is None else side.data_inputs(node)


def _exposed(side: Side, pairs: Mapping[str, TensorPair], decisive: Sequence[str]) -> set[str]:
    """Return the tensors from which a way leads to a decisive one that differs, through none that agrees."""
    found = {name for name in decisive if name in pairs and not pairs[name].agrees}
    waiting = list(found)
    while waiting:
        node = side.producer(waiting.pop())
        for name in [] if node is None else side.data_inputs(node):
            if name not in found and not (name in pairs and pairs[name].agrees):
                found.add(name)
                waiting.append(name)
    return found
