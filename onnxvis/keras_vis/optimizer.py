"""keras-vis's optimizer: the settings, quirks included, with which `onnxvis.maximize` computes the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.backprop import replace_backward
from onnxvis.engine import Engine
from onnxvis.errors import NothingReplacedError, SettingError
from onnxvis.gradients import modifier_of
from onnxvis.image_input import ImageInput
from onnxvis.keras_vis.arrays import deprocess_input
from onnxvis.keras_vis.callbacks import Print
from onnxvis.keras_vis.layers import layer_name, opened
from onnxvis.keras_vis.losses import ActivationMaximization, LayerActivation
from onnxvis.keras_vis.modifiers import InputModifier
from onnxvis.keras_vis.steps import l2_normalized, rmsprop
from onnxvis.keras_vis.values import Values, array_of, on_arrays, seed_values
from onnxvis.losses import as_objective
from onnxvis.maximize import Method, Step, maximize
from onnxvis.model import Model
from onnxvis.network import Network
from onnxvis.problem import Problem, Variable
from onnxvis.recipe import Recipe
from onnxvis.units import find_units
from onnxvis.verify import compare, require

Array = np.ndarray[Any, Any]


class Optimizer:
    """Makes the weighted sum of some losses small by a model's raw input values.

    Args:
        input_tensor: An ONNX model, in place of the input of Keras's: a path, bytes, `ModelProto` or `Model`.
        losses: (loss, weight) pairs; those of weight 0 or None are left out.
        input_range: What the input's values lie between: for the noise to start from and for the returned image alone.
        wrt_tensor: The name of the input to optimize; None: the first picture, else the first of floats.
        norm_grads: Whether the gradient is divided by its L2 norm.

    Raises:
        OnnxvisError: The model, a layer or an input is wrong.
    """

    def __init__(
        self,
        input_tensor: Any,
        losses: Sequence[tuple[Any, float | None]],
        input_range: tuple[float, float] = (0, 255),
        wrt_tensor: str | None = None,
        norm_grads: bool = True,  # noqa: FBT001, FBT002 - keras-vis's signature
    ) -> None:
        _check_range(input_range)
        given = opened(input_tensor)
        bound = [(_bound(given.model, loss), weight) for loss, weight in losses if weight is not None and weight != 0]
        objective = as_objective(bound)
        layers = [loss.node for loss, _ in bound if isinstance(loss, LayerActivation)]
        recipe = Recipe(
            node=layers[0] if layers else None,
            losses=objective,
            wrt=wrt_tensor,
            preprocess="none",  # the image is the model's raw input
            logits=False,  # a softmax is maximized as it is
        )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Rounded as the definitions are written: some losses pass near zero, where rounding shows.
        self.units = find_units(given.model, recipe, device, simplified=False)
        self.network = _modified(self.units.network, given.backprop)
        self.loss_names = [str(getattr(loss, "name", None) or getattr(loss, "__name__", "loss")) for loss, _ in bound]
        self.input_range = input_range
        self.norm_grads = norm_grads

    def minimize(
        self,
        seed_input: Array | None = None,
        max_iter: int = 200,
        input_modifiers: Sequence[InputModifier] | None = None,
        grad_modifier: str | Callable[[Array], Array] | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: bool = True,  # noqa: FBT001, FBT002 - keras-vis's signature
    ) -> tuple[Array, Array, Array]:
        """Run the optimizer.

        Args:
            seed_input: (*spatial, channels) raw values to start from; None: noise around the middle of the range.
            max_iter: The number of steps.
            input_modifiers: Objects with `pre` and `post`: called with the input before and after each step.
            grad_modifier: "negate", "absolute", "invert", "relu", "small_values", or a function of (1, *spatial,
                channels) arrays.
            callbacks: Functions, or objects with a method `callback`: called with (i, named_losses, overall_loss,
                grads, wrt_value) in each iteration. Those that have a method `on_end` are told when the run is over.
            verbose: Whether the losses of each iteration are printed.

        Returns:
            tuple: The whitened image, (*spatial, channels); the last gradient and the last input before a step, each
            (1, *spatial, channels).

        Raises:
            NonFiniteLossError: A loss became NaN or infinite.
            VerificationError: The torch graph and onnxruntime disagree.
        """
        if max_iter < 1:
            message = f"max_iter must be at least 1, not {max_iter}."
            raise SettingError(message, max_iter=max_iter)
        _check_objects(input_modifiers or (), callbacks or ())
        name, item = self._input
        start = seed_values(item, seed_input, self.input_range)
        told = _Told(item, self.loss_names, [*(callbacks or ()), *([Print()] if verbose else ())])
        self._verify(start)
        method = self._method(max_iter, list(input_modifiers or ()), grad_modifier)
        run = maximize(self._problem(), method, seeds=[0], seed_images={name: start}, callbacks=[told])
        if run.interrupted:
            raise KeyboardInterrupt
        told.finish()
        return deprocess_input(array_of(item, run.images[name])[0], self.input_range), told.grads, told.wrt_value

    @property
    def _input(self) -> tuple[str, ImageInput]:
        return next(iter(self.units.inputs.optimized.items()))

    def _problem(self) -> Problem:
        units = self.units
        name, item = self._input
        engine = Engine(
            network=self.network,
            inputs=units.inputs.optimized,
            outputs=units.outputs,
            count=1,
            unbatched=units.unbatched,
            # Quirk: rectifiers gate the gradient of the loss, which falls as the activation rises.
            ascending=False,
        )
        return Problem(
            engine=engine,
            variables={name: Variable(item.image_shape, Values())},
            objective=units.objective,
            filters=((),),
            gradient_modifier=None,
            device=units.device,
        )

    def _method(
        self,
        steps: int,
        modifiers: Sequence[InputModifier],
        grad_modifier: str | Callable[[Array], Array] | None,
    ) -> Method:
        _, item = self._input
        return Method(
            steps=steps,
            optimizer=rmsprop,
            gradient=self._gradient(grad_modifier),
            # Quirk: the image that is returned is one step further than the one whose loss was the lowest.
            keep="after best",
            before=on_arrays(item, [modifier.pre for modifier in modifiers], "input modifier") if modifiers else None,
            after=on_arrays(item, [modifier.post for modifier in reversed(modifiers)], "input modifier")
            if modifiers
            else None,
            # Quirk: where there is no gradient, the seed is returned without a word.
            start=False,
        )

    def _gradient(self, grad_modifier: str | Callable[[Array], Array] | None) -> Callable[[Tensor], Tensor]:
        """Return what becomes of the gradient of the whole loss.

        Quirk: a modifier changes the penalties' gradient with the activation's: "negate" turns all of them, and the
        image that is kept is still the one of the lowest loss, which is the first.
        """
        _, item = self._input
        if grad_modifier is None:
            modifier = None
        elif callable(grad_modifier):
            modifier = on_arrays(item, [grad_modifier], "gradient modifier")
        else:
            modifier = modifier_of(grad_modifier)

        def modified(gradient: Tensor) -> Tensor:
            normalized = l2_normalized(gradient) if self.norm_grads else gradient
            return normalized if modifier is None else modifier(normalized)

        return modified

    def _verify(self, start: Tensor) -> None:
        """Compare the network with onnxruntime on the values that are started from."""
        name, item = self._input
        units = self.units
        feeds = {**units.inputs.held, name: item.feed_one(start).contiguous().numpy()}
        require(units.model, compare(units.model, units.network, units.tensors, feeds), units.inputs.shapes, feeds)


def _check_range(given: Any) -> None:
    numbers = given if isinstance(given, (tuple, list)) else ()
    if len(numbers) != 2 or not all(isinstance(end, (int, float)) for end in numbers) or not numbers[0] < numbers[1]:  # noqa: PLR2004 - (low, high)
        message = f"input_range is a lower and a higher number, such as (0, 255), not {given!r}."
        raise SettingError(message, input_range=given)


def _check_objects(modifiers: Sequence[Any], callbacks: Sequence[Any]) -> None:
    for modifier in modifiers:
        if not (hasattr(modifier, "pre") and hasattr(modifier, "post")):
            message = f"An input modifier has the methods pre and post, as Jitter has; {modifier!r} has not."
            raise SettingError(message, input_modifier=modifier)
    for callback in callbacks:
        if not callable(getattr(callback, "callback", callback)):
            message = f"A callback is a function, or has a method callback; {callback!r} is neither."
            raise SettingError(message, callback=callback)


class _Told:
    """Tells keras-vis's callbacks what the optimizer tells its own."""

    def __init__(self, item: ImageInput, names: Sequence[str], callbacks: Sequence[Any]) -> None:
        self.item, self.names, self.callbacks = item, names, callbacks
        self.last: Step | None = None

    def __call__(self, step: Step) -> None:
        self.last = step
        if not self.callbacks:
            return
        values = step.terms[:, 0].cpu().numpy()
        named, overall = list(zip(self.names, values, strict=True)), values.sum()
        grads, wrt_value = self.grads, self.wrt_value
        for callback in self.callbacks:
            getattr(callback, "callback", callback)(step.number - 1, named, overall, grads, wrt_value)

    @property
    def grads(self) -> Array:
        (gradient,) = next(iter(self._step.gradients.values()))
        return array_of(self.item, gradient)

    @property
    def wrt_value(self) -> Array:
        return array_of(self.item, self._step.image)

    @property
    def _step(self) -> Step:
        if self.last is None:
            message = "no step has been made"
            raise RuntimeError(message)
        return self.last

    def finish(self) -> None:
        for callback in self.callbacks:
            end = getattr(callback, "on_end", None)
            if end is not None:
                end()


def _bound(model: Model, loss: Any) -> Any:
    """Tie an activation to a layer of a model; other losses are what they are."""
    if not isinstance(loss, ActivationMaximization):
        return loss
    given: Any = loss.filter_indices
    several = isinstance(given, Iterable) and not isinstance(given, str)
    filters: Any = None if given is None else tuple(given) if several else (given,)
    return LayerActivation(filters=filters, node=layer_name(model, loss.layer))


def _modified(network: Network, backprop: str | None) -> Network:
    """Replace the backward pass of the Relu operators, and of no other rectifier, as keras-vis does."""
    if backprop is None:
        return network
    try:
        return replace_backward(network, backprop, operators={"Relu"})
    except NothingReplacedError:
        # Quirk: a model without Relu has its usual gradient, and nobody is told.
        return network
