"""How keras-vis makes a step from a gradient: Keras's normalization, and an RMSprop of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onnxvis.gradients import EPSILON

DECAY = 0.95
LEAST_SQUARES = 1e-12
"""What a gradient's sum of squares is at least in its normalization."""


class RMSprop(torch.optim.Optimizer):
    """x -= g / sqrt(cache + 1e-7), with cache = 0.95 cache + 0.05 g^2 from 0.

    Quirk: there is no learning rate. The first step is 4.5 wherever a gradient is not near 0, later ones about 1,
    whatever the input's range is. `torch.optim.RMSprop` adds its epsilon elsewhere.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override] # no loss to return
        """Make a step."""
        if closure is not None:
            message = "this optimizer computes no loss by itself"
            raise ValueError(message)
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            gradient = parameter.grad
            if gradient is None:
                continue
            state = self.state[parameter]
            cache = state.setdefault("cache", torch.zeros_like(gradient))
            # Each operation rounds as in keras-vis, which made its steps with numpy; torch's own float32 root may be a
            # last place off.
            cache.copy_(DECAY * cache + (1 - DECAY) * gradient.square())
            parameter.copy_(parameter - gradient / (cache + EPSILON).double().sqrt().float())


def rmsprop(parameters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:  # noqa: ARG001 - it has none
    """Make the optimizer; see `onnxvis.maximize.Optimizers`."""
    return RMSprop(parameters)


def l2_normalized(gradient: Tensor) -> Tensor:
    """Return g / sqrt(max(sum of g^2, 1e-12)), over all axes: Keras's `l2_normalize`."""
    return gradient / gradient.square().sum().clamp(min=LEAST_SQUARES).sqrt()
