"""What an optimization starts from: noise of rising contrast, until the activation has a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.groups import Tuning
from onnxvis.losses import ActivationMaximization, Scene, sum_of
from onnxvis.objectives import Margin
from onnxvis.problem import Parameters, Problem

CONTRASTS = (1.0, 3.0, 10.0)
"""Starts that are tried until one has a gradient: a unit may be silent near grey and answer to strong contrast."""
_WAKING_STEPS, _WAKING_CHECK, _WAKING_RATE = 64, 8, 0.05
"""What a dead unit is given with relaxed rectifiers: steps, of this size, and how often the true gradient is tried."""


def column(mask: Tensor, like: Tensor) -> Tensor:
    """Give a mask of images, (N,), as many axes as a tensor has."""
    return mask.view(-1, *[1] * (like.ndim - 1))


def non_finite(name: str, step: int) -> NonFiniteLossError:
    """Return the error that names a loss and the step at which it came to NaN or infinity."""
    message = (
        f"The loss {name!r} became NaN or infinite at step {step}. Check the preprocessing and its range, lower the "
        "learning rate, hold a mask among the inputs at one (--input NAME=1), or take a target before the node that "
        "overflows."
    )
    return NonFiniteLossError(message, loss=name, step=step)


def generator(seed: int, attempt: int, variable: int = 0) -> torch.Generator:
    """Return a generator whose draws a seed determines; attempt 0 is that of the transforms."""
    key = (seed, 0, attempt) if variable == 0 else (seed, 0, attempt, variable)
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)


@dataclass(frozen=True)
class Start:
    """Where an optimization begins.

    Attributes:
        parameters: The parameters of the images by input name.
        images: The images of the first draw, or of the seed: by input name, (N, C, *spatial) in [0, 1], on the CPU.
        contrasts: For each image that of its start, in units of the usual one; 0 where the unit is dead.
        woken: For each image the steps with relaxed rectifiers after which its activation had a gradient; 0: it needed
            none.
    """

    parameters: dict[str, tuple[Tensor, ...]]
    images: dict[str, Tensor]
    contrasts: Tensor
    woken: Tensor


def start(problem: Problem, seeds: Sequence[int], seed_images: Mapping[str, Tensor], *, tried: bool) -> Start:
    """Return for each image the first start at which its activation has a gradient.

    Where noise of no contrast has one, the rectifiers of the network are relaxed for some steps: the gradient passes
    through those that are closed, as in Olah et al., "Feature Visualization" (2017), until the true one is not zero.

    Raises:
        DeadUnitError: No image has a gradient, whatever is tried.
    """
    contrasts = CONTRASTS if tried and not seed_images else CONTRASTS[:1]
    chosen: dict[str, tuple[Tensor, ...]] = {}
    found = torch.zeros(problem.count)
    for attempt, contrast in enumerate(contrasts):
        drawn = _drawn(problem, seeds, seed_images, attempt + 1, contrast)
        new = ~found.bool()
        chosen = _where(new, drawn, chosen) if chosen else drawn
        reached = _has_gradient(problem, drawn) if tried else torch.ones(problem.count, dtype=torch.bool)
        found = torch.where(new & reached, contrast, found)
        if bool(found.all()):
            break
    images = rendered(problem, chosen)
    woken = torch.zeros(problem.count, dtype=torch.int64)
    if not bool(found.all()):
        chosen, woken = _woken(problem, chosen, ~found.bool())
        found = torch.where(woken > 0, contrasts[-1], found)
    if not bool(found.any()):
        raise _dead(bool(seed_images), len(contrasts), relaxed=problem.relaxed is not None)
    return Start(chosen, images, found, woken)


def rendered(problem: Problem, parameters: Parameters) -> dict[str, Tensor]:
    """Return the images that parameters mean, on the CPU."""
    with torch.no_grad():
        # A copy: parameters that are the images go on changing.
        return {name: image.cpu().clone() for name, image in problem.render(parameters).items()}


def _where(mask: Tensor, chosen: Parameters, others: Parameters) -> dict[str, tuple[Tensor, ...]]:
    """Take the parameters of some images, and those of the others from elsewhere."""
    return {
        name: tuple(
            torch.where(column(mask.to(other.device), other), one, other).detach().requires_grad_()
            for one, other in zip(chosen[name], others[name], strict=True)
        )
        for name in chosen
    }


def _woken(
    problem: Problem, parameters: dict[str, tuple[Tensor, ...]], dead: Tensor
) -> tuple[dict[str, tuple[Tensor, ...]], Tensor]:
    """Move dead images through relaxed rectifiers until they have a gradient; count the steps, 0 if they never do."""
    steps = torch.zeros(problem.count, dtype=torch.int64)
    engine = None if problem.relaxed is None else problem.relaxed()
    if engine is None:
        return parameters, steps
    relaxed = dataclasses.replace(problem, engine=engine)
    moved = _where(dead, parameters, parameters)
    tensors = [tensor for item in moved.values() for tensor in item]
    optimizer = torch.optim.Adam(tensors, lr=_WAKING_RATE)
    for step in range(1, _WAKING_STEPS + 1):
        terms = relaxed.objective(relaxed.scene(relaxed.render(moved), None))
        total = sum_of([term.sum() for term in terms])
        if not total.requires_grad:
            break
        gradients = torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()
        if step % _WAKING_CHECK == 0:
            awake = dead & (steps == 0) & _has_gradient(problem, moved)
            parameters = _where(awake, moved, parameters)
            steps = torch.where(awake, step, steps)
            if bool((steps > 0)[dead].all()):
                break
    return parameters, steps


def _dead(seeded: bool, count: int, *, relaxed: bool) -> DeadUnitError:  # noqa: FBT001 - of one reader
    starts = "at the seed image" if seeded else f"at {count} starts of rising contrast"
    then = f" and after {_WAKING_STEPS} steps with relaxed rectifiers" if relaxed else ""
    message = (
        f"The unit is dead {starts}{then}: its activation has no gradient at all. Try another --seed, a photo as "
        "--from, the tensor before the ReLU as --node, or another --preprocess; 'onnxvis doctor' looks closer."
    )
    return DeadUnitError(message, starts=count)


def _drawn(
    problem: Problem, seeds: Sequence[int], seed_images: Mapping[str, Tensor], attempt: int, contrast: float
) -> dict[str, tuple[Tensor, ...]]:
    """Draw the parameters of a start."""
    drawn = {}
    for number, (name, item) in enumerate(problem.variables.items()):
        generators = [generator(seed, attempt, number) for seed in seeds]
        tensors = item.parameterization.start(
            (problem.count, *item.image_shape), generators, seed_image=seed_images.get(name), contrast=contrast
        )
        # A copy: a seed image may be repeated for all images without memory of its own.
        drawn[name] = tuple(tensor.to(problem.device).clone().contiguous().requires_grad_() for tensor in tensors)
    return drawn


def _has_gradient(problem: Problem, parameters: Parameters) -> Tensor:
    """Tell whether the activation of each image has a gradient, and all of its terms and gradients are finite."""
    scene = problem.scene(problem.render(parameters), None)
    terms = problem.objective(scene)
    tensors = [tensor for item in parameters.values() for tensor in item]
    reached = torch.zeros(problem.count, dtype=torch.bool)
    finite = torch.ones(problem.count, dtype=torch.bool)
    losses = [loss if weight else None for loss, weight in problem.objective.terms]
    is_activation = [isinstance(loss, ActivationMaximization) for loss in losses]
    # Without an activation the first term is what is asked for; the others regularize.
    asked = is_activation if any(is_activation) else [index == 0 for index in range(len(losses))]
    for loss, counts, name, term in zip(losses, asked, problem.objective.names, terms, strict=True):
        gradient = _gradient(term, tensors)
        sound = torch.isfinite(term).cpu(), torch.isfinite(gradient).all(1).cpu()
        for whole, blamed in zip(sound, (name, f"gradient of {name}"), strict=True):
            finite &= whole
            if not bool(finite.any()):
                raise non_finite(blamed, 1)
        if counts:
            own = _gradient(_own(loss, scene), tensors) if isinstance(loss, Margin) else gradient
            reached |= own.ne(0).any(1).cpu()
        if isinstance(loss, Tuning) or (
            isinstance(loss, ActivationMaximization) and isinstance(loss.goal, (int, float))
        ):
            # The value is there already.
            reached |= term.eq(0).cpu()
    return reached & finite


def _own(loss: Margin, scene: Scene) -> Tensor:
    """Return the activation of a margin's own filters: that others have a gradient does not wake a dead unit."""
    return scene.unit(scene.filters_of(loss.filters), loss.node, loss.channel_axis, loss.neuron)


def _gradient(term: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Return the gradient of one loss with respect to all parameters of each image, (N, M)."""
    if not term.requires_grad:
        return torch.zeros(len(tensors[0]), 1)
    gradients = torch.autograd.grad(term.sum(), tensors, allow_unused=True, materialize_grads=True, retain_graph=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)
