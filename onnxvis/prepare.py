"""Everything before the first step: find the unit, lower the model up to it, verify that, choose the preprocessing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.defaults import default_parameterization, default_transforms
from onnxvis.errors import SettingError
from onnxvis.graph import ancestors, inputs_of
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.losses import ActivationMaximization, Objective, Scene
from onnxvis.lower import lower
from onnxvis.maximize import OnStep, Problem, Run, maximize
from onnxvis.measure import Measurement, Meter
from onnxvis.model import Model
from onnxvis.network import Network, check_gradient, check_weights, shapes_of
from onnxvis.recipe import Recipe
from onnxvis.render import from_image, read_png, to_image
from onnxvis.result import Result, VisualizationInterrupted
from onnxvis.seeds import SeedImage, seed_values
from onnxvis.simplify import simplify
from onnxvis.sizes import image_shapes, input_shapes
from onnxvis.target import Target, resolve
from onnxvis.tensors import zeros
from onnxvis.truncate import truncate
from onnxvis.verify import Verification, compare, is_half, require

Array = np.ndarray[Any, Any]

_WOKEN = "the unit was silent at the usual start and woke up at {:g} times its contrast"


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: everything found, lowered and verified.

    Attributes:
        model: The model.
        recipe: The settings, names as they were given, with what was chosen for the others.
        target: The unit.
        image_input: The input that holds the picture.
        problem: What will be optimized.
        meter: What measures the picture.
        verification: How far torch and onnxruntime agree at the target, on the starting image.
        seed_image: (C, H, W) in [0, 1], or None.
        left_out: Operators that the target does not need.
        notes: What was assumed or decided, a sentence each.
    """

    model: Model
    recipe: Recipe
    target: Target
    image_input: ImageInput
    problem: Problem
    meter: Meter
    verification: Verification
    seed_image: Tensor | None = field(repr=False)
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    def run(self, on_step: OnStep | None = None) -> Result:
        """Optimize the image and measure it; see `visualize`."""
        run = maximize(
            self.problem,
            steps=self.recipe.steps,
            learning_rate=self.recipe.learning_rate,
            seed=self.recipe.seed,
            seed_image=self.seed_image,
            on_step=on_step,
        )
        result = self._result(run)
        if run.interrupted:
            raise VisualizationInterrupted(result)
        return result

    def _result(self, run: Run) -> Result:
        """Round to 8 bits and measure what a run gave."""
        picture, start = to_image(run.image[0]), to_image(run.start[0])
        measurement, before = self.meter.image(picture), self.meter.image(start)
        return Result(
            image=picture,
            array=self.meter.feeds(from_image(picture, self.image_input.channels))[self.image_input.name],
            activation=measurement.activation,
            seed_activation=before.activation,
            float_activation=self.meter.values(run.image[:1]).activation,
            measurement=measurement,
            seed_measurement=before,
            history=tuple(dict(zip(run.losses, row, strict=True)) for row in run.history.mean(2).tolist()),
            recipe=self.recipe,
            target=self.target,
            preprocess=str(self.image_input.preprocess),
            verification=self.verification,
            left_out=self.left_out,
            notes=self.notes if run.contrast == 1 else (*self.notes, _WOKEN.format(run.contrast)),
            interrupted=run.interrupted,
            device=str(self.problem.device),
            model_name=self.model.name,
            model_sha256=self.model.sha256,
        )


def prepare(
    model: Model,
    recipe: Recipe,
    *,
    seed_image: SeedImage | None = None,
    device: str = "auto",
) -> Prepared:
    """Find the unit, lower the model up to it, and verify that against onnxruntime.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; nothing has been optimized yet.
    """
    chosen = _device(device)
    unit = _lowered(model, recipe)
    image_input = find_image_input(
        unit.model,
        unit.shapes,
        wrt=recipe.wrt,
        preset=recipe.preprocess,
        overrides=recipe.preprocess_overrides,
    )
    check_weights(model, unit.network)
    check_gradient(model, unit.network)
    network = simplify(unit.network, channels_last=chosen.type == "cpu")
    held = {
        spec.name: zeros(spec.dtype, unit.shapes[spec.name])
        for spec in model.inputs
        if spec.name in unit.shapes and spec.name != image_input.name
    }
    image, described = seed_values(seed_image if seed_image is not None else recipe.seed_image, image_input)
    meter = Meter.of(unit.model, unit.target, image_input, held, unit.tensors)
    verification = _verified(unit, network, meter, image)
    parameterization, transforms = recipe.parameterization, recipe.transforms
    problem = Problem(
        network=network.to(chosen),
        activations={name: unit.tensors.index(tensor) for name, tensor in unit.names.items()},
        objective=unit.objective,
        image_name=image_input.name,
        image_shape=image_input.image_shape,
        preprocess=image_input.preprocess,
        held={name: torch.from_numpy(array).to(chosen) for name, array in held.items()},
        parameterization=default_parameterization(image_input.size) if parameterization is None else parameterization,
        transforms=default_transforms(image_input.size) if transforms is None else transforms,
        device=chosen,
    )
    return Prepared(
        model=model,
        recipe=_resolved(recipe, image_input, problem, described),
        target=unit.target,
        image_input=image_input,
        problem=problem,
        meter=meter,
        verification=verification,
        seed_image=image,
        left_out=_left_out(model, unit.tensors),
        notes=tuple(_notes(model, unit.target, image_input, held)),
    )


def _resolved(recipe: Recipe, image_input: ImageInput, problem: Problem, seed_image: str | None) -> Recipe:
    """Write down what was chosen by default, so that the picture can be made again when defaults have changed."""
    preprocess = image_input.preprocess
    return dataclasses.replace(
        recipe,
        seed_image=seed_image,
        wrt=image_input.name,
        preprocess=None,
        range=preprocess.range,
        mean=preprocess.mean,
        std=preprocess.std,
        bgr=preprocess.bgr,
        layout=preprocess.layout,
        parameterization=problem.parameterization,
        transforms=problem.transforms,
    )


@dataclass(frozen=True)
class _Unit:
    """A target that has been found and lowered.

    Attributes:
        model: The model, with the shapes that lowering has found.
        shapes: The shapes of the inputs that are needed.
        target: What is maximized.
        objective: The losses, tied to tensors.
        names: The tensor for each name that losses use; "" is the target's.
        tensors: The network's outputs.
        network: The lowered model up to them.
    """

    model: Model
    shapes: Mapping[str, tuple[int, ...]]
    target: Target
    objective: Objective
    names: Mapping[str, str]
    tensors: tuple[str, ...]
    network: Network = field(repr=False)


def _lowered(model: Model, recipe: Recipe) -> _Unit:
    asked = resolve(model, recipe.node, logits=False).tensor
    whole = lower(truncate(model, asked), None, _shapes(model, recipe, [asked]))
    # The shapes that lowering has found tell channel axes that open sizes hide.
    sized = model.at(shapes_of(whole))
    target = resolve(sized, recipe.node, recipe.filters or None, channel_axis=recipe.channel_axis, logits=recipe.logits)
    objective, names = _bound(sized, recipe, target)
    tensors = tuple(dict.fromkeys(names.values()))
    shapes = _shapes(model, recipe, tensors)
    network = whole if tensors == (asked,) else lower(truncate(model, tensors), None, shapes)
    return _Unit(sized, shapes, target, objective, names, tensors, network)


def _shapes(model: Model, recipe: Recipe, tensors: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs that some tensors are computed from."""
    values = inputs_of(model.ir.graph, [model.values[tensor] for tensor in tensors])
    needed = [str(value.name) for value in values]
    given = {name: tuple(shape) for name, shape in (recipe.input_shapes or {}).items()}
    if recipe.size is not None:
        given = image_shapes(model, recipe.size, needed, recipe.wrt) | given
    return input_shapes(model, given, needed)


def measure_file(path: str | os.PathLike[str], prepared: Prepared) -> Measurement:
    """Read a written PNG back and measure it through the original model."""
    picture, _ = read_png(path)
    return prepared.meter.image(picture)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        message = f"No device {name!r}. There are auto, cpu and cuda."
        raise SettingError(message, device=name)
    if name == "cuda" and not torch.cuda.is_available():
        message = "torch finds no CUDA device. Use --device cpu, or install a torch build for your GPU."
        raise SettingError(message, device=name)
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _bound(model: Model, recipe: Recipe, target: Target) -> tuple[Objective, dict[str, str]]:
    """Tie losses to tensors: the objective, and the tensor for each name that a loss looks at besides the target."""
    names: dict[str, str] = {"": target.tensor}
    terms: list[tuple[Callable[[Scene], Tensor], float]] = []
    for loss, weight in recipe.objective.terms:
        if isinstance(loss, ActivationMaximization):
            where = _unit_of(model, recipe, target, loss)
            node = None if loss.node is None else where.tensor
            terms.append(
                (dataclasses.replace(loss, node=node, filters=where.filters, channel_axis=where.channel_axis), weight)
            )
            names[node or ""] = where.tensor
        else:
            node = getattr(loss, "node", None)
            if node is not None:
                names[node] = resolve(model, node, logits=False).tensor
            terms.append((loss, weight))
    return Objective(tuple(terms)), names


def _unit_of(model: Model, recipe: Recipe, target: Target, loss: ActivationMaximization) -> Target:
    if loss.node is not None:
        return resolve(model, loss.node, loss.filters, channel_axis=loss.channel_axis, logits=recipe.logits)
    if loss.filters is None:
        return target
    return resolve(model, recipe.node, loss.filters, channel_axis=recipe.channel_axis, logits=recipe.logits)


def _verified(unit: _Unit, network: Network, meter: Meter, seed_image: Tensor | None) -> Verification:
    shape = meter.image_input.image_shape
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    feeds = meter.feeds(noise if seed_image is None else seed_image)
    report = compare(unit.model, network, unit.tensors, feeds, oracle=meter.oracle)
    require(unit.model, report, unit.shapes, feeds)
    return report


def _left_out(model: Model, tensors: Sequence[str]) -> dict[str, int]:
    needed = ancestors([model.values[tensor] for tensor in tensors])
    counts: dict[str, int] = {}
    for node in model.ir.graph:
        if node not in needed and node.op_type != "Constant":
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _notes(model: Model, target: Target, image_input: ImageInput, held: Mapping[str, Array]) -> list[str]:
    notes = []
    if target.moved:
        notes.append(
            f"target moved before {target.asked_op} to the logits {target.name!r}, where the gradient does not vanish"
        )
    if held:
        notes.append(f"inputs held at zero: {', '.join(held)}")
    if "assumed" in image_input.preprocess.source:
        notes.append(f"preprocessing {image_input.preprocess}")
    if is_half(model, [target.tensor]):
        notes.append("the file computes in half precision, torch in float32: half-precision gradients vanish")
    return notes
