"""The optimizer that all pictures share: move an image until a network's loss is small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.images import Parameterization
from onnxvis.losses import ActivationMaximization, Objective, Scene
from onnxvis.network import Network
from onnxvis.preprocess import Preprocess
from onnxvis.transforms import Transform

OnStep = Callable[[int, Mapping[str, float]], None]
"""Called after a step with its number, from 1, and the value of each loss, averaged over the batch."""

CONTRASTS = (1.0, 3.0, 10.0)
"""Starts that are tried until one has a gradient: a unit may be silent near grey and answer to strong contrast."""
_CHECK_EVERY = 16


@dataclass(frozen=True)
class Problem:
    """One optimization: what is optimized, through what, for what.

    Attributes:
        network: The lowered model up to the targets.
        activations: Which of the network's outputs each name means that losses use; "" is the target.
        objective: Losses and weights.
        image_name: The network's input that holds the image.
        image_shape: (N, C, H, W).
        preprocess: From images to that input.
        held: The network's other inputs.
        parameterization: How images are written as parameters.
        transforms: What is done to them before each step.
        device: Where to compute.
    """

    network: Network = field(repr=False)
    activations: Mapping[str, int]
    objective: Objective
    image_name: str
    image_shape: tuple[int, ...]
    preprocess: Preprocess
    held: Mapping[str, Tensor] = field(repr=False)
    parameterization: Parameterization
    transforms: tuple[Transform, ...]
    device: torch.device

    def scene(self, image: Tensor, generators: Sequence[torch.Generator] | None) -> Scene:
        """Look at an image through the network; without generators, without transforms."""
        view = image
        for transform in () if generators is None else self.transforms:
            view = transform(view, generators or ())
        fed = self.preprocess.to_input(view)
        names: Sequence[str] = self.network.input_names
        result = self.network(*(fed if name == self.image_name else self.held[name] for name in names))
        outputs = (result,) if isinstance(result, Tensor) else result
        return Scene(image, fed, {name: outputs[index] for name, index in self.activations.items()})

    def render(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """Return the images that the parameters mean."""
        return self.parameterization.render(parameters, self.image_shape)


@dataclass(frozen=True)
class Run:
    """What an optimization gave.

    Attributes:
        image: (N, C, H, W) in [0, 1], on the CPU.
        start: The image that it started from.
        losses: The names of the losses.
        history: (steps done, losses, N): the weighted losses before each step.
        interrupted: Whether it was stopped by Ctrl-C.
        contrast: Of the start, in units of the usual one.
    """

    image: Tensor = field(repr=False)
    start: Tensor = field(repr=False)
    losses: tuple[str, ...]
    history: Tensor = field(repr=False)
    interrupted: bool
    contrast: float = 1.0


def maximize(
    problem: Problem,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    seed_image: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Run:
    """Optimize images for an objective with Adam (Kingma and Ba, 2015).

    The same problem, steps, learning rate and seed give the same bits on the same machine. Image k draws from its own
    generator, so that it does not depend on the others.

    Args:
        problem: What to optimize.
        steps: Number of steps.
        learning_rate: Of Adam, on the parameters.
        seed: Of all random numbers.
        seed_image: (C, H, W) in [0, 1] to start from; None: noise.
        on_step: Called after each step; asking for values every step costs a synchronization on a GPU.

    Raises:
        DeadUnitError: The gradient of the activation is exactly zero at every start.
        NonFiniteLossError: A loss or its gradient became NaN or infinite.
    """
    generators = generators_of(seed, problem.image_shape[0])
    parameters, contrast = _start(problem, seed, seed_image)
    start = problem.render(parameters).detach().cpu()
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    names = tuple(problem.objective.names)
    history = torch.zeros((steps, len(names), problem.image_shape[0]), device=problem.device)
    done, interrupted = 0, False
    try:
        for step in range(steps):
            terms = torch.stack(problem.objective(problem.scene(problem.render(parameters), generators)))
            optimizer.zero_grad(set_to_none=True)
            terms.sum().backward()  # type: ignore[no-untyped-call] # torch does not annotate it
            optimizer.step()
            history[step] = terms.detach()
            done = step + 1
            _report(history, names, done, last=done == steps, on_step=on_step)
    except KeyboardInterrupt:
        interrupted = True
    with torch.no_grad():
        image = problem.render(parameters).cpu()
    _check_finite(history, names, done)
    if not bool(torch.isfinite(image).all()):
        blamed = f"gradient of {' + '.join(names)}"
        raise _non_finite(blamed, done)
    return Run(image, start, names, history[:done].cpu(), interrupted, contrast)


def _report(history: Tensor, names: Sequence[str], done: int, *, last: bool, on_step: OnStep | None) -> None:
    if last or done % _CHECK_EVERY == 0:
        _check_finite(history, names, done)
    if on_step is not None:
        values = history[done - 1].mean(1).tolist()
        on_step(done, dict(zip(names, values, strict=True)))


def _check_finite(history: Tensor, names: Sequence[str], done: int) -> None:
    begin = max(0, done - _CHECK_EVERY)
    wrong = ~torch.isfinite(history[begin:done])
    if not bool(wrong.any()):
        return
    step, term, _ = (int(index) for index in wrong.nonzero()[0])
    raise _non_finite(names[term], begin + step + 1)


def _non_finite(name: str, step: int) -> NonFiniteLossError:
    message = (
        f"The loss {name!r} became NaN or infinite at step {step}. Check the preprocessing and its range, lower the "
        "learning rate, or take a target before the node that overflows."
    )
    return NonFiniteLossError(message, loss=name, step=step)


def generators_of(seed: int, count: int, attempt: int = 0) -> list[torch.Generator]:
    """Return one generator for each image; a seed and an image's number determine all of its draws."""
    states = [
        int(np.random.SeedSequence((seed, index, attempt)).generate_state(1, np.uint64)[0]) for index in range(count)
    ]
    return [torch.Generator().manual_seed(state) for state in states]


def _start(problem: Problem, seed: int, seed_image: Tensor | None) -> tuple[tuple[Tensor, ...], float]:
    """Return the first start at which the activation of every image has a gradient, and its contrast."""
    contrasts = CONTRASTS if seed_image is None else CONTRASTS[:1]
    for attempt, contrast in enumerate(contrasts):
        # The numbers that follow in the transforms come from other generators: attempt 0 is theirs.
        generators = generators_of(seed, problem.image_shape[0], attempt + 1)
        drawn = problem.parameterization.start(
            problem.image_shape, generators, seed_image=seed_image, contrast=contrast
        )
        parameters = tuple(tensor.to(problem.device).contiguous().requires_grad_() for tensor in drawn)
        if _has_gradient(problem, parameters):
            return parameters, contrast
    starts = "at the seed image" if seed_image is not None else f"at {len(contrasts)} starts of rising contrast"
    message = (
        f"The unit is dead {starts}: its activation has no gradient at all. Try another --seed, a photo as "
        "--seed-image, the tensor before the ReLU as --node, or another --preprocess."
    )
    raise DeadUnitError(message, starts=len(contrasts))


def _has_gradient(problem: Problem, parameters: tuple[Tensor, ...]) -> bool:
    """Tell whether the activation of every image has a gradient; all terms must be finite, and their gradients too."""
    terms = problem.objective(problem.scene(problem.render(parameters), None))
    reached = torch.zeros(problem.image_shape[0], dtype=torch.bool)
    pairs = list(zip(problem.objective.names, terms, problem.objective.terms, strict=True))
    is_activation = [isinstance(loss, ActivationMaximization) for _, _, (loss, _) in pairs]
    for counts, (name, term, _) in zip(is_activation, pairs, strict=True):
        gradient = _gradient(term, parameters)
        if not bool(torch.isfinite(term).all()):
            raise _non_finite(name, 1)
        if not bool(torch.isfinite(gradient).all()):
            blamed = f"gradient of {name}"
            raise _non_finite(blamed, 1)
        if counts or not any(is_activation):
            reached |= gradient.ne(0).any(1).cpu()
    return bool(reached.all())


def _gradient(term: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
    """Return the gradient of one loss with respect to all parameters of each image, (N, M)."""
    if not term.requires_grad:
        return torch.zeros(len(parameters[0]), 1)
    gradients = torch.autograd.grad(
        term.sum(), parameters, allow_unused=True, materialize_grads=True, retain_graph=True
    )
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)
