"""What can be seen of a picture that does not get off the ground: measurements, without a judgment.

Everything is measured where a run is: at the recipe's own starts, through its own views, in a few of its own steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.algebra import Objective
from onnxvis.errors import OptimizationError
from onnxvis.feeding import Feeding, feedings
from onnxvis.network import full_precision
from onnxvis.problem import Problem
from onnxvis.result import Result
from onnxvis.runs import Prepared
from onnxvis.saturation import saturated
from onnxvis.standing import combined
from onnxvis.starts import generator, start
from onnxvis.target import Target

Array = np.ndarray[Any, Any]

STEPS = 32
"""How many steps are tried."""
SEEDS = 4
"""How many starts are looked at."""


@dataclass(frozen=True)
class Look:
    """The losses of one image, and how they pull at it.

    Attributes:
        values: The weighted loss of each term.
        norms: The length of its gradient with respect to the image.
        steepness: The root mean square of the gradient of all terms with respect to the parameters; of an image
            without parameters 0.
    """

    values: tuple[float, ...]
    norms: tuple[float, ...]
    steepness: float = 0.0

    @property
    def shares(self) -> tuple[float, ...]:
        """Each term's part of the pull, in [0, 1]."""
        total = sum(self.norms)
        return tuple(norm / total if total > 0 else 0.0 for norm in self.norms)


@dataclass(frozen=True)
class Beginning:
    """What one seed starts from.

    Attributes:
        seed: The seed.
        contrast: Of the first start that has a gradient, in units of the usual one; 0: there is none, or
            it is not finite.
        woken: The steps with relaxed rectifiers that it took.
        saturated: The share of the unit's values that lie, at the usual start, where its operator has no slope.
        look: At the start that has a gradient; None: there is none.
    """

    seed: int
    contrast: float
    woken: int
    saturated: float
    look: Look | None


@dataclass(frozen=True)
class Trial:
    """A few steps.

    Attributes:
        result: What they gave.
        before: The start.
        after: The picture as written.
    """

    result: Result = field(repr=False)
    before: Look
    after: Look

    @property
    def gain(self) -> float:
        """By how much the first loss has fallen."""
        return self.before.values[0] - self.after.values[0]

    @property
    def fall(self) -> float:
        """By how much the first loss, through the random views, has fallen from the first to the last quarter."""
        history = [next(iter(losses.values())) for losses in self.result.history]
        quarter = math.ceil(len(history) / 4)
        return (math.fsum(history[:quarter]) - math.fsum(history[-quarter:])) / max(quarter, 1)

    def __str__(self) -> str:
        found = self.result
        changes = {"the activation": (found.seed_activation, found.activation)}
        changes = {f"the score of {name}": ends for name, ends in found.scores.items()} or changes
        ((what, (before, after)),) = changes.items()
        return f"{len(found.history)} steps move {what} from {before:.4g} to {after:.4g}"

    @property
    def moved(self) -> float:
        """How far the values of the picture have moved in the mean, in [0, 1]."""
        part = self.result.parts[0]
        return float(np.abs(part.values - part.start).mean())

    @property
    def clipped(self) -> float:
        """The share of the values at an end of the range, in [0, 1]."""
        return 0.0 if self.result.assessment is None else self.result.assessment.clipped

    @property
    def contrasts(self) -> tuple[float, float]:
        """The standard deviation of the values before and after."""
        part = self.result.parts[0]
        return float(part.start.std()), float(part.values.std())


@dataclass(frozen=True)
class Examination:
    """What has been seen.

    Attributes:
        prepared: The runs, of a few steps.
        steps: How many the recipe has.
        beginnings: The starts, the recipe's seed first.
        feedings: What noise does under the preprocessing that is used, and then under others where it is assumed.
        trial: A few steps of the recipe; None: they failed.
        alone: The same of the first loss alone, with all losses looked at; None: there is no other, or they failed.
        error: Why there is no trial.
    """

    prepared: Prepared = field(repr=False)
    steps: int
    beginnings: tuple[Beginning, ...]
    feedings: tuple[Feeding, ...]
    trial: Trial | None
    alone: Trial | None
    error: OptimizationError | None

    @property
    def target(self) -> Target:
        """The unit."""
        return self.prepared.target

    @property
    def constant(self) -> Array:
        """(units,): which units of the layer answer the same to all noise and natural images."""
        return np.asarray(np.ptp(self.prepared.assessor.baseline, axis=0) == 0)

    @property
    def is_constant(self) -> bool:
        """Whether the unit does."""
        return bool(np.ptp(combined(self.prepared.assessor.baseline, self.target.filters)) == 0)

    def retried(self, **settings: Any) -> Trial | None:
        """Take the steps again with other settings of the recipe; None: they failed."""
        recipe = dataclasses.replace(self.prepared.recipe, **settings)
        return attempted(dataclasses.replace(self.prepared, recipe=recipe))

    def straight(self) -> Trial | None:
        """Take the steps again without transforms; None: they failed."""
        variables = {name: dataclasses.replace(item, transforms=()) for name, item in self.prepared.variables.items()}
        return attempted(dataclasses.replace(self.prepared, variables=variables))


def examine(prepared: Prepared) -> Examination:
    """Look at the starts of some seeds, at what noise does, and at a few steps.

    Args:
        prepared: The runs; those of the first picture are looked at.
    """
    steps = prepared.recipe.steps or STEPS
    recipe = dataclasses.replace(prepared.recipe, steps=min(steps, STEPS))
    short = dataclasses.replace(prepared, recipe=recipe)
    problem, error = prepared.problem(), None
    seeds = range(prepared.seeds[0], prepared.seeds[0] + (1 if prepared.seed_image is not None else SEEDS))
    trial = alone = None
    beginnings = [_beginning(prepared, problem, seed) for seed in seeds]
    try:
        trial = _tried(short)
    except OptimizationError as raised:
        error = raised
    terms = prepared.units.objective.terms
    if trial is not None and len(terms) > 1:
        units = dataclasses.replace(prepared.units, objective=Objective(terms[:1]))
        alone = attempted(dataclasses.replace(short, units=units), problem)
    return Examination(short, steps, tuple(beginnings), feedings(prepared), trial, alone, error)


def look(problem: Problem, images: Mapping[str, Tensor], seed: int | None = None) -> Look:
    """Look at one image: through a random view of the recipe, or without a seed straight.

    Args:
        problem: Of one image.
        images: (1, C, *spatial) in [0, 1] by input name.
        seed: Of the view.
    """
    leaves = {name: image.detach().to(problem.device).requires_grad_() for name, image in images.items()}
    return _looked(problem, leaves, list(leaves.values()), seed)


def attempted(prepared: Prepared, problem: Problem | None = None) -> Trial | None:
    """Run and look.

    Args:
        prepared: The runs.
        problem: What is looked at; None: what is run.

    Returns:
        Trial | None: None where the unit is dead, or comes to NaN.
    """
    try:
        return _tried(prepared, problem)
    except OptimizationError:
        return None


def _tried(prepared: Prepared, problem: Problem | None = None) -> Trial:
    result, seen = prepared.run(), prepared.problem() if problem is None else problem
    before = {part.image_input.name: torch.from_numpy(part.start)[None] for part in result.parts}
    after = {part.image_input.name: torch.from_numpy(part.values)[None] for part in result.parts}
    return Trial(result, look(seen, before), look(seen, after))


def _looked(
    problem: Problem,
    images: Mapping[str, Tensor],
    shown: Sequence[Tensor],
    seed: int | None,
    moved: Sequence[Tensor] = (),
) -> Look:
    generators = None if seed is None else [generator(seed, 0)]
    with full_precision():
        terms = problem.objective(problem.scene(images, generators))
        norms = tuple(_size(term, shown) for term in terms)
        whole = torch.stack(terms).sum()
        steepness = _size(whole, moved) / math.sqrt(sum(tensor.numel() for tensor in moved)) if moved else 0.0
    return Look(tuple(float(term.detach().sum()) for term in terms), norms, steepness)


def _size(term: Tensor, tensors: Sequence[Tensor]) -> float:
    """Return the length of a gradient."""
    if not term.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(term.sum(), tensors, allow_unused=True, materialize_grads=True, retain_graph=True)
    return float(torch.cat([gradient.flatten().double() for gradient in gradients]).norm())


def _beginning(prepared: Prepared, problem: Problem, seed: int) -> Beginning:
    images = {} if prepared.seed_image is None else {prepared.image_input.name: prepared.seed_image}
    with full_precision():
        usual = start(problem, [seed], images, tried=False)
        shown = {name: image[0] for name, image in usual.images.items()}
        flat = saturated(prepared.model, prepared.target, prepared.meter, shown)
        try:
            found = start(problem, [seed], images, tried=True)
        except OptimizationError:
            return Beginning(seed, 0.0, 0, flat, None)
    rendered = problem.render(found.parameters)
    moved = [tensor for item in found.parameters.values() for tensor in item]
    seen = _looked(problem, rendered, list(rendered.values()), seed, moved)
    return Beginning(seed, float(found.contrasts[0]), int(found.woken[0]), flat, seen)
