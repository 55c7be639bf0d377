"""What an optimization starts from: noise of rising contrast, until the activation has a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.losses import ActivationMaximization
from onnxvis.problem import Parameters, Problem

CONTRASTS = (1.0, 3.0, 10.0)
"""Starts that are tried until one has a gradient: a unit may be silent near grey and answer to strong contrast."""


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


def start(
    problem: Problem, seeds: Sequence[int], seed_images: Mapping[str, Tensor], *, tried: bool
) -> tuple[dict[str, tuple[Tensor, ...]], Tensor]:
    """Return for each image the first start at which its activation has a gradient, and the contrast of it."""
    contrasts = CONTRASTS if tried and not seed_images else CONTRASTS[:1]
    chosen: dict[str, tuple[Tensor, ...]] = {}
    found = torch.zeros(problem.count)
    for attempt, contrast in enumerate(contrasts):
        drawn = _drawn(problem, seeds, seed_images, attempt + 1, contrast)
        new = ~found.bool()
        if not chosen:
            chosen = drawn
        elif bool(new.any()):
            chosen = {
                name: tuple(
                    torch.where(column(new.to(before.device), before), after, before).detach().requires_grad_()
                    for before, after in zip(chosen[name], drawn[name], strict=True)
                )
                for name in chosen
            }
        reached = _has_gradient(problem, drawn) if tried else torch.ones(problem.count, dtype=torch.bool)
        found = torch.where(new & reached, contrast, found)
        if bool(found.all()):
            break
    if not bool(found.any()):
        raise _dead(bool(seed_images), len(contrasts))
    return chosen, found


def _dead(seeded: bool, count: int) -> DeadUnitError:  # noqa: FBT001 - of one reader
    starts = "at the seed image" if seeded else f"at {count} starts of rising contrast"
    message = (
        f"The unit is dead {starts}: its activation has no gradient at all. Try another --seed, a photo as "
        "--seed-image, the tensor before the ReLU as --node, or another --preprocess."
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
    terms = problem.objective(problem.scene(problem.render(parameters), None))
    tensors = [tensor for item in parameters.values() for tensor in item]
    reached = torch.zeros(problem.count, dtype=torch.bool)
    finite = torch.ones(problem.count, dtype=torch.bool)
    losses = [loss if weight else None for loss, weight in problem.objective.terms]
    is_activation = [isinstance(loss, ActivationMaximization) for loss in losses]
    for loss, counts, name, term in zip(losses, is_activation, problem.objective.names, terms, strict=True):
        gradient = _gradient(term, tensors)
        sound = torch.isfinite(term).cpu(), torch.isfinite(gradient).all(1).cpu()
        for whole, blamed in zip(sound, (name, f"gradient of {name}"), strict=True):
            finite &= whole
            if not bool(finite.any()):
                raise non_finite(blamed, 1)
        if counts or not any(is_activation):
            reached |= gradient.ne(0).any(1).cpu()
        if isinstance(loss, ActivationMaximization) and isinstance(loss.goal, (int, float)):
            # The value is there already.
            reached |= term.eq(0).cpu()
    return reached & finite


def _gradient(term: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Return the gradient of one loss with respect to all parameters of each image, (N, M)."""
    if not term.requires_grad:
        return torch.zeros(len(tensors[0]), 1)
    gradients = torch.autograd.grad(term.sum(), tensors, allow_unused=True, materialize_grads=True, retain_graph=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)
