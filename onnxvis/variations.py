"""Several pictures that belong together: other seeds, made to differ, between two units, along an activation.

The pictures of a group are made in one batch, because they depend on one another or are to be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from onnxvis.errors import SettingError
from onnxvis.groups import Alignment, Interpolation, Tuning
from onnxvis.losses import Objective
from onnxvis.model import Model
from onnxvis.prepare import prepare
from onnxvis.presets import Situation, settings_of
from onnxvis.recipe import Recipe
from onnxvis.result import Result
from onnxvis.runs import Prepared
from onnxvis.target import Target, resolve

Kind = Literal["seeds", "diversity", "interpolation", "tuning"]
MOST_PICTURES = 256
"""The pictures of a group are one batch."""
_DIVERSITY = 1.0
_ALIGNMENT = 1.0


@dataclass(frozen=True)
class Variation:
    """A group of pictures of one unit, or of two.

    Attributes:
        kind: "seeds": of several seeds; "diversity": the same, made to differ from one another; "interpolation": from
            the first filter to the second; "tuning": for several values of the activation.
        count: How many pictures.
        values: The activations of "tuning".
    """

    kind: Kind
    count: int
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse groups of one picture, and of more than fit.

        Raises:
            SettingError: There are too few, or too many; no such kind; or another number of values.
        """
        if self.kind not in get_args(Kind):
            message = f"No variation {self.kind!r}. There are {', '.join(get_args(Kind))}."
            raise SettingError(message, kind=self.kind)
        if len(self.values) != (self.count if self.kind == "tuning" else 0):
            message = f"A tuning curve has one value for each picture, and only that has values: {len(self.values)}."
            raise SettingError(message, values=self.values)
        if not 2 <= self.count <= MOST_PICTURES:  # noqa: PLR2004 - a group
            message = f"A group has 2 to {MOST_PICTURES} pictures, not {self.count}."
            raise SettingError(message, count=self.count)

    @property
    def distinct(self) -> bool:
        """Whether each picture has a seed of its own."""
        return self.kind in ("seeds", "diversity")

    def labels(self) -> tuple[str, ...]:
        """Say how each picture differs from the others."""
        if self.kind == "tuning":
            return tuple(f"{value:g}" for value in self.values)
        if self.kind == "interpolation":
            return tuple(f"{index / (self.count - 1):.0%}" for index in range(self.count))
        return tuple(f"seed +{index}" for index in range(self.count))


def prepare_variation(model: Model, recipe: Recipe, variation: Variation, **given: Any) -> Prepared:
    """Prepare the pictures of a group; see `onnxvis.prepare.prepare`.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong.
    """
    varied = _VARIED[variation.kind](model, recipe, variation)
    seeds = [recipe.seed + index if variation.distinct else recipe.seed for index in range(variation.count)]
    pictures = [varied.filters] * variation.count
    return prepare(model, varied, pictures=pictures, seeds=seeds, **given)


def with_agreement(prepared: Prepared, results: Sequence[Result | None]) -> list[Result | None]:
    """Tell the results of a group how alike they are to the model, if they are of several seeds.

    Args:
        prepared: What made them.
        results: All pictures of the group; None for those that there are not.
    """
    found = [result for result in results if result is not None]
    if len(set(prepared.seeds)) == 1 or len(found) <= 1:
        return list(results)
    written = [{part.image_input.name: torch.from_numpy(part.values) for part in result.parts} for result in found]
    agreement = prepared.assessor.agreement(prepared.target, written)
    return [None if result is None else dataclasses.replace(result, agreement=agreement) for result in results]


def _seeds(_model: Model, recipe: Recipe, _variation: Variation) -> Recipe:
    return recipe


def _diversity(_model: Model, recipe: Recipe, _variation: Variation) -> Recipe:
    return dataclasses.replace(recipe, diversity_weight=recipe.diversity_weight or _DIVERSITY)


def _interpolation(model: Model, recipe: Recipe, _variation: Variation) -> Recipe:
    target = _target(model, recipe)
    if len(target.filters) != 2:  # noqa: PLR2004 - from one to the other
        message = f"An interpolation goes from one filter to another: name two, not {len(target.filters)}."
        raise SettingError(message, filters=recipe.filters)
    first, second = target.filters
    between = Interpolation((first,), (second,), neuron=recipe.neuron) + _ALIGNMENT * Alignment()
    return _with(recipe, between)


def _tuning(_model: Model, recipe: Recipe, variation: Variation) -> Recipe:
    # What is to be reached is what was asked for, not its logits.
    return dataclasses.replace(_with(recipe, Tuning(variation.values, neuron=recipe.neuron) * 1.0), logits=False)


def _with(recipe: Recipe, losses: Objective) -> Recipe:
    """Return the recipe with losses in place of its objective; what regularizes stays."""
    if recipe.losses is not None or recipe.objective not in (None, "activation") or recipe.goal == "minimize":
        message = (
            "An interpolation and a tuning curve have an objective of their own, the activation: leave others, "
            "--minimize and losses out."
        )
        raise SettingError(message, objective=recipe.objective)
    # Regularizers that a preset would add belong to the losses now.
    chosen = settings_of(recipe.preset, Situation((1, 1)), recipe.parameterization)
    weighted = dataclasses.replace(
        recipe,
        goal="maximize",
        tv_weight=chosen.tv_weight if recipe.tv_weight is None else recipe.tv_weight,
        lp_weight=chosen.lp_weight if recipe.lp_weight is None else recipe.lp_weight,
    )
    plain = dataclasses.replace(
        recipe,
        objective=None,
        neuron=None,
        goal="maximize",
        tv_weight=None,
        lp_weight=None,
        near=None,
        diversity_weight=0.0,
    )
    return dataclasses.replace(plain, losses=Objective((*losses.terms, *weighted.loss.terms[1:])))


def _target(model: Model, recipe: Recipe) -> Target:
    return resolve(model, recipe.node, recipe.filters, channel_axis=recipe.channel_axis, logits=recipe.logits)


_VARIED: Mapping[str, Callable[[Model, Recipe, Variation], Recipe]] = {
    "seeds": _seeds,
    "diversity": _diversity,
    "interpolation": _interpolation,
    "tuning": _tuning,
}
