"""The optimizer that all pictures share: move images until a network's losses are small.

Each image of a batch has its own random generators, its own losses and its own end: what becomes of it does not depend
on its neighbors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from onnxvis.image_input import ImageInput
from onnxvis.losses import sum_of
from onnxvis.network import full_precision
from onnxvis.problem import Problem
from onnxvis.starts import Start, column, generator, non_finite, start

Optimizers = Callable[[list[Tensor], float], torch.optim.Optimizer]
"""Makes the optimizer of some parameters for a learning rate."""

PLATEAU = 0.01
"""The least improvement, relative to the loss, over as many steps as the patience."""
_CHECK_EVERY = 16


def adam(parameters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    """Adam: Kingma and Ba (2015), https://arxiv.org/abs/1412.6980."""
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


@dataclass(frozen=True)
class Method:
    """How the images move.

    Attributes:
        steps: Number of steps.
        learning_rate: Size of a step, on the parameters.
        patience: Stop an image when its loss has hardly fallen over so many steps; None: never.
        views: Random views of each image in a step; the step follows the mean of their gradients.
        anneal: The last part of the steps, from 0 to 1, in which these get ever smaller.
        settle: The last part of the steps in which the images are looked at straight, without transforms.
        optimizer: Makes the optimizer.
        gradient: What is done to the gradient of each parameter before a step; None: nothing.
        keep: Which image is returned. "best": that of the lowest loss among those that were looked at without
            transforms, else the last; "last"; "after best": the one after the step that began at the lowest loss.
        before: Called with the images' parameters before each step, and may change them: input modifiers.
        after: The same after each step.
        start: Whether starts of higher contrast are tried where the activation has no gradient.
        transparency: Whether the gradients of the picture are added up, for `Run.influence`.
    """

    steps: int = 256
    learning_rate: float = 0.05
    patience: int | None = None
    views: int = 1
    anneal: float = 0.0
    settle: float = 0.0
    optimizer: Optimizers = adam
    gradient: Callable[[Tensor], Tensor] | None = None
    keep: Literal["best", "last", "after best"] = "best"
    before: Callable[[Tensor], Tensor] | None = None
    after: Callable[[Tensor], Tensor] | None = None
    start: bool = True
    transparency: bool = False


@dataclass(frozen=True)
class Step:
    """What a callback is told after a step; reading values makes a GPU wait.

    Attributes:
        number: Of the step, from 1.
        steps: How many there will be.
        names: The names of the losses.
        terms: (losses, N): the weighted losses before the step, averaged over its views.
        images: The images before the step by input name, (N, C, *spatial) in [0, 1]; the first is the picture.
        gradients: The gradients by which the step was made, of the parameters, by input name.
        inputs: What the images are.
    """

    number: int
    steps: int
    names: tuple[str, ...]
    terms: Tensor = field(repr=False)
    images: Mapping[str, Tensor] = field(repr=False)
    gradients: Mapping[str, tuple[Tensor, ...]] = field(repr=False)
    inputs: Mapping[str, ImageInput] = field(repr=False)

    @property
    def losses(self) -> dict[str, float]:
        """The weighted losses by name, averaged over the images."""
        return dict(zip(self.names, self.terms.mean(1).tolist(), strict=True))

    @property
    def image(self) -> Tensor:
        """The images of the first input."""
        return next(iter(self.images.values()))


Callback = Callable[[Step], Any]
"""Called after each step. One that has a method `final` is told the images that a run gave, and after how many steps;
one that has a method `finish` is told when all runs are over."""


def finish(callbacks: Sequence[Callback]) -> None:
    """Tell callbacks that the run is over, those that want to know."""
    for callback in callbacks:
        end = getattr(callback, "finish", None)
        if end is not None:
            end()


@dataclass(frozen=True)
class Run:
    """What an optimization gave.

    Attributes:
        images: By input name: (N, C, *spatial) in [0, 1], on the CPU.
        starts: The images that it started from.
        losses: The names of the losses.
        history: (steps done, losses, N): the weighted losses before each step.
        steps: For each image the number of steps until it was done.
        interrupted: Whether it was stopped by Ctrl-C.
        contrasts: For each image that of its start, in units of the usual one; 0 where no start had a gradient.
        failed: For each image whether a loss or its gradient became NaN or infinite.
        woken: For each image the steps with relaxed rectifiers that it took to get a gradient, see `starts`.
        influence: (N, C, *spatial): the absolute gradients of the picture, added up over the steps; or None.
    """

    images: Mapping[str, Tensor] = field(repr=False)
    starts: Mapping[str, Tensor] = field(repr=False)
    losses: tuple[str, ...]
    history: Tensor = field(repr=False)
    steps: tuple[int, ...]
    interrupted: bool
    contrasts: tuple[float, ...]
    failed: tuple[bool, ...]
    woken: tuple[int, ...]
    influence: Tensor | None = field(default=None, repr=False)


def maximize(
    problem: Problem,
    method: Method,
    *,
    seeds: Sequence[int],
    seed_images: Mapping[str, Tensor] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Optimize images for an objective.

    The same problem, method and seeds give the same bits on the same machine.

    Args:
        problem: What to optimize.
        method: How.
        seeds: Of all random numbers, one for each image.
        seed_images: (C, *spatial) in [0, 1] to start from, by input name; others start from noise.
        callbacks: Called after each step.

    Raises:
        DeadUnitError: The gradient of the activation is exactly zero at every start, for all images. Where it is so
            for some, the others are made.
        NonFiniteLossError: A loss or its gradient became NaN or infinite, for all images.
    """
    with full_precision():
        beginning = start(problem, seeds, seed_images or {}, tried=method.start)
        return _Loop(problem, method, beginning).run([generator(seed, 0) for seed in seeds], callbacks)


class _Loop:
    """One optimization under way."""

    def __init__(self, problem: Problem, method: Method, beginning: Start) -> None:
        self.problem, self.method, self.parameters = problem, method, beginning.parameters
        self.tensors = [tensor for item in beginning.parameters.values() for tensor in item]
        self.names = tuple(problem.objective.names)
        self.contrasts, self.woken = beginning.contrasts, beginning.woken
        self.done = 0
        self.starts = beginning.images
        self.influence: Tensor | None = None
        self.optimizer = method.optimizer(self.tensors, method.learning_rate)
        self.history = torch.zeros((method.steps, len(self.names), problem.count), device=problem.device)
        self.ends = torch.full((problem.count,), method.steps)
        self.lowest = torch.full((problem.count,), torch.inf, device=problem.device)
        # What is returned for an image that has ended, or whose best is kept.
        self.kept = [tensor.detach().clone() for tensor in self.tensors]
        self.is_kept = torch.zeros(problem.count, dtype=torch.bool, device=problem.device)
        self.failed = torch.zeros(problem.count, dtype=torch.bool)

    def run(self, generators: Sequence[torch.Generator], callbacks: Sequence[Callback]) -> Run:
        interrupted = False
        try:
            for step in range(self.method.steps):
                self._step(step, generators, callbacks)
                if self.done % _CHECK_EVERY == 0:
                    self._check(self.done)
                    if self._all_ended(self.done):
                        break
        except KeyboardInterrupt:
            interrupted = True
        done = self.done
        self._check(done)
        self._keep_last(done)
        images = self._result()
        for image in images.values():
            self._fail(~torch.isfinite(image.flatten(1)).all(1), f"gradient of {' + '.join(self.names)}", done)
        history, ends = self.history[:done].cpu(), self.ends.clamp(max=done).tolist()
        return Run(
            images=images,
            starts=self.starts,
            losses=self.names,
            history=history,
            steps=tuple(ends),
            interrupted=interrupted,
            contrasts=tuple(self.contrasts.tolist()),
            failed=tuple(self.failed.tolist()),
            woken=tuple(self.woken.tolist()),
            influence=None if self.influence is None else self.influence.cpu(),
        )

    def _step(self, step: int, generators: Sequence[torch.Generator], callbacks: Sequence[Callback]) -> None:
        self._rewrite(self.method.before)
        straight = self._slows_and_settles(step)
        images = self.problem.render(self.parameters)
        terms, by_image = self._looked_at(images, None if straight else generators)
        self._add_influence(torch.where(column(self._ended(), by_image[0]), 0, by_image[0]))
        self.optimizer.zero_grad(set_to_none=True)
        by_parameter = torch.autograd.grad(
            list(images.values()), self.tensors, by_image, allow_unused=True, materialize_grads=True
        )
        for tensor, gradient in zip(self.tensors, by_parameter, strict=True):
            tensor.grad = gradient if self.method.gradient is None else self.method.gradient(gradient)
        self.history[step] = terms.detach()
        told = [tensor.grad for tensor in self.tensors]
        if callbacks:
            # The optimizer changes the parameters in place: images that are views of them too.
            shown = {name: image.detach().clone() for name, image in images.items()}
        better = self._better(terms.detach(), straight=straight)
        if better is not None and self.method.keep == "best":
            self._keep(better)
        self.optimizer.step()
        self._rewrite(self.method.after)
        self.done = step + 1
        if better is not None and self.method.keep == "after best":
            self._keep(better)
        for callback in callbacks:
            callback(
                Step(
                    step + 1,
                    self.method.steps,
                    self.names,
                    terms.detach(),
                    shown,
                    self._by_input(told),
                    self.problem.engine.inputs,
                )
            )

    def _looked_at(
        self, images: Mapping[str, Tensor], generators: Sequence[torch.Generator] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the terms and the gradient of each input, averaged over the views; one view is in memory at a time."""
        leaves = {name: image.detach().requires_grad_() for name, image in images.items()}
        views = self.method.views if generators is not None else 1
        terms: list[Tensor] = []
        gradients: list[Sequence[Tensor]] = []
        for _ in range(views):
            seen = self._terms(leaves, generators)
            gradients.append(self._gradients(seen, list(leaves.values())))
            terms.append(seen.detach())
        if views == 1:
            return terms[0], list(gradients[0])
        return sum_of(terms) / views, [sum_of(of_input) / views for of_input in zip(*gradients, strict=True)]

    def _gradients(self, terms: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self.problem.engine.ascending or len(terms) == 1:
            return torch.autograd.grad(terms.sum(), leaves, allow_unused=True, materialize_grads=True)
        # A replaced backward pass asks for one direction at a time: what one loss raises another may lower.
        parts = [
            torch.autograd.grad(term.sum(), leaves, allow_unused=True, materialize_grads=True, retain_graph=True)
            for term in terms
        ]
        return [sum_of(of_leaf) for of_leaf in zip(*parts, strict=True)]

    def _add_influence(self, gradient: Tensor) -> None:
        if self.method.transparency:
            self.influence = gradient.abs() if self.influence is None else self.influence + gradient.abs()

    def _terms(self, images: Mapping[str, Tensor], generators: Sequence[torch.Generator] | None) -> Tensor:
        return torch.stack(self.problem.objective(self.problem.scene(images, generators)))

    def _slows_and_settles(self, step: int) -> bool:
        """Set the size of a step; tell whether it looks straight at the images though there are transforms."""
        left = self.method.steps - step
        if self.method.anneal > 0:
            part = min(1.0, left / max(1.0, self.method.anneal * self.method.steps))
            for group in self.optimizer.param_groups:
                group["lr"] = self.method.learning_rate * part
        return left < self.method.settle * self.method.steps

    def _better(self, terms: Tensor, *, straight: bool) -> Tensor | None:
        """Return which images are better than ever before, where that is to be known."""
        plain = straight or not any(item.transforms for item in self.problem.variables.values())
        if self.method.keep == "last" or not plain or self.problem.gradient_modifier is not None:
            return None
        totals = terms.sum(0)
        better = totals < self.lowest
        self.lowest = torch.where(better, totals, self.lowest)
        return better

    def _keep(self, chosen: Tensor) -> None:
        """Remember the parameters of some images, unless these have ended."""
        with torch.no_grad():
            for kept, tensor in zip(self.kept, self.tensors, strict=True):
                kept.copy_(torch.where(column(chosen & ~self._ended(), tensor), tensor, kept))
        self.is_kept |= chosen

    def _ended(self) -> Tensor:
        return (self.ends < self.method.steps).to(self.problem.device)

    def _keep_last(self, done: int) -> None:
        """Take the last parameters of images of which none is kept, and of those that are best at the end."""
        if self.method.keep == "best" and self.is_kept.any() and done:
            with torch.no_grad():
                totals = self._terms(self.problem.render(self.parameters), None).sum(0)
            self._keep((totals < self.lowest) | ~self.is_kept)
        else:
            self._keep(~self.is_kept)

    def _all_ended(self, done: int) -> bool:
        """End images that have come to a plateau; tell whether all have."""
        patience = self.method.patience
        if patience is None or done < 2 * patience:
            return False
        totals = self.history[:done].sum(1)
        before = totals[done - 2 * patience : done - patience].mean(0)
        now = totals[done - patience : done].mean(0)
        flat = (before - now) < PLATEAU * torch.maximum(before.abs(), now.abs())
        newly = flat & ~self._ended()
        if self.method.keep == "last" or not self.is_kept.all():
            self._keep(newly & ~self.is_kept)
        self.ends = torch.where(newly.cpu(), done, self.ends)
        return bool((self.ends <= done).all())

    def _check(self, done: int) -> None:
        begin = max(0, done - _CHECK_EVERY)
        wrong = ~torch.isfinite(self.history[begin:done])
        if bool(wrong.any()):
            step, term, _ = (int(index) for index in wrong.nonzero()[0])
            # What becomes of an image after its end counts no more.
            self._fail(wrong.flatten(0, 1).any(0).cpu() & (self.ends > begin), self.names[term], begin + step + 1)

    def _fail(self, images: Tensor, name: str, step: int) -> None:
        """Give images up; without any that is left and not dead, that is an error."""
        self.failed |= images
        if bool(images.any()) and bool((self.failed | (self.contrasts == 0)).all()):
            raise non_finite(name, step)

    def _rewrite(self, change: Callable[[Tensor], Tensor] | None) -> None:
        if change is not None:
            with torch.no_grad():
                for tensor in self.tensors:
                    tensor.copy_(change(tensor))

    def _by_input(self, tensors: Sequence[Tensor | None]) -> dict[str, tuple[Tensor, ...]]:
        rest: Iterator[Tensor | None] = iter(tensors)
        return {
            name: tuple(tensor for tensor in (next(rest) for _ in item) if tensor is not None)
            for name, item in self.parameters.items()
        }

    def _result(self) -> dict[str, Tensor]:
        with torch.no_grad():
            kept = self.problem.render(self._by_input(self.kept))
            return {name: image.cpu().clone() for name, image in kept.items()}
