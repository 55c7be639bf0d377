"""Everything before the first step, verified; and the runs that start from there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.defaults import default_parameterization, default_transforms
from onnxvis.engine import Engine, engine_for
from onnxvis.errors import DeadUnitError, NonFiniteLossError, SettingError
from onnxvis.gradients import modifier_of
from onnxvis.graph import ancestors
from onnxvis.image_input import ImageInput
from onnxvis.images import Fourier
from onnxvis.maximize import Callback, Method, Run, finish, maximize
from onnxvis.measure import Measurement, Meter
from onnxvis.memory import batch_size
from onnxvis.model import Model
from onnxvis.problem import Problem, Variable
from onnxvis.recipe import Recipe
from onnxvis.result import Group, Part, Result, VisualizationInterrupted
from onnxvis.seeds import HeldValue, SeedImage, checksums, is_mask, seed_values
from onnxvis.target import Target
from onnxvis.units import Inputs, Pictures, Units, find_units
from onnxvis.verify import Verification, compare, is_half, require

Array = np.ndarray[Any, Any]

_WOKEN = "the unit was silent at the usual start and woke up at {:g} times its contrast"
_GREY_LEVELS = 255


@dataclass(frozen=True)
class Prepared:
    """Runs that are ready to start: everything found, lowered and verified.

    Attributes:
        units: The units, and the model lowered up to them.
        recipe: The settings, names as they were given, with what was chosen for the others.
        variables: How the optimized inputs are written as parameters.
        meter: What measures the pictures.
        verification: How far torch and onnxruntime agree at the target, on the starting image.
        seed_image: (C, *spatial) in [0, 1], or None.
        left_out: Operators that the target does not need.
        notes: What was assumed or decided, a sentence each.
        sources: The SHA-256 of each file that the recipe names, by path.
    """

    units: Units
    recipe: Recipe
    variables: Mapping[str, Variable]
    meter: Meter
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
        return Problem(
            engine=self._engine_for(len(chosen)),
            variables=self.variables,
            objective=self.units.objective,
            filters=tuple(target.filters for target in chosen),
            # Negating is minimizing, and has been done in the losses.
            gradient_modifier=None if given in (None, "negate") else modifier_of(given),
            device=self.units.device,
        )

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
        return self._one(self.units.targets[:1], 0, callbacks)

    def run_all(self, batch: int | None = None, callbacks: Sequence[Callback] = ()) -> Iterator[list[Result | None]]:
        """Optimize a picture for each target, some at once; None stands for a unit that is dead or comes to NaN.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the pictures of the batch under way have been yielded as they are.
        """
        size = self.batch_size(batch)
        try:
            for begin in range(0, len(self.units.targets), size):
                targets = self.units.targets[begin : begin + size]
                try:
                    run, results = self._optimized(targets, callbacks)
                except (DeadUnitError, NonFiniteLossError):
                    yield [None] * len(targets)
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
        return self._one(self.units.targets, group.index, callbacks)

    def _one(self, targets: Sequence[Target], index: int, callbacks: Sequence[Callback]) -> Result:
        try:
            run, results = self._optimized(targets, callbacks)
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

    def _optimized(self, targets: Sequence[Target], callbacks: Sequence[Callback]) -> tuple[Run, list[Result | None]]:
        problem = self.problem(targets)
        seeds = {} if self.seed_image is None else {self.image_input.name: self.seed_image}
        run = maximize(
            problem, self._method(), seeds=[self.recipe.seed] * len(targets), seed_images=seeds, callbacks=callbacks
        )
        reader = _Reader(self, run, targets)
        lost = [contrast == 0 or failed for contrast, failed in zip(run.contrasts, run.failed, strict=True)]
        results = [None if lost[index] else reader.result(index) for index in range(len(targets))]
        # The last step may leave what the model can compute.
        return run, [result if result is not None and math.isfinite(result.activation) else None for result in results]

    def _method(self) -> Method:
        return Method(
            steps=self.recipe.steps,
            learning_rate=self.recipe.learning_rate,
            patience=self.recipe.patience,
            settle=_reaches(self.units),
        )


class _Reader:
    """Rounds and measures what a run gave."""

    def __init__(self, prepared: Prepared, run: Run, targets: Sequence[Target]) -> None:
        self.prepared, self.run, self.targets = prepared, run, targets
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
        done, several = len(run.history), len(self.targets) > 1
        filters = tuple(item.filters for item in self.targets)
        group = Group(filters, index, done if run.interrupted else None) if several else None
        woken = run.contrasts[index] != 1
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
            recipe=_named(prepared.recipe, target) if prepared.units.several else prepared.recipe,
            target=target,
            preprocess=str(prepared.image_input.preprocess),
            verification=prepared.verification,
            left_out=prepared.left_out,
            notes=(*prepared.notes, _WOKEN.format(run.contrasts[index])) if woken else prepared.notes,
            interrupted=run.interrupted and run.steps[index] == done,
            device=str(prepared.units.device),
            model_name=prepared.model.name,
            model_sha256=prepared.model.sha256,
            group=group,
            sources=prepared.sources,
        )

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


def prepare(
    model: Model,
    recipe: Recipe,
    *,
    pictures: Pictures | None = None,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    device: str = "auto",
) -> Prepared:
    """Find the units, lower the model up to them, and verify that against onnxruntime.

    Args:
        model: The model.
        recipe: The settings.
        pictures: The filters of each picture, or "all"; None: one picture, of the recipe's filters.
        seed_image: What to start from; None: what the recipe says.
        inputs: What other inputs are held at, besides the recipe's.
        device: "auto", "cpu" or "cuda".

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; nothing has been optimized yet.
    """
    units = find_units(model, recipe, _device(device), pictures=pictures, inputs=inputs)
    if recipe.patience is not None and _reaches(units):
        message = "A value is approached over all steps, so patience does not go with it: leave --patience out."
        raise SettingError(message, patience=recipe.patience)
    found = units.inputs
    picture = next(iter(found.optimized.values()))
    image, described = seed_values(seed_image if seed_image is not None else recipe.seed_image, picture)
    meter = Meter.of(
        units.model, units.targets[0], found.optimized, found.held, neuron=units.neuron, extra=units.tensors
    )
    verification = _verified(units, meter, image)
    variables = {name: _variable(recipe, item) for name, item in found.optimized.items()}
    return Prepared(
        units=units,
        recipe=_resolved(recipe, found, variables[picture.name], described),
        variables=variables,
        meter=meter,
        verification=verification,
        seed_image=image,
        left_out=_left_out(model, units.tensors),
        notes=tuple(_notes(units, recipe)),
        sources=checksums([described, *found.named.values()]),
    )


def _reaches(units: Units) -> bool:
    """Whether an activation should become a given value."""
    goals = [getattr(loss, "goal", None) for loss, _ in units.objective.terms]
    return any(isinstance(goal, (int, float)) for goal in goals)


def _variable(recipe: Recipe, item: ImageInput) -> Variable:
    wanted = recipe.parameterization
    if wanted is None or (not item.size and isinstance(wanted, Fourier)):
        # Features have no spectrum.
        wanted = default_parameterization(item.size)
    return Variable(
        image_shape=item.image_shape,
        parameterization=wanted,
        transforms=default_transforms(item.size) if recipe.transforms is None else recipe.transforms,
    )


def _resolved(recipe: Recipe, inputs: Inputs, picture: Variable, described: str | None) -> Recipe:
    """Write down what was chosen by default, so that the picture can be made again when defaults have changed."""
    preprocess = next(iter(inputs.optimized.values())).preprocess
    names = tuple(inputs.optimized)
    # Inputs of several kinds have defaults of their own.
    shared = len(names) == 1
    return dataclasses.replace(
        recipe,
        seed_image=described,
        inputs=inputs.named or None,
        wrt=names[0] if shared else names,
        preprocess=None,
        range=preprocess.range,
        mean=preprocess.mean,
        std=preprocess.std,
        bgr=preprocess.bgr,
        layout=preprocess.layout,
        parameterization=picture.parameterization if shared else recipe.parameterization,
        transforms=picture.transforms if shared else recipe.transforms,
    )


def _named(recipe: Recipe, target: Target) -> Recipe:
    """Return the recipe of one of several pictures."""
    return dataclasses.replace(recipe, filters=target.labels or target.filters)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        message = f"No device {name!r}. There are auto, cpu and cuda."
        raise SettingError(message, device=name)
    if name == "cuda" and not torch.cuda.is_available():
        message = "torch finds no CUDA device. Use --device cpu, or install a torch build for your GPU."
        raise SettingError(message, device=name)
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _verified(units: Units, meter: Meter, seed_image: Tensor | None) -> Verification:
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(item.image_shape, generator=generator) for name, item in meter.inputs.items()}
    if seed_image is not None:
        images[next(iter(images))] = seed_image
    feeds = meter.feeds(images)
    report = compare(units.model, units.network, units.tensors, feeds, oracle=meter.oracle)
    given = units.recipe.backprop
    if not report.ok and given is not None and not isinstance(given, str):
        message = (
            f"The functions given as backprop for {', '.join(given)} change what the network computes, by "
            f"{report.max_rel_error:.1e}: they may replace the backward pass alone."
        )
        raise SettingError(message, report=report)
    require(units.model, report, units.inputs.shapes, feeds)
    return report


def _left_out(model: Model, tensors: Sequence[str]) -> dict[str, int]:
    needed = ancestors([model.values[tensor] for tensor in tensors])
    counts: dict[str, int] = {}
    for node in model.ir.graph:
        if node not in needed and node.op_type != "Constant":
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _held_notes(units: Units) -> list[str]:
    """Say at what the inputs are held that nobody has given."""
    silent = [name for name in units.inputs.held if name not in units.inputs.named]
    masks = [spec.name for spec in units.model.inputs if spec.name in silent and is_mask(spec)]
    zero = [name for name in silent if name not in masks]
    return [
        f"inputs held at {value}: {', '.join(names)}; --input changes it"
        for value, names in (("zero", zero), ("one", masks))
        if names
    ]


def _notes(units: Units, recipe: Recipe) -> list[str]:
    notes = []
    target, inputs = units.targets[0], units.inputs
    if target.moved:
        notes.append(
            f"target moved before {target.asked_op} to the logits {target.name!r}, where the gradient does not vanish"
        )
    shape, axis = target.shape, target.channel_axis
    count = shape[axis] if shape is not None and axis is not None else None
    if not target.filters and isinstance(count, int) and count > 1:
        notes.append(f"the mean of all {count} filters; --filter picks one, --filter all makes a picture of each")
    idle = [name for name in inputs.named if name not in inputs.shapes]
    if idle:
        notes.append(f"the target does not depend on {', '.join(idle)}")
    notes += _held_notes(units)
    for number, (name, item) in enumerate(inputs.optimized.items()):
        if "assumed" in item.preprocess.source:
            which = "" if number == 0 else f" of {name}"
            notes.append(f"preprocessing{which} {item.preprocess}")
    if recipe.backprop is not None:
        counts = ", ".join(f"{count} {op}" for op, count in sorted(units.network.replaced.items()))
        kind = recipe.backprop if isinstance(recipe.backprop, str) else "replaced"
        notes.append(f"{kind} backward pass of {counts}")
    if not units.model.tensors[target.tensor].is_float:
        notes.append("the target holds quantized integers: its activation is counted in steps of the quantizer")
    if is_half(units.model, [target.tensor]):
        in_float32 = recipe.precision == "float32"
        computed = "torch in float32: half-precision gradients vanish" if in_float32 else "and torch too, as asked"
        notes.append(f"the file computes in half precision, {computed}")
    return notes
