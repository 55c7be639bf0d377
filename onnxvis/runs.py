"""Runs that are ready to start, and what they give: rounded, measured, assessed."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from onnxvis.assess import Assessment, Assessor
from onnxvis.backprop import replace_backward
from onnxvis.engine import Engine, engine_for
from onnxvis.errors import DeadUnitError, NonFiniteLossError, NothingReplacedError
from onnxvis.gradients import modifier_of
from onnxvis.groups import Interpolation, Tuning
from onnxvis.image_input import ImageInput
from onnxvis.losses import ActivationMaximization, Activations, Scene
from onnxvis.maco import transparency
from onnxvis.maximize import Callback, Method, Run, finish, maximize
from onnxvis.measure import Measurement, Meter
from onnxvis.memory import batch_size
from onnxvis.model import Model
from onnxvis.objectives import Margin
from onnxvis.problem import Problem, Variable
from onnxvis.recipe import Recipe
from onnxvis.result import Group, Part, Result, VisualizationInterrupted
from onnxvis.target import Target
from onnxvis.units import Units
from onnxvis.verify import Verification

Array = np.ndarray[Any, Any]

_CONTRASTED = "the unit was silent at the usual start and woke up at {:g} times its contrast"
_RELAXED = (
    "the unit was silent at every start and woke up after {} steps in which gradients passed through closed rectifiers"
)
_SETTLING = 0.25
"""The last part of the steps in which a value to reach is approached straight, ever more slowly."""
_GREY_LEVELS = 255


@dataclass(frozen=True)
class Prepared:
    """Runs that are ready to start: everything found, lowered and verified.

    Attributes:
        units: The units, and the model lowered up to them.
        recipe: The settings, names as they were given, with what was chosen for the others.
        seeds: The seed of each picture.
        variables: How the optimized inputs are written as parameters.
        meter: What measures the pictures.
        assessor: What says how good they are.
        verification: How far torch and onnxruntime agree at the target, on the starting image.
        seed_image: (C, *spatial) in [0, 1], or None.
        left_out: Operators that the target does not need.
        notes: What was assumed or decided, a sentence each.
        sources: The SHA-256 of each file that the recipe names, by path.
    """

    units: Units
    recipe: Recipe
    seeds: tuple[int, ...]
    variables: Mapping[str, Variable]
    meter: Meter
    assessor: Assessor = field(repr=False)
    verification: Verification
    seed_image: Tensor | None = field(repr=False)
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    sources: Mapping[str, str] = field(repr=False)
    _engines: dict[int, Engine] = field(default_factory=dict, repr=False, compare=False)

    @property
    def model(self) -> Model:
        """The model."""
        return self.units.model

    @property
    def target(self) -> Target:
        """The unit of the first picture."""
        return self.units.targets[0]

    @property
    def image_input(self) -> ImageInput:
        """The input that holds the picture."""
        return next(iter(self.units.inputs.optimized.values()))

    @property
    def engine(self) -> Engine:
        """The network for one image."""
        units = self.units
        return Engine(
            network=units.network,
            inputs=units.inputs.optimized,
            outputs=units.outputs,
            count=1,
            unbatched=units.unbatched,
            ascending=isinstance(self.recipe.backprop, str),
        )

    def problem(self, targets: Sequence[Target] | None = None) -> Problem:
        """Return the optimization of one picture for each target; None: of the first."""
        chosen = self.units.targets[:1] if targets is None else tuple(targets)
        given = self.recipe.gradient_modifier
        engine = self._engine_for(len(chosen))
        return Problem(
            engine=engine,
            variables=self.variables,
            objective=self.units.objective,
            filters=tuple(target.filters for target in chosen),
            # Negating is minimizing, and has been done in the losses.
            gradient_modifier=None if given in (None, "negate") else modifier_of(given),
            device=self.units.device,
            relaxed=None if self.recipe.backprop is not None else functools.partial(_relaxed, engine),
            references=self.references,
        )

    @property
    def references(self) -> dict[str, Tensor] | None:
        """The photo that losses compare with, and mid-grey for other inputs; None: there is no photo."""
        if self.seed_image is None:
            return None
        grey = {name: torch.full(item.image_shape, 0.5) for name, item in self.units.inputs.optimized.items()}
        return {**grey, self.image_input.name: self.seed_image}

    @property
    def aims_at_activation(self) -> bool:
        """Whether the first loss is the activation of filters, and not another objective."""
        return isinstance(self.units.objective.terms[0][0], ActivationMaximization)

    @property
    def coupled(self) -> bool:
        """Whether the pictures depend on one another, and must be one batch."""
        return self.units.objective.coupled

    def _engine_for(self, count: int) -> Engine:
        if count not in self._engines:
            engine = engine_for(self.engine, count, self.units.widened)
            # A batch of one, among others, looks like the others to a user's losses.
            alone = count == 1 and self.units.several and self.units.unbatched
            self._engines[count] = dataclasses.replace(engine, mode="loop") if alone else engine
        return self._engines[count]

    def batch_size(self, wanted: int | None = None) -> int:
        """Return how many pictures are optimized at once: what is wanted, else what fits into memory."""
        count = len(self.units.targets)
        if self.coupled:
            return count
        if wanted is not None:
            return min(wanted, count)
        most = batch_size(self.units.network, self.units.device, count)
        # Batches of one size need one network: 20 pictures are 10 and 10 rather than 16 and 4.
        return math.ceil(count / math.ceil(count / most))

    def run(self, callbacks: Sequence[Callback] = ()) -> Result:
        """Optimize the first picture and measure it; see `visualize`.

        Raises:
            VisualizationInterrupted: Ctrl-C; its `result` is what there was.
        """
        return self._one(slice(1), 0, callbacks)

    def run_all(self, batch: int | None = None, callbacks: Sequence[Callback] = ()) -> Iterator[list[Result | None]]:
        """Optimize a picture for each target, some at once; None stands for a unit that is dead or comes to NaN.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the pictures of the batch under way have been yielded as they are.
        """
        size = self.batch_size(batch)
        try:
            for begin in range(0, len(self.units.targets), size):
                batch_of = slice(begin, begin + size)
                try:
                    run, results = self._optimized(batch_of, callbacks)
                except (DeadUnitError, NonFiniteLossError):
                    yield [None] * len(self.units.targets[batch_of])
                    continue
                yield results
                if run.interrupted:
                    raise KeyboardInterrupt
        finally:
            finish(callbacks)

    def run_group(self, group: Group, callbacks: Sequence[Callback] = ()) -> Result:
        """Optimize the pictures of a batch again, and return the one of them.

        Raises:
            VisualizationInterrupted: Ctrl-C; its `result` is what there was.
        """
        return self._one(slice(None), group.index, callbacks)

    def _one(self, batch: slice, index: int, callbacks: Sequence[Callback]) -> Result:
        targets = self.units.targets[batch]
        try:
            run, results = self._optimized(batch, callbacks)
        finally:
            finish(callbacks)
        result = results[index]
        if result is None:
            message = (
                f"{targets[index]} came to NaN or infinity. Check the preprocessing and its range, lower the learning "
                "rate, or take a target before the node that overflows."
            )
            raise NonFiniteLossError(message, loss="activation", step=len(run.history))
        if run.interrupted:
            raise VisualizationInterrupted(result)
        return result

    def _optimized(self, batch: slice, callbacks: Sequence[Callback]) -> tuple[Run, list[Result | None]]:
        targets, seeds = self.units.targets[batch], self.seeds[batch]
        images = {} if self.seed_image is None else {self.image_input.name: self.seed_image}
        run = maximize(self.problem(targets), self._method(), seeds=seeds, seed_images=images, callbacks=callbacks)
        for callback in callbacks:
            tell = getattr(callback, "final", None)
            if tell is not None:
                tell(run.images, len(run.history))
        reader = _Reader(self, run, targets, seeds)
        lost = [contrast == 0 or failed for contrast, failed in zip(run.contrasts, run.failed, strict=True)]
        results = [None if lost[index] else reader.result(index) for index in range(len(targets))]
        # The last step may leave what the model can compute.
        return run, [result if result is not None and math.isfinite(result.activation) else None for result in results]

    def _method(self) -> Method:
        recipe, value = self.recipe, reaches(self.units)
        return Method(
            steps=_known(recipe.steps),
            learning_rate=_known(recipe.learning_rate),
            patience=recipe.patience,
            views=_known(recipe.views),
            anneal=_SETTLING if value else _known(recipe.anneal),
            settle=_SETTLING if value else _known(recipe.settle),
            transparency=bool(recipe.transparency) and self.image_input.kind == "picture",
        )


_Number = TypeVar("_Number", int, float)


def _known(value: _Number | None) -> _Number:
    """Return what a preset has filled in."""
    if value is None:
        message = "a setting has not been filled in by its preset"
        raise ValueError(message)
    return value


def _relaxed(engine: Engine) -> Engine | None:
    """Return the same with relaxed rectifiers; None: there are none."""
    try:
        return dataclasses.replace(engine, network=replace_backward(engine.network, "relaxed"))
    except NothingReplacedError:
        return None


def reaches(units: Units) -> bool:
    """Tell whether an activation should become a given value."""
    return any(
        isinstance(loss, Tuning) or isinstance(getattr(loss, "goal", None), (int, float))
        for loss, _ in units.objective.terms
    )


class _Reader:
    """Rounds and measures what a run gave."""

    def __init__(self, prepared: Prepared, run: Run, targets: Sequence[Target], seeds: Sequence[int]) -> None:
        self.prepared, self.run, self.targets, self.seeds = prepared, run, targets, seeds
        self.seen: tuple[dict[str, Tensor], dict[str, Array]] | None = None

    def result(self, index: int) -> Result:
        prepared, run, target = self.prepared, self.run, self.targets[index]
        floats = {name: images[index] for name, images in run.images.items()}
        starts = {name: self._written(name, images[index]) for name, images in run.starts.items()}
        written = {name: self._written(name, image) for name, image in floats.items()}
        feeds = prepared.meter.feeds(written)
        measurement, start = self._measured(feeds, target), self._start(starts, target)
        rounded = any(item.kind == "picture" for item in prepared.units.inputs.optimized.values())
        raw = self._measured(prepared.meter.feeds(floats), target) if rounded else measurement
        terms = run.history[: run.steps[index], :, index]
        done = len(run.history)
        return Result(
            parts=tuple(
                Part(item, feeds[name], written[name].numpy(), starts[name].numpy())
                for name, item in prepared.units.inputs.optimized.items()
            ),
            activation=measurement.activation,
            seed_activation=start.activation,
            float_activation=raw.activation,
            measurement=measurement,
            seed_measurement=start,
            history=tuple(dict(zip(run.losses, row, strict=True)) for row in terms.tolist()),
            recipe=self._recipe(index),
            target=target,
            preprocess=str(prepared.image_input.preprocess),
            verification=prepared.verification,
            left_out=prepared.left_out,
            notes=(*prepared.notes, *self._notes(index)),
            interrupted=run.interrupted and run.steps[index] == done,
            device=str(prepared.units.device),
            model_name=prepared.model.name,
            model_sha256=prepared.model.sha256,
            group=self._group(index),
            sources=prepared.sources,
            scores=self._scores(starts, written, index),
            assessment=self._assessed(written, start, raw if rounded else None, target),
            transparency=None if run.influence is None else transparency(run.influence[index : index + 1])[0].numpy(),
        )

    def _recipe(self, index: int) -> Recipe:
        """Return the recipe of one of several pictures."""
        recipe, target = self.prepared.recipe, self.targets[index]
        if not self.prepared.units.several:
            return recipe
        return dataclasses.replace(recipe, filters=target.labels or target.filters, seed=self.seeds[index])

    def _notes(self, index: int) -> Iterator[str]:
        if self.run.woken[index]:
            yield _RELAXED.format(self.run.woken[index])
        elif self.run.contrasts[index] != 1:
            yield _CONTRASTED.format(self.run.contrasts[index])

    def _group(self, index: int) -> Group | None:
        if len(self.targets) == 1:
            return None
        filters = tuple(item.filters for item in self.targets)
        stopped = len(self.run.history) if self.run.interrupted else None
        return Group(filters, index, stopped, tuple(self.seeds))

    def _assessed(
        self,
        written: Mapping[str, Tensor],
        start: Measurement,
        raw: Measurement | None,
        target: Target,
    ) -> Assessment | None:
        loss = self.prepared.units.objective.terms[0][0]
        if isinstance(loss, Interpolation):
            # A picture between two filters is meant for neither.
            return None
        goal = self.prepared.recipe.goal if isinstance(loss, Margin) else getattr(loss, "goal", None)
        assessment = self.prepared.assessor.assess(
            target,
            written,
            seed_activation=start.activation,
            float_activation=None if raw is None else raw.activation,
            goal=goal,
        )
        if isinstance(loss, (ActivationMaximization, Margin, Tuning)):
            return assessment
        # What was asked for is not the activation, of which these speak.
        return dataclasses.replace(
            assessment, kept_by_8_bits=None, survival={}, standing=None, standardized=None, strength=None, place=None
        )

    def _scores(
        self, starts: Mapping[str, Tensor], written: Mapping[str, Tensor], index: int
    ) -> Mapping[str, tuple[float, float]]:
        """Return what another objective than the activation comes to, at the start and on what is written."""
        objective = self.prepared.units.objective
        if self.prepared.aims_at_activation:
            return {}
        loss, _ = objective.terms[0]
        before, after = (-float(loss(self._scene(images, index))) for images in (starts, written))
        return {objective.names[0]: (before, after)}

    def _scene(self, images: Mapping[str, Tensor], index: int) -> Scene:
        """Return what losses look at, by onnxruntime instead of torch."""
        prepared, references = self.prepared, self.prepared.references
        first = next(iter(images))
        needs = references is not None and prepared.units.objective.compares
        feeds = prepared.meter.feeds(images)
        return Scene(
            image=images[first][None],
            input=torch.from_numpy(feeds[first]),
            activations=self._activations(images),
            images={name: image[None] for name, image in images.items()} if len(images) > 1 else {},
            filters=(self.targets[index].filters,),
            copies=prepared.image_input.copies,
            stacked=prepared.units.unbatched if prepared.units.several else frozenset(),
            reference=self._activations(references) if references is not None and needs else {},
            reference_image=None if references is None else references[first][None],
            places=((index, len(self.targets)),),
        )

    def _activations(self, images: Mapping[str, Tensor]) -> Activations:
        units = self.prepared.units
        found = self.prepared.meter.observe(self.prepared.meter.feeds(images))
        tensors = {name: torch.from_numpy(np.float32(found[tensor])) for name, tensor in units.names.items()}
        stacked = units.unbatched if units.several else ()
        return Activations({name: tensor[None] if name in stacked else tensor for name, tensor in tensors.items()})

    def _written(self, name: str, image: Tensor) -> Tensor:
        """Round a picture to the 8 bits in which it will be written."""
        if self.prepared.units.inputs.optimized[name].kind != "picture":
            return image
        return (image.clamp(0, 1) * _GREY_LEVELS).round() / _GREY_LEVELS

    def _measured(self, feeds: Mapping[str, Array], target: Target) -> Measurement:
        return self.prepared.meter.measure(self.prepared.meter.observe(feeds), target)

    def _start(self, starts: dict[str, Tensor], target: Target) -> Measurement:
        """Measure a start; pictures of one seed have the same."""
        if self.seen is None or any(not torch.equal(starts[name], image) for name, image in self.seen[0].items()):
            self.seen = (starts, self.prepared.meter.observe(self.prepared.meter.feeds(starts)))
        return self.prepared.meter.measure(self.seen[1], target)
