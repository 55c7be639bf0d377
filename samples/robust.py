"""Train a network on adversarial examples in an L2 ball.

That costs little accuracy here and makes the gradient with respect to the input look like what the network answers to
(Santurkar et al. 2019, "Image Synthesis with a Single (Robust) Classifier", https://arxiv.org/abs/1906.09453), which
is what a sample for feature visualization is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

VALIDATION_SEED = 1_000_003
IMAGE_RANK = 4  # (N, C, H, W)

Error = Callable[[Tensor, Tensor], Tensor]
"""From outputs and targets to one number for each example, (N,)."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes:
        radius: Of the L2 ball, in the units of the input.
        batch: Drawings in one step.
        spoiled: Spoiled drawings in one step, besides.
        steps: Number of steps.
        learning_rate: The highest; it rises and falls once.
        weight_decay: Of AdamW.
        attack_steps: Gradient steps of each attack.
        seed: Of the weights and of the drawings.
    """

    radius: float
    batch: int = 48
    spoiled: int = 24
    steps: int = 700
    learning_rate: float = 4e-3
    weight_decay: float = 2e-2
    attack_steps: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """What a network is to learn.

    Attributes:
        batch: Draws the inputs and targets of a step.
        attacked: The error that an attack raises.
        learned: The error that training lowers.
        bounds: The least and the largest value of an input.
    """

    batch: Callable[[int], tuple[Tensor, Tensor]]
    attacked: Error
    learned: Error
    bounds: tuple[float, float] = (0.0, 1.0)


def attack(network: nn.Module, task: Task, inputs: Tensor, targets: Tensor, radius: float, steps: int) -> Tensor:
    """Find inputs within an L2 `radius` and within the task's bounds on which the error is larger.

    Projected gradient ascent (Madry et al. 2018, https://arxiv.org/abs/1706.06083), started at the inputs.
    """
    change = torch.zeros_like(inputs)
    for _ in range(steps):
        change.requires_grad_()
        error = task.attacked(network(inputs + change), targets).sum()
        (gradient,) = torch.autograd.grad(error, change)
        change = change.detach() + 1.5 * radius / steps * gradient / lengths(gradient).clamp(min=1e-12)
        change = change * (radius / lengths(change).clamp(min=radius))
        change = (inputs + change).clamp(*task.bounds) - inputs
    return inputs + change


def lengths(inputs: Tensor) -> Tensor:
    """Compute the L2 norm of each input, (N, 1, ...)."""
    axes = tuple(range(1, inputs.ndim))
    norms: Tensor = torch.linalg.vector_norm(inputs, dim=axes, keepdim=True)
    return norms


def train(network: nn.Module, task: Task, schedule: Schedule) -> None:
    """Train a network, on adversarial examples only; it is in evaluation mode afterwards."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=schedule.steps)
    for step in range(1, schedule.steps + 1):
        inputs, targets = task.batch(step)
        radius = schedule.radius * min(1.0, 2 * step / schedule.steps)
        attacked = attack(network, task, inputs, targets, radius, schedule.attack_steps)
        loss = task.learned(network(attacked), targets).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        rates.step()
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}", flush=True)
    network.eval()


def as_tensor(inputs: NDArray[np.float32]) -> Tensor:
    """Lay images out as the processor's convolutions like them, which saves a quarter of the time."""
    tensor = torch.from_numpy(inputs)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == IMAGE_RANK else tensor
