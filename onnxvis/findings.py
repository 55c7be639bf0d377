"""What is in the way of a picture: causes that have been seen, each with its remedy.

A finding is never a possibility: what `onnxvis.examination` has measured has to show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.examination import Examination
from onnxvis.groups import Diversity
from onnxvis.losses import LpNorm, TotalVariation
from onnxvis.references import Nearness
from onnxvis.saturation import SATURATING
from onnxvis.standing import combined

Cause = Literal[
    "not finite",
    "preprocessing",
    "saturated",
    "dead",
    "vanishing gradient",
    "outweighed",
    "small steps",
    "misleading views",
    "large steps",
    "no gain",
    "silent layer",
]
"""In order of importance."""

_SATURATED = 0.5
"""The share of a unit's values without slope from which on a start is useless."""
_UNMOVED, _LIVELIER = 0.02, 10.0
"""A layer whose answers vary by less than this share of their size hardly sees the image; if that is more by this
factor under another preprocessing, that may be the right one."""
_SUPPRESSED = 0.25
"""The share of the gain below which the other losses leave too little of it."""
_COUNTERWEIGHT = 0.5
"""What the other losses together may pull with, in units of the activation's pull."""
_UNSEEN, _SEEN = 0.04, 0.15
"""Mean ways of the pixels, in [0, 1], that are too short for a picture, and long enough."""
_VANISHED = 1e-7
"""Ten times the epsilon of Adam, below which its steps shrink with the gradient."""
_STEEP = 1e-3
"""A usual gradient of a parameter."""
_CLIPPED, _HARDLY_CLIPPED = 0.3, 0.1
_DIVISORS = (4.0, 16.0, 64.0)
_SILENT = 0.5
_NAMED = 5
_RECTIFYING = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "ThresholdedRelu", "Min", "Max"})
_WEIGHTS: Mapping[type[Any], str] = {
    TotalVariation: "--tv-weight",
    LpNorm: "--lp-weight",
    Nearness: "--near-weight",
    Diversity: "the weight of diversity",
}


@dataclass(frozen=True)
class Finding:
    """Something that is in the way.

    Attributes:
        cause: What kind of thing.
        text: What was seen, a sentence.
        remedy: What to do, a sentence.
    """

    cause: Cause
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


def findings_of(seen: Examination) -> tuple[Finding, ...]:
    """Return what is in the way, the most important first."""
    found = (next((item for find in group if (item := find(seen)) is not None), None) for group in _GROUPS)
    return tuple(item for item in found if item is not None)


def _not_finite(seen: Examination) -> Finding | None:
    if not isinstance(seen.error, NonFiniteLossError):
        return None
    by_itself = not np.isfinite(seen.prepared.assessor.noise.values).all()
    whose = "the model itself gives NaN or infinity for noise" if by_itself else "the run comes to NaN or infinity"
    low, high = seen.prepared.image_input.preprocess.range
    where = f"{seen.error.details.get('loss')!r} at step {seen.error.details.get('step')}"
    return Finding(
        "not finite",
        f"There is no picture because {whose}: {where}.",
        f"Check --preprocess and --range (now {low:g} to {high:g}), hold a mask among the inputs at one (--input "
        "NAME=1), lower --learning-rate, or take a --node before the operator that overflows.",
    )


def _saturated(seen: Examination) -> Finding | None:
    if seen.beginnings[0].saturated < _SATURATED:
        return None
    return Finding(
        "saturated",
        f"The unit is saturated: at the start its {seen.target.op_type} has no slope in "
        f"{percent(seen.beginnings[0].saturated)} of its values.",
        f"{_input_of(seen)}, or check the range that the model is fed.",
    )


def _preprocessing(seen: Examination) -> Finding | None:
    used, *others = seen.feedings
    if used.liveliness < _UNMOVED:
        better = [item for item in others if item.liveliness > _LIVELIER * used.liveliness]
        what = f"the layer's answers to noise vary by {percent(used.liveliness)} of their size"
        telling = ", ".join(f"{percent(item.liveliness)} with {item.name}" for item in better)
    else:
        better = [item for item in others if item.spread > 0 and used.spread == 0]
        what = "the unit never answers to noise"
        telling = f"it does with {' or '.join(item.name for item in better)}"
    if not better:
        return None
    best = max(better, key=lambda item: item.liveliness)
    return Finding(
        "preprocessing",
        f"The model hardly sees the picture as it is fed, by an assumption ({used.name}): {what}; {telling}.",
        f"Find out how the model was trained, and give that as --preprocess; {best.name} is the most likely.",
    )


def _dead(seen: Examination) -> Finding | None:
    if not isinstance(seen.error, DeadUnitError):
        return None
    where = "the photo" if seen.prepared.seed_image is not None else "every start of its seed, at any contrast"
    return Finding(
        "dead",
        f"The picture stays as it is because the unit is dead at {where}: its activation has no gradient at all.",
        " ".join(_remedies_of_death(seen)),
    )


def _remedies_of_death(seen: Examination) -> Iterator[str]:
    alive = [item.seed for item in seen.beginnings if item.contrast]
    natural, prepared = seen.prepared.assessor.natural, seen.prepared
    if alive:
        yield f"Give --seed {alive[0]}, at which it has one."
    elif natural is not None and np.ptp(combined(natural.values, seen.target.filters)) > 0:
        best = natural.names[int(np.argmax(combined(natural.values, seen.target.filters)))]
        yield f"Start from a photo to which it answers: --from {best}."
    elif seen.feedings[0].spread > 0:
        yield "It does answer to noise of full contrast: give another --seed, or a photo as --from."
    if seen.target.op_type in _RECTIFYING:
        yield f"{_input_of(seen)}."
    if prepared.image_input.kind != "picture" and "assumed" in prepared.image_input.preprocess.source:
        yield "Give the real --range of the input, which is assumed."
    lively = np.flatnonzero(~seen.constant)
    if seen.is_constant and len(lively) and not alive:
        yield f"Nothing that was tried moves it, unlike filters {_listed(lively)}: it may be dead for good."
    elif seen.is_constant and not alive:
        yield "Nothing that was tried moves any unit of this layer: take an earlier --node."


def _vanishing(seen: Examination) -> Finding | None:
    steepest = max((item.look.steepness for item in seen.beginnings if item.look is not None), default=0.0)
    # What is exactly zero is not seen in these views, and never lost by Adam.
    if seen.trial is None or not 0 < steepest < _VANISHED:
        return None
    moved = f"{_input_of(seen)}" if seen.target.op_type in SATURATING else "Take a --node nearer to the input"
    digits = round(math.log10(_STEEP / steepest))
    return Finding(
        "vanishing gradient",
        f"The picture stays grey because the gradient nearly vanishes: {steepest:.1g} on each parameter, where "
        "Adam's steps shrink.",
        f"{moved}, or from Python give losses=1e{digits} * ActivationMaximization().",
    )


def _outweighed(seen: Examination) -> Finding | None:
    trial, alone = seen.trial, seen.alone
    if (
        trial is None
        or alone is None
        or alone.after.norms[0] == 0
        or alone.gain <= 0
        or trial.gain >= _SUPPRESSED * alone.gain
    ):
        return None
    looks = [item for item in (seen.beginnings[0].look, alone.after) if item is not None and item.norms[0] > 0]
    pulls = [max(item.norms[other] / item.norms[0] for item in looks) for other in range(1, len(alone.after.norms))]
    index = 1 + int(np.argmax(pulls))
    names, (loss, weight) = seen.prepared.units.objective.names, seen.prepared.units.objective.terms[index]
    own = seen.prepared.recipe.losses is None
    flag = _WEIGHTS.get(type(loss), f"the weight of {names[index]}") if own else f"the weight of {names[index]}"
    lower = _rounded(abs(weight) * _COUNTERWEIGHT / len(pulls) / pulls[index - 1])
    what = "stays grey" if trial.contrasts[1] < alone.contrasts[1] / 2 else "hardly becomes what is asked for"
    return Finding(
        "outweighed",
        f"The picture {what} because {names[index]} outweighs {names[0]}: it pulls up to "
        f"{_rounded(pulls[index - 1]):g} times as hard, and leaves {percent(max(0.0, trial.gain / alone.gain))} of "
        "the gain.",
        f"Lower {flag} from {abs(weight):g} to about {lower:g}.",
    )


def _small_steps(seen: Examination) -> Finding | None:
    trial = seen.trial if seen.alone is None else seen.alone
    if trial is None or _is_reached(seen):
        return None
    steps, rate = seen.steps, seen.prepared.recipe.learning_rate or 0.0
    reach = trial.moved * steps / len(trial.result.history)
    if reach >= _UNSEEN or rate == 0:
        return None
    more = _rounded(rate * _SEEN / reach) if reach > 0 else 0.05
    return Finding(
        "small steps",
        f"The picture stays as it is because the steps are too small: {steps} of them move its values by at most "
        f"{reach:.2g} of their range.",
        f"Raise --learning-rate from {rate:g} to about {more:g}, or --steps.",
    )


def _views(seen: Examination) -> Finding | None:
    trial = seen.trial
    moves = any(item.transforms for item in seen.prepared.variables.values())
    if trial is None or not moves or trial.gain > 0 or trial.fall <= 0 or _is_reached(seen):
        return None
    other = seen.straight()
    without = "" if other is None else f" Without them {other}."
    return Finding(
        "misleading views",
        f"The gain is in the random views and not in the picture: there the loss falls by {trial.fall:.3g}, but as "
        f"written {trial}.{without}",
        "Give --jitter 0 for no views, or another --preset.",
    )


def _large_steps(seen: Examination) -> Finding | None:
    trial, rate = seen.trial, seen.prepared.recipe.learning_rate or 0.0
    if trial is None or _is_reached(seen):
        return None
    clips = seen.prepared.image_input.kind != "features" and trial.clipped > _CLIPPED
    if trial.gain > 0 and not clips:
        return None
    for divisor in _DIVISORS:
        other = seen.retried(learning_rate=rate / divisor)
        if other is not None and other.gain > 0 and other.clipped < _HARDLY_CLIPPED:
            break
    else:
        return None
    after = f"{percent(trial.clipped)} of the values are clipped" if clips else "nothing is gained"
    return Finding(
        "large steps",
        f"The steps are too large: after {len(trial.result.history)} of them {after}.",
        f"Lower --learning-rate from {rate:g} to {rate / divisor:.2g}, at which "
        f"{percent(other.clipped)} are clipped and the gain is {other.gain:.3g} instead of "
        f"{trial.gain:.3g}.",
    )


def _no_gain(seen: Examination) -> Finding | None:
    if seen.trial is None or seen.trial.gain > 0 or _is_reached(seen):
        return None
    recipe = seen.prepared.recipe
    changed = recipe.backprop is not None or recipe.gradient_modifier not in (None, "negate")
    first = "Leave out what changes the gradient (--backprop, --gradient-modifier), or give" if changed else "Give"
    return Finding(
        "no gain",
        f"Nothing is gained, though the gradient is not zero: {seen.trial}.",
        f"{first} more --steps, another --seed, or --jitter 0 for a unit that answers at one place alone.",
    )


def _silent_layer(seen: Examination) -> Finding | None:
    constant = seen.constant
    explained = isinstance(seen.error, NonFiniteLossError) or seen.beginnings[0].saturated >= _SATURATED
    if explained or len(constant) == 1 or constant.mean() < _SILENT:
        return None
    photos = "" if seen.prepared.assessor.natural is None else " and photos"
    lively = np.flatnonzero(~constant)
    others = f"Choose among the others, such as filter {_listed(lively)}" if len(lively) else "Take an earlier --node"
    return Finding(
        "silent layer",
        f"{percent(float(constant.mean()))} of the layer's units never change over noise{photos}.",
        f"{others}; if the model is known to be sound, check --preprocess and --range.",
    )


def _is_reached(seen: Examination) -> bool:
    """Whether the value to reach is reached, from which on nothing need move."""
    goal = getattr(seen.prepared.units.objective.terms[0][0], "goal", None)
    if not isinstance(goal, (int, float)) or seen.trial is None:
        return False
    return abs(seen.trial.result.activation - goal) <= 0.1 * max(abs(goal), 0.1)


def _input_of(seen: Examination) -> str:
    """Advise to take the tensor before the target's operator."""
    model = seen.prepared.model
    node = model.values[seen.target.tensor].producer()
    before = None if node is None or not node.inputs else node.inputs[0]
    name = "the tensor before it" if before is None else f"{model.names.short_name(before)!r}"
    return f"Take {name} as --node, the input of this {seen.target.op_type}"


def _listed(filters: Any) -> str:
    more = ", ..." if len(filters) > _NAMED else ""
    return ", ".join(str(int(index)) for index in filters[:_NAMED]) + more


def _rounded(number: float) -> float:
    """Round to one digit."""
    return float(f"{number:.0e}")


def percent(share: float) -> str:
    """Write a share in words, what is less than one per cent with one digit."""
    percent = 100 * share
    return f"{percent:.1g} %" if 0 < abs(percent) < 1 else f"{percent:.0f} %"


_GROUPS: tuple[tuple[Callable[[Examination], Finding | None], ...], ...] = (
    (_not_finite,),
    (_preprocessing,),
    (_saturated, _dead, _vanishing, _outweighed, _small_steps, _views, _large_steps, _no_gain),
    (_silent_layer,),
)
"""In order of importance. Of one group the first that is found: it explains what the others would find."""
