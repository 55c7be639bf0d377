"""Train a network to tell drawings apart, robustly.

A part of each batch are spoiled drawings, which should be given to no class: without them the network is the surer the
more of a class is piled up, and parts pass for the whole (Augustin et al. 2020, "Adversarial Robustness on In- and
Out-Distribution Improves Explainability", https://arxiv.org/abs/2003.09461).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from convnet import ConvNet, Design
from numpy.random import Generator
from numpy.typing import NDArray
from robust import VALIDATION_SEED, Schedule, Task, as_tensor, attack, train
from torch import Tensor
from torch.nn import functional

LABEL_SMOOTHING = 0.05


@dataclass(frozen=True)
class Drawings:
    """What a classifier is trained on.

    Attributes:
        classes: The number of classes.
        draw: Makes inputs (N, *shape) and class indices (N,).
        spoil: Makes inputs of no class.
        bounds: The least and the largest value of an input.
    """

    classes: int
    draw: Callable[[Generator, int], tuple[NDArray[np.float32], NDArray[np.int64]]]
    spoil: Callable[[Generator, int], NDArray[np.float32]]
    bounds: tuple[float, float] = (0.0, 1.0)

    def labelled(self, seed: int, index: int, count: int) -> tuple[Tensor, Tensor]:
        """Draw inputs and their classes, the same ones for the same seed and index."""
        inputs, labels = self.draw(np.random.default_rng([seed, index]), count)
        return as_tensor(inputs), torch.from_numpy(labels)

    def batch(self, schedule: Schedule, index: int) -> tuple[Tensor, Tensor]:
        """Draw inputs and spoiled ones, and the class probabilities (N, classes) that they should get."""
        inputs, labels = self.labelled(schedule.seed, index, schedule.batch)
        spoiled = self.spoil(np.random.default_rng([schedule.seed, index, 1]), schedule.spoiled)
        one_hot = functional.one_hot(labels, self.classes).float()
        undecided = torch.full((schedule.spoiled, self.classes), 1 / self.classes)
        return torch.cat([inputs, as_tensor(spoiled)]), torch.cat([one_hot, undecided])

    def task(self, schedule: Schedule) -> Task:
        """Say what is to be learned: classes by cross entropy."""
        return Task(
            batch=functools.partial(self.batch, schedule),
            attacked=functools.partial(functional.cross_entropy, reduction="none"),
            learned=functools.partial(functional.cross_entropy, reduction="none", label_smoothing=LABEL_SMOOTHING),
            bounds=self.bounds,
        )


def train_classifier(design: Design, drawings: Drawings, schedule: Schedule) -> ConvNet:
    """Train a network from scratch and print its accuracy."""
    torch.manual_seed(schedule.seed)
    network = ConvNet(design)
    train(network, drawings.task(schedule), schedule)
    clean, robust = accuracies(network, drawings, schedule)
    print(f"validation accuracy {clean:.1%}, within an L2 distance of {schedule.radius:g}: {robust:.1%}")
    return network


def accuracies(network: ConvNet, drawings: Drawings, schedule: Schedule) -> tuple[float, float]:
    """Measure the accuracy on new drawings, as they are and under attack."""
    task = drawings.task(schedule)
    right = attacked_right = total = 0
    for index in range(16):
        inputs, labels = drawings.labelled(VALIDATION_SEED, index, 64)
        attacked = attack(network, task, inputs, labels, schedule.radius, schedule.attack_steps)
        with torch.no_grad():
            right += int((network(inputs).argmax(1) == labels).sum())
            attacked_right += int((network(attacked).argmax(1) == labels).sum())
        total += len(labels)
    return right / total, attacked_right / total
