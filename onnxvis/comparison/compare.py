"""Two files, compared tensor by tensor under the relation of their inputs under which they agree furthest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxvis.comparison.amplified import without_amplified
from onnxvis.comparison.axes import errors
from onnxvis.comparison.feeds import Feeds, probes, related
from onnxvis.comparison.operators import is_transparent, kind_of
from onnxvis.comparison.pairing import USUAL, Pairing, held_arrays, pair_inputs
from onnxvis.comparison.pairs import Limits, TensorPair, compare_pairs, roots
from onnxvis.comparison.relations import Relation, candidates
from onnxvis.comparison.responses import match_responses
from onnxvis.comparison.sides import Array, Precision, Recording, Side
from onnxvis.comparison.structure import Correspondence, extend
from onnxvis.errors import InputError, OracleError
from onnxvis.model import Model

_LIMITS: Mapping[Precision, Limits] = {
    "float": Limits(1e-4),
    "half": Limits(2e-2),
    "quantized": Limits(mean=0.3, cosine=0.95, coarse=True),
}
"""By the coarser of the two files."""
_LOST = 0.8
"""Averages over many numbers, each of which is wrong, may still be right."""
_BOTH_QUANTIZED = Limits(mean=0.1, cosine=0.99, coarse=True)
_COARSENESS: Sequence[Precision] = ("float", "half", "quantized")
_FIRST, _BEYOND = 12, 2
"""So many tensors at the beginning of the files at most tell whether their inputs are related as is thought."""
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "LSTM", "GRU", "RNN"})
_MOST_NUMBERS = 1e8
"""So many activations of a file are held at once: 400 MB. Of larger models fewer probes are looked at."""


@dataclass(frozen=True)
class Comparison:
    """Two files, compared.

    Attributes:
        sides: The files.
        feeds: What they were fed.
        limits: From where on two tensors differ.
        recordings: What each computed.
        correspondence: Which tensor is which.
        pairs: The tensors that were compared, by the first file's names.
        roots: Those where the two part.
    """

    sides: tuple[Side, Side]
    feeds: Feeds
    limits: Limits
    recordings: tuple[Recording, Recording] = field(repr=False)
    correspondence: Correspondence = field(repr=False)
    pairs: Mapping[str, TensorPair] = field(repr=False)
    roots: Sequence[str]


@dataclass(frozen=True)
class Request:
    """How two files are compared.

    Attributes:
        limits: From where on two tensors differ; None: by the precision of the files.
        size: The spatial sizes where both leave them open.
        shapes: Whole shapes by input name.
        overrides: What is given of the preprocessing of each file, as to `find_image_input`; "preset" too.
        held: What some inputs of the first file are held at.
        photos: Paths of photos that both are shown too.
        seed: Of the noise.
    """

    limits: Limits | None = None
    size: tuple[int, ...] | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    overrides: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    held: Mapping[str, Array] = field(default_factory=dict)
    photos: Sequence[str] = ()
    seed: int = 0


def compare_models(first: Model, second: Model, request: Request) -> Comparison:
    """Compare two files.

    Raises:
        OnnxvisError: One of them cannot be run, or their inputs do not fit.
    """
    sides = Side.of(first), Side.of(second)
    limits = request.limits or _limits(sides)
    feeds, recordings = _run(sides, limits, request)
    found = _matched(sides, feeds, recordings, limits)
    if limits.coarse and len(feeds.first) > 1:
        # What lies beyond the range that a quantizer was made for is cut off: that is no other network.
        best = _most_alike(found)
        recordings = (
            {name: array[best : best + 1] for name, array in recordings[0].items()},
            {name: array[best : best + 1] for name, array in recordings[1].items()},
        )
        found = _matched(sides, feeds, recordings, limits)
    return found


def _most_alike(compared: Comparison) -> int:
    """Return the probe on which the outputs of two files are nearest to each other."""
    sides, recordings = compared.sides, compared.recordings
    pairs = [compared.pairs[name] for name in sides[0].outputs if name in compared.pairs]
    totals = np.zeros(len(compared.feeds.first))
    for pair in pairs:
        if pair.alignment is not None:
            one, other = pair.alignment(recordings[0][pair.first]), recordings[1][pair.second]
            totals += [errors(one[row : row + 1], other[row : row + 1]).mean for row in range(len(totals))]
    return int(np.argmin(totals))


def _matched(
    sides: tuple[Side, Side], feeds: Feeds, recordings: tuple[Recording, Recording], limits: Limits
) -> Comparison:
    known = dict(feeds.pairing.names)
    matches = match_responses(sides, recordings, limits.sharp)
    correspondence = extend(sides, {**known, **{name: match.tensor for name, match in matches.items()}})
    _pair_outputs(sides, correspondence)
    compared = compare_pairs(sides, recordings, matches, correspondence, limits)
    pairs = without_amplified(sides, recordings, compared, limits)
    decisive = [name for name, pair in pairs.items() if name in sides[0].decisive or _is_lost(pair, limits)]
    return Comparison(sides, feeds, limits, recordings, correspondence, pairs, roots(sides, pairs, decisive))


def _is_lost(pair: TensorPair, limits: Limits) -> bool:
    """Whether a tensor of a quantized file is so far off that no agreement of the outputs makes up for it."""
    return limits.coarse and pair.verdict == "differs" and not pair.cosine >= _LOST


def _limits(sides: tuple[Side, Side]) -> Limits:
    """Return from where on two tensors differ, by the coarser of the files."""
    if all(side.precision == "quantized" for side in sides):
        return _BOTH_QUANTIZED
    return _LIMITS[max((side.precision for side in sides), key=_COARSENESS.index)]


def _run(sides: tuple[Side, Side], limits: Limits, request: Request) -> tuple[Feeds, tuple[Recording, Recording]]:
    """Run both files on the same; where sizes are open, at the first of the usual ones at which both run."""
    for usual in USUAL:
        pairing = pair_inputs(*(side.model for side in sides), size=request.size, given=request.shapes, usual=usual)
        try:
            return _run_at(sides, pairing, limits, request)
        except (InputError, OracleError):
            if not pairing.notes:
                raise
    return _run_at(sides, pair_inputs(*(side.model for side in sides), given=request.shapes), limits, request)


def _run_at(
    sides: tuple[Side, Side], pairing: Pairing, limits: Limits, request: Request
) -> tuple[Feeds, tuple[Recording, Recording]]:
    held = held_arrays((sides[0].model, sides[1].model), pairing, request.held)
    fed = probes(
        sides[0].model,
        pairing,
        overrides=request.overrides[0],
        held=held,
        photos=request.photos,
        rounded="half" in {side.precision for side in sides},
        seed=request.seed,
    )
    recording = sides[0].run(fed[:1])
    size = max(1, sum(array.size for array in recording.values()))
    fed = fed[: max(1, int(_MOST_NUMBERS // size))]
    recording = sides[0].run(fed)
    feeds = _related(sides, pairing, fed, recording, limits, dataclasses.replace(request, held=held))
    return feeds, (recording, sides[1].run(feeds.second))


def _pair_outputs(sides: tuple[Side, Side], correspondence: Correspondence) -> None:
    """Make sure that each output is compared with one: by name, else by place."""
    first, second = (side.outputs for side in sides)
    free = [name for name in second if name not in correspondence.same.values()]
    for place, name in enumerate(first):
        if name in second:
            # An output goes by its name; that another holds the same does not help who reads it.
            correspondence.pair(name, name)
        elif correspondence.same.get(name) not in second and place < len(second) and second[place] in free:
            correspondence.pair(name, second[place])


def _related(
    sides: tuple[Side, Side],
    pairing: Pairing,
    fed: Sequence[Mapping[str, Array]],
    recording: Recording,
    limits: Limits,
    request: Request,
) -> Feeds:
    """Choose the relation between the inputs under which most of the first tensors agree."""
    limit = limits.sharp
    names = _beginning(sides[0])
    start = {name: recording[name][:1] for name in names if name in recording}
    side = Side.of(sides[1].model, _beginning(sides[1], beyond=_BEYOND))
    best: tuple[int, Feeds] | None = None
    said: list[Relation] = []
    for relation in _distinct(candidates(sides, pairing.names[0], pairing.shapes, request.overrides)):
        if best is not None and best[0] > 0 and best[1].relation.source != "found" and relation.source == "found":
            break
        said += [relation] if relation.source == "declared" else []
        feeds = related(pairing, relation, fed, request.held)
        try:
            other = side.run(feeds.second[:1])
        except OracleError:
            # Not every layout can be run.
            continue
        count = len(match_responses((sides[0], side), (start, other), limit))
        if best is None or count > best[0]:
            best = count, feeds
        if count == len(start) > 0:
            break
    if best is None and pairing.missing[1]:
        message = (
            f"{sides[1].model.name} needs {', '.join(map(repr, pairing.missing[1]))}, which {sides[0].model.name} does "
            "not have: hold it, --input NAME=VALUE."
        )
        raise InputError(message)
    if best is None:
        message = (
            f"{sides[1].model.name} cannot be run on what {sides[0].model.name} takes. Give the sizes, or what is fed."
        )
        raise InputError(message)
    contradicted = bool(said) and best[1].relation.source != "declared" and not any(item.is_plain for item in said)
    return dataclasses.replace(best[1], overrides=request.overrides, contradicted=contradicted)


def _beginning(side: Side, beyond: int = 0) -> list[str]:
    """Return the first tensors that show what a file expects: up to its first layer with weights, and some beyond."""
    found: list[str] = []
    for name in side.oracle.tensors:
        node = side.producer(name)
        # What only moves an input says nothing.
        if node is None or is_transparent(node):
            continue
        found.append(name)
        if len(found) >= _FIRST or (kind_of(node) in _WEIGHTED and beyond <= 0):
            break
        beyond -= kind_of(node) in _WEIGHTED
    return found or list(side.oracle.tensors[:1])


def _distinct(relations: Iterator[Relation]) -> Iterator[Relation]:
    seen = set()
    for relation in relations:
        key = (
            relation.alignment,
            relation.reversed,
            *(tuple(np.round(values, 5)) for values in (relation.scale, relation.offset)),
        )
        if key not in seen:
            seen.add(key)
            yield relation
