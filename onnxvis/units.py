"""Find what a request means in a model: the inputs, the units, the losses; and lower the model up to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from onnxvis.backprop import replace_backward
from onnxvis.errors import FilterError, NothingReplacedError, OnnxvisError, SettingError
from onnxvis.graph import inputs_of
from onnxvis.image_input import ImageInput, find_image_input, refuse_integers_alone
from onnxvis.losses import REGULARIZERS, ActivationMaximization, Goal, Loss, Neuron, Objective, Scene, neuron_position
from onnxvis.lower import lower
from onnxvis.model import Model
from onnxvis.network import Network, check_gradient, check_weights, shapes_of
from onnxvis.preprocess import FLAT
from onnxvis.presets import Situation, filled, role_of, settings_of
from onnxvis.recipe import Recipe
from onnxvis.seeds import HeldValue, held_values
from onnxvis.simplify import simplify
from onnxvis.sizes import image_shapes, input_shapes, laid_out_shapes
from onnxvis.target import Target, made_by, resolve
from onnxvis.truncate import truncate

Array = np.ndarray[Any, Any]
Pictures = Sequence[tuple[int | str, ...]] | Literal["all"]
"""The filters of each picture, or one picture for each filter of the layer."""

_AFFINE = ("Gemm", "MatMul", "Add", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "QLinearAdd", "QGemm")
_EXCLUSIVE = ("Softmax", "LogSoftmax", "QLinearSoftmax")
"""Of the classes behind these one is right."""
_OPPOSITE: Mapping[Goal, Goal] = {"maximize": "minimize", "minimize": "maximize"}


@dataclass(frozen=True)
class Inputs:
    """The inputs that some tensors are computed from.

    Attributes:
        shapes: Their shapes, for one image.
        optimized: Those that are optimized; the first is the picture.
        held: The values of the others.
        named: How the recipe names the held values that were given.
        dims: The inputs' shapes as the file declares them.
    """

    shapes: Mapping[str, tuple[int, ...]]
    optimized: Mapping[str, ImageInput]
    held: Mapping[str, Array] = field(repr=False)
    named: Mapping[str, str | float]
    dims: Mapping[str, tuple[int | str | None, ...]] = field(repr=False)

    def widened(self, count: int) -> tuple[dict[str, tuple[int, ...]], dict[str, Array]]:
        """Return shapes and held values for several images: each batch grows."""
        shapes = dict(self.shapes)
        batches: set[int | str | None] = set()
        for name, item in self.optimized.items():
            layout = item.preprocess.layout
            if layout != FLAT and "N" in layout:
                axis = layout.index("N")
                shapes[name] = (*item.shape[:axis], count, *item.shape[axis + 1 :])
                batches.update(dim for dim in self.dims[name][axis : axis + 1] if isinstance(dim, str))
        return shapes, {name: _repeated(array, self.dims[name], batches, count) for name, array in self.held.items()}


def _repeated(array: Array, dims: Sequence[int | str | None], batches: set[int | str | None], count: int) -> Array:
    """Repeat a held value along its batch: the axis that has the batch's name, else the first of one entry."""
    named = [axis for axis, dim in enumerate(dims) if dim in batches]
    axes = named or ([0] if array.ndim > 0 and len(array) == 1 else [])
    for axis in axes:
        array = np.repeat(array, count, axis)
    return array


@dataclass(frozen=True)
class Units:
    """Units of one tensor that have been found, and the model lowered up to it.

    Attributes:
        model: The model, with the shapes that lowering has found.
        inputs: What is optimized, and what is held.
        targets: The unit of each picture; they differ in their filters alone.
        objective: The losses, tied to tensors.
        names: The tensor for each name that losses use; "" is the target's.
        network: The lowered model up to them, ready for the optimizer.
        device: Where it is.
        recipe: The settings, with what the preset has chosen.
        simplified: Whether the network is made fast, which changes its rounding.
        neuron: The position of the target that is maximized and measured; None: the mean over all.
        several: Whether the filters of each picture were given, instead of one picture's.
        situation: What a preset chooses by.
        margin: Whether the preset has chosen a class's margin as the objective.
    """

    model: Model
    inputs: Inputs
    targets: tuple[Target, ...]
    objective: Objective
    names: Mapping[str, str]
    network: Network = field(repr=False)
    device: torch.device
    recipe: Recipe = field(repr=False)
    situation: Situation
    simplified: bool = True
    neuron: Neuron = None
    several: bool = False
    margin: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """The network's outputs."""
        return tuple(dict.fromkeys(self.names.values()))

    @property
    def outputs(self) -> dict[str, int]:
        """Which of the network's outputs each name means that losses use."""
        return {name: self.tensors.index(tensor) for name, tensor in self.names.items()}

    @property
    def unbatched(self) -> frozenset[str]:
        """Names whose tensors do not have one image, and nothing else, in their first axis."""
        shapes = shapes_of(self.network)
        return frozenset(
            name
            for name, tensor in self.names.items()
            if shapes[tensor][:1] != (1,) or self.model.channel_axes.get(tensor) == 0
        )

    def widened(self, count: int) -> Network:
        """Lower the model at a batch."""
        shapes, held = self.inputs.widened(count)
        network = _raw(self.model, self.tensors, shapes, held, self.recipe)
        return ready(network, self.recipe, self.device, simplified=self.simplified)


def find_units(
    model: Model,
    recipe: Recipe,
    device: torch.device,
    *,
    pictures: Pictures | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    simplified: bool = True,
) -> Units:
    """Find the units, and lower the model up to them.

    Args:
        model: The model.
        recipe: The settings.
        device: Where the network will run.
        pictures: The filters of each picture; None: one picture, of the recipe's filters.
        inputs: What other inputs are held at, besides the recipe's.
        simplified: Whether the network is made fast, which changes its rounding.

    Raises:
        OnnxvisError: A name, a filter, an input or a setting is wrong.
    """
    given = dict(recipe.inputs or {}) | dict(inputs or {})
    aim = _aim(recipe)
    asked = _asked(model, recipe, aim)
    found = _inputs(model, recipe, asked, given)
    whole = _raw(model, asked, found.shapes, found.held, recipe)
    # The shapes that lowering has found tell channel axes that open sizes hide.
    sized = model.at(shapes_of(whole))
    targets = _targets(sized, recipe, aim, pictures)
    item = next(iter(found.optimized.values()))
    situation = _situation(sized, recipe, aim, targets, shapes_of(whole), item)
    asked_objective = recipe.objective
    recipe = filled(recipe, settings_of(recipe.preset, situation, recipe.parameterization))
    _check_whole(recipe, targets, aim)
    objective, names = _bound(sized, recipe, aim, targets[0])
    tensors = tuple(dict.fromkeys(names.values()))
    if tensors != asked:
        found = _inputs(model, recipe, tensors, given)
        whole = _raw(model, tensors, found.shapes, found.held, recipe)
    check_weights(model, whole)
    check_gradient(model, whole)
    network = ready(whole, recipe, device, simplified=simplified)
    if aim.neuron is not None:
        copies = next(iter(found.optimized.values())).copies
        neuron_position(shapes_of(whole)[targets[0].tensor], aim.neuron, targets[0].channel_axis, copies)
    return Units(
        model=sized,
        inputs=found,
        targets=targets,
        objective=objective,
        names=names,
        network=network,
        device=device,
        recipe=recipe,
        simplified=simplified,
        neuron=aim.neuron,
        several=pictures is not None,
        situation=situation,
        margin=asked_objective is None and recipe.objective == "margin",
    )


@dataclass(frozen=True)
class _Aim:
    """What is measured, and what "the target" means to losses."""

    node: str | None
    filters: tuple[int | str, ...]
    neuron: Neuron
    goal: Goal


def _aim(recipe: Recipe) -> _Aim:
    """Read the target off the recipe; what it leaves open, off the first activation among its losses."""
    losses = [loss for loss, _ in recipe.loss.terms]
    found = [loss for loss in losses if isinstance(loss, ActivationMaximization)]
    if recipe.losses is None or not found:
        named = [node for loss in losses if (node := getattr(loss, "node", None)) is not None]
        other = named[0] if recipe.losses is not None and named else None
        places = [place for loss in losses if (place := getattr(loss, "neuron", None)) is not None]
        return _Aim(recipe.node or other, recipe.filters, recipe.neuron or next(iter(places), None), recipe.goal)
    first = found[0]
    if recipe.node is not None and first.node is not None:
        return _Aim(recipe.node, recipe.filters, None, "maximize")
    return _Aim(recipe.node or first.node, recipe.filters or first.filters or (), first.neuron, first.goal)


def _asked(model: Model, recipe: Recipe, aim: _Aim) -> tuple[str, ...]:
    """Return the tensors that the target and the losses name, before any is moved to its logits."""
    nodes = [aim.node, *(getattr(loss, "node", None) for loss, _ in recipe.loss.terms)]
    named = [node for number, node in enumerate(nodes) if number == 0 or node is not None]
    return tuple(dict.fromkeys(resolve(model, node, logits=False).tensor for node in named))


def ready(network: Network, recipe: Recipe, device: torch.device, *, simplified: bool = True) -> Network:
    """Replace what the recipe says in the backward pass, and make the network fast."""
    if isinstance(recipe.backprop, str):
        network = replace_backward(network, recipe.backprop)
    return (simplify(network, channels_last=device.type == "cpu") if simplified else network).to(device)


def _raw(
    model: Model,
    tensors: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    held: Mapping[str, Array],
    recipe: Recipe,
) -> Network:
    given = recipe.backprop
    replacements = None if given is None or isinstance(given, str) else given
    free = {name: shape for name, shape in shapes.items() if name not in held}
    network = lower(
        truncate(model, list(tensors)), None, free, replacements, constants=held, precision=recipe.precision
    )
    if replacements is not None and not network.replaced:
        listed = ", ".join(replacements) or "no operator"
        message = f"Nothing was replaced in the backward pass: the way to the target has no {listed}."
        raise NothingReplacedError(message, operators=list(replacements))
    return network


def _inputs(model: Model, recipe: Recipe, tensors: Sequence[str], given: Mapping[str, HeldValue]) -> Inputs:
    shapes = _shapes(model, recipe, tensors)
    optimized: dict[str, ImageInput] = {}
    for number, wrt in enumerate(recipe.optimized):
        # What is said of the preprocessing is said of the picture.
        preset, overrides = (recipe.preprocess, recipe.preprocess_overrides) if number == 0 else (None, None)
        item = find_image_input(model, shapes, wrt=wrt, preset=preset, overrides=overrides)
        if item.name in optimized:
            message = f"Input {item.name!r} is named twice as what to optimize."
            raise SettingError(message, wrt=item.name)
        optimized[item.name] = item
    held, named = held_values(model, given, shapes, tuple(optimized))
    dims = {spec.name: tuple(spec.shape or ()) for spec in model.inputs}
    return Inputs(shapes, optimized, held, named, dims)


def _shapes(model: Model, recipe: Recipe, tensors: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs that some tensors are computed from."""
    values = inputs_of(model.ir.graph, [model.values[tensor] for tensor in tensors])
    needed = [str(value.name) for value in values]
    refuse_integers_alone(model, needed)
    given = {name: tuple(shape) for name, shape in (recipe.input_shapes or {}).items()}
    if recipe.size is not None:
        wrt = [name for name in recipe.optimized if name is not None]
        laid_out = laid_out_shapes(model, recipe.size, wrt or needed, recipe.layout)
        given = (laid_out or image_shapes(model, recipe.size, needed, wrt)) | given
    return input_shapes(model, given, needed)


def _targets(model: Model, recipe: Recipe, aim: _Aim, pictures: Pictures | None) -> tuple[Target, ...]:
    if pictures is None:
        return (_resolved(model, recipe, aim, aim.filters),)
    if pictures != "all":
        return tuple(_resolved(model, recipe, aim, filters) for filters in pictures)
    first = _resolved(model, recipe, aim, (0,))
    shape, axis = first.shape, first.channel_axis
    count = None if shape is None or axis is None else shape[axis]
    if not isinstance(count, int):
        message = f"How many filters {first.name!r} has is not known: name them as 0-15."
        raise FilterError(message, tensor=first.tensor)
    return tuple(_resolved(model, recipe, aim, (index,)) for index in range(count))


def _resolved(model: Model, recipe: Recipe, aim: _Aim, filters: Sequence[int | str]) -> Target:
    moves = _moves(recipe, aim.goal)
    return resolve(model, aim.node, filters, channel_axis=recipe.channel_axis, logits=moves)


def _moves(recipe: Recipe, goal: Goal) -> bool:
    """Whether a softmax or sigmoid gives way to its logits: not where its own value is to be reached."""
    return recipe.logits and goal in _OPPOSITE


def _bound(model: Model, recipe: Recipe, aim: _Aim, target: Target) -> tuple[Objective, dict[str, str]]:
    """Tie losses to tensors: the objective, and the tensor for each name that a loss looks at besides the target."""
    names: dict[str, str] = {"": target.tensor}
    terms: list[tuple[Callable[[Scene], Tensor], float]] = []
    for loss, weight in recipe.loss.terms:
        tied: Any = loss
        if isinstance(loss, ActivationMaximization):
            where = _unit_of(model, recipe, aim, target, loss)
            node = None if loss.node is None else where.tensor
            own = None if loss.node is None and loss.filters is None else where.filters
            tied = dataclasses.replace(
                loss, node=node, filters=own, channel_axis=where.channel_axis, goal=_goal(recipe, loss.goal)
            )
            names[node or ""] = where.tensor
        elif isinstance(loss, Loss):
            _check_not_negated(recipe, loss)
            tied = _tied(model, recipe, target, loss)
            node = getattr(tied, "node", None)
            if node is not None:
                names[node] = node if node in model.values else resolve(model, node, logits=False).tensor
        elif (node := getattr(loss, "node", None)) is not None:
            names[node] = resolve(model, node, logits=False).tensor
        terms.append((tied, weight))
    return Objective(tuple(terms)), names


def _check_not_negated(recipe: Recipe, loss: Loss) -> None:
    """Refuse to negate a gradient behind which a user's own weight stands: that says it."""
    if recipe.gradient_modifier == "negate" and recipe.losses is not None and not isinstance(loss, REGULARIZERS):
        message = f"The gradient modifier 'negate' does not reach the loss {loss.name!r}: give it a weight of -1."
        raise SettingError(message, loss=loss.name)


def _tied(model: Model, recipe: Recipe, target: Target, loss: Loss) -> Loss:
    """Fill in what the graph tells of a loss's layer; a user's own loss, which says nothing of channels, stays."""
    given: Any = loss
    if "channel_axis" not in getattr(given, "__dataclass_fields__", ()):
        return loss
    if given.node is None:
        changes: dict[str, Any] = {"channel_axis": target.channel_axis}
    else:
        where = resolve(model, given.node, channel_axis=given.channel_axis, logits=recipe.logits)
        changes = {"channel_axis": where.channel_axis, "node": where.tensor}
    if given.channel_axis is not None:
        del changes["channel_axis"]
    tied: Loss = dataclasses.replace(given, **changes)
    return tied


def _situation(
    model: Model,
    recipe: Recipe,
    aim: _Aim,
    targets: Sequence[Target],
    shapes: Mapping[str, tuple[int, ...]],
    item: ImageInput,
) -> Situation:
    """Tell what a preset chooses by."""
    target = targets[0]
    # A gate goes by the sign of the gradient, which a difference of classes does not have.
    raised = aim.goal == "maximize" and recipe.backprop is None and recipe.gradient_modifier != "negate"
    decides = raised and all(len(each.filters) == 1 for each in targets) and _decides(model, target)
    role = role_of(shapes.get(target.tensor, ()), target.channel_axis, item.size, decides=decides)
    return Situation(item.size, role, one_place=aim.neuron is not None, named=any(each.filters for each in targets))


def _check_whole(recipe: Recipe, targets: Sequence[Target], aim: _Aim) -> None:
    """Refuse filters and positions for objectives that look at a whole layer."""
    if recipe.objective not in ("deepdream", "caricature", "direction"):
        return
    if any(each.filters for each in targets):
        message = f"The objective {recipe.objective!r} looks at the whole layer: leave --filter out."
        raise SettingError(message, objective=recipe.objective)
    if aim.neuron is not None and recipe.objective != "direction":
        message = f"The objective {recipe.objective!r} looks at the whole layer: leave --neuron out."
        raise SettingError(message, objective=recipe.objective)


def _goal(recipe: Recipe, goal: Goal) -> Goal:
    """Return what an activation should become; the gradient modifier "negate" means the opposite."""
    if recipe.gradient_modifier != "negate":
        return goal
    if goal not in _OPPOSITE:
        message = "The gradient modifier 'negate' turns maximizing into minimizing; a value to reach has no opposite."
        raise SettingError(message, goal=goal)
    return _OPPOSITE[goal]


def _unit_of(model: Model, recipe: Recipe, aim: _Aim, target: Target, loss: ActivationMaximization) -> Target:
    moves = _moves(recipe, loss.goal)
    if loss.node is not None:
        return resolve(model, loss.node, loss.filters, channel_axis=loss.channel_axis, logits=moves)
    if loss.filters is None:
        return target
    return resolve(model, aim.node, loss.filters, channel_axis=recipe.channel_axis, logits=moves)


def _decides(model: Model, target: Target) -> bool:
    """Tell whether a tensor is an output of the model, or becomes one by a softmax: one of its filters is right."""
    for value in model.ir.graph.outputs:
        try:
            output = resolve(model, str(value.name))
        except OnnxvisError:
            # It is no tensor of floats, or depends on no input.
            continue
        if output.tensor != target.tensor:
            continue
        # Without a softmax, classes are what an affine map makes: features that are no classes mostly are not.
        if output.asked_op in _EXCLUSIVE or (not output.moved and (model.labels or made_by(value) in _AFFINE)):
            return True
    return False
