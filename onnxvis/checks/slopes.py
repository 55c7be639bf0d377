"""Directional derivatives of a model, taken twice: by torch's gradient, and by differences of the reference.

For a direction d of the inputs and weights r of a tensor y, both sides have the derivative of s = sum(r * y) along d.
One pair of runs of the reference, at x + h d and x - h d, serves all tensors; of each run only the sums are kept.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.inspection import Inspection
from onnxvis.network import full_precision
from onnxvis.probes import Probe
from onnxvis.tensors import as_tensor, widened
from onnxvis.verify import UNIT_ROUNDING, is_unit_scaled

Array = np.ndarray[Any, Any]

_REPEATS = 2
_LAST_PLACES = 2e-7
_ROUNDING = 4.0
"""How many standard deviations of rounding a difference may be off."""
_SLOW_SECONDS = 0.5
_STEPS_OF_SLOW = 2
_EPSILON = 2.0**-24
_SMALL = 0.1
_STEADY = 0.1
"""Differences of two steps that are further apart, relative to the larger, are none of a derivative."""


def is_slow(inspection: Inspection) -> bool:
    """Whether the reference takes so long that few runs have to do.

    Args:
        inspection: The model.
    """
    return inspection.run_seconds > _SLOW_SECONDS


@dataclass(frozen=True)
class Slope:
    """The derivative of one tensor along one direction.

    Attributes:
        torch: By torch's gradient.
        differences: By differences of the reference, for each step.
        scale: How large such derivatives typically are: |gradient| |d| / sqrt(n).
        noise: How far off rounding may leave each difference.
    """

    torch: float
    differences: tuple[float, ...]
    scale: float
    noise: tuple[float, ...]

    @property
    def error(self) -> float:
        """The smallest error at any step beyond rounding, relative to the scale."""
        return min(max(abs(found - self.torch) - noise, 0.0) / self._scale(found) for found, noise in self._steps())

    @property
    def is_resolved(self) -> bool:
        """Whether a wrong derivative would be seen: at some step, and its neighbor, rounding and bends are small."""
        steps = self._steps()
        return any(
            max(noise, other_noise) <= _SMALL * self._scale(max(found, other, key=abs))
            and abs(found - other) <= _STEADY * max(abs(found), abs(other), self.scale) + noise + other_noise
            for (found, noise), (other, other_noise) in itertools.pairwise(steps)
        )

    def _steps(self) -> list[tuple[float, float]]:
        return list(zip(self.differences, self.noise, strict=True))

    def _scale(self, found: float) -> float:
        # A gradient that is wrongly zero has no scale of its own.
        return max(self.scale, abs(found), np.finfo(float).tiny)


class Slopes:
    """What one probe tells of the derivatives of a model.

    Args:
        inspection: The model.
        probe: Where.
        moved: The names of the inputs along which directions lead; all are floats.
        tensors: The names of the tensors that may be asked for.
        steps: In units of each input's own spread: large ones cross kinks and bend, small ones drown in rounding.
        directions: How many; half of them where tensors are large, one where the reference is slow.
    """

    def __init__(
        self,
        inspection: Inspection,
        probe: Probe,
        moved: Sequence[str],
        tensors: Sequence[str],
        steps: Sequence[float] = (1e-2, 1e-3, 1e-4),
        directions: int = 2,
    ) -> None:
        self.inspection = inspection
        slow = is_slow(inspection)
        self.steps = tuple(steps)[: _STEPS_OF_SLOW if slow else None]
        self.probe = probe
        self.tensors = tuple(tensors)
        self._center: dict[str, Array] = {name: probe.feeds[name].astype(np.float64) for name in moved}
        self._spreads = {name: _spread(array) for name, array in self._center.items()}
        # Other steps, other directions.
        generator = np.random.default_rng((inspection.settings.seed, round(1 / self.steps[0])))
        count = 1 if slow else (directions + 1) // 2 if inspection.is_large else directions
        self._directions = [self._direction(generator) for _ in range(count)]
        center = inspection.reference(probe)
        self._weights = generator.standard_normal(max((center[name].size for name in self.tensors), default=0))
        self._rounding = self._measured_rounding(generator, center, 1 if slow else _REPEATS)

    def _direction(self, generator: np.random.Generator) -> dict[str, Array]:
        return {
            name: self._spreads[name] * np.asarray(generator.standard_normal(array.shape))
            for name, array in self._center.items()
        }

    def _measured_rounding(
        self, generator: np.random.Generator, center: Mapping[str, Array], repeats: int
    ) -> dict[str, float]:
        """See how far each sum moves when the inputs move in their last places."""
        sums = {name: self._sum(center[name]) for name in self.tensors}
        moves = [_minus(self._sums(self._last_places(generator)), sums) for _ in range(repeats)]
        return {
            name: max(
                _norm([move[name] for move in moves]) / np.sqrt(repeats),
                self._least_rounding(name, center[name]),
            )
            for name in self.tensors
        }

    def _last_places(self, generator: np.random.Generator) -> dict[str, Array]:
        return {
            name: _LAST_PLACES * np.abs(array).max(initial=0) * np.asarray(generator.uniform(-1, 1, array.shape))
            for name, array in self._center.items()
        }

    def of(self, tensor: str) -> list[Slope]:
        """Return the derivatives of a tensor along each direction.

        Args:
            tensor: Its name, one of `tensors`.
        """
        gradients = self._gradients(tensor)
        return [
            self._along(direction, gradients, [pair[tensor] for pair in pairs], self._rounding[tensor])
            for direction, pairs in zip(self._directions, self._differences, strict=True)
        ]

    def _along(
        self, direction: Mapping[str, Array], gradients: Mapping[str, Array], pairs: Sequence[float], rounding: float
    ) -> Slope:
        found = sum(float(np.vdot(gradients[name], along)) for name, along in direction.items())
        typical = _norm([self._spreads[name] * _norm(gradients[name]) for name in direction])
        noise = tuple(_ROUNDING * rounding / step for step in self.steps)
        return Slope(found, tuple(pairs), typical, noise)

    @functools.cached_property
    def _differences(self) -> list[list[Mapping[str, float]]]:
        """The central differences: for each direction, for each step, by tensor name."""
        return [[self._difference(direction, step) for step in self.steps] for direction in self._directions]

    def _difference(self, direction: Mapping[str, Array], step: float) -> dict[str, float]:
        above, below = (
            self._sums({name: sign * step * along for name, along in direction.items()}) for sign in (1, -1)
        )
        return {name: value / (2 * step) for name, value in _minus(above, below).items()}

    def _sums(self, shift: Mapping[str, Array]) -> dict[str, float]:
        """Run the reference beside the probe, and return the weighted sum of each tensor."""
        shifted = {name: self._center[name] + along for name, along in shift.items()}
        run = self.inspection.run({**self.probe.feeds, **shifted})
        return {name: self._sum(run[name]) for name in self.tensors}

    def _sum(self, array: Array) -> float:
        flat = array.reshape(-1).astype(np.float64)
        return float(self._weights[: flat.size] @ flat)

    def _least_rounding(self, name: str, array: Array) -> float:
        """Return the rounding of a weighted sum whose terms are each right in their last place."""
        absolute = UNIT_ROUNDING if is_unit_scaled(self.inspection.model.values[name]) else 0.0
        return float(_EPSILON * _norm(array) + absolute * np.sqrt(array.size))

    def _gradients(self, tensor: str) -> dict[str, Array]:
        result = self._results[tensor]
        weights = torch.from_numpy(self._weights[: result.numel()]).to(result.dtype).reshape(result.shape)
        found = torch.autograd.grad(
            result, list(self._leaves.values()), weights, retain_graph=True, materialize_grads=True
        )
        return {name: gradient.numpy().astype(np.float64) for name, gradient in zip(self._leaves, found, strict=True)}

    @functools.cached_property
    def _leaves(self) -> dict[str, Tensor]:
        doubles = {spec.name for spec in self.inspection.model.inputs if spec.dtype == "DOUBLE"}
        fed = {name: widened(as_tensor(self.probe.feeds[name])) for name in self._center}
        return {name: (leaf.double() if name in doubles else leaf).requires_grad_() for name, leaf in fed.items()}

    @functools.cached_property
    def _results(self) -> dict[str, Tensor]:
        lowered = self.inspection.lowered
        arguments = [
            self._leaves[name] if name in self._leaves else widened(as_tensor(np.asarray(self.probe.feeds[name])))
            for name in lowered.network.input_names
        ]
        with full_precision():
            results = lowered.network(*arguments)
        several = (results,) if isinstance(results, Tensor) else results
        return dict(zip(lowered.names, several, strict=True))


def _norm(values: Array | Sequence[float]) -> float:
    """Return the Euclidean norm, also of numbers whose squares are too large for any type."""
    array = np.asarray(values)
    largest = float(np.abs(array).max(initial=0))
    return largest * float(np.linalg.norm(array / largest)) if 0 < largest < np.inf else largest


def _spread(array: Array) -> float:
    spread = float(array.std())
    return spread if spread > 0 else max(1.0, float(np.abs(array).max(initial=0)))


def _minus(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: value - second[name] for name, value in first.items()}
