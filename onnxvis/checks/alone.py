"""Each layer of a torch graph by itself: given what the reference has before it, does it make what the reference has?

Where a network amplifies rounding (a normalization of a constant image, the logarithm of almost nothing), two libraries
differ by more than any tolerance although every layer of both is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from onnxvis.checks.accumulation import is_running_sum
from onnxvis.network import full_precision
from onnxvis.tensors import as_tensor, widened
from onnxvis.verify import Lowered, relative_error

Array = np.ndarray[Any, Any]

_EPSILON = 2.0**-24
_LEAST_TERMS = 16
"""A layer's inputs are moved by the rounding of a sum of so many terms, or of all places of a channel, if they are
more, relative to their largest magnitude: a mean is off by that."""
_AMPLIFIED = 4.0
_LARGEST_HALF = float(np.finfo(np.float16).max)


def wrong_alone(
    lowered: Lowered, feeds: Mapping[str, Array], wanted: Mapping[str, Array], tolerance: float
) -> dict[str, float]:
    """Return the tensors whose layer disagrees at the reference's own inputs by more than it amplifies rounding.

    Args:
        lowered: The torch graph.
        feeds: Arrays by input name.
        wanted: What the reference has, by tensor name.
        tolerance: Largest relative error.

    Returns:
        dict: The relative errors by tensor name, in the order of computation.
    """
    interpreter = _Alone(lowered, wanted, tolerance)
    arguments = [widened(as_tensor(np.asarray(feeds[name]))) for name in lowered.network.input_names]
    with torch.no_grad(), full_precision():
        interpreter.run(*arguments)
    return interpreter.wrong


class _Alone(fx.Interpreter):
    """Runs a network node by node; each tensor that the reference has too goes on as the reference has it."""

    def __init__(self, lowered: Lowered, wanted: Mapping[str, Array], tolerance: float) -> None:
        super().__init__(lowered.network)
        self.wanted = wanted
        self.tolerance = tolerance
        self.wrong: dict[str, float] = {}
        output = next(node for node in lowered.network.graph.nodes if node.op == "output")
        results = output.args[0] if isinstance(output.args[0], tuple) else output.args[:1]
        self.names = {node: name for node, name in zip(results, lowered.names, strict=True) if node.op != "placeholder"}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = self.names.get(n)
        if name is None or not isinstance(result, Tensor):
            return result
        wanted = np.asarray(self.wanted[name])
        error = relative_error(*_as_declared(widened(result).numpy(), wanted))
        if not error <= self.tolerance and not self._is_rounding(n, result, wanted, error):
            self.wrong[name] = error
        if tuple(result.shape) != wanted.shape:
            return result
        return as_tensor(wanted).to(result.dtype)

    def _is_rounding(self, n: fx.Node, result: Tensor, wanted: Array, error: float) -> bool:
        if n.op != "call_function":
            return False
        if error <= self.tolerance + _AMPLIFIED * self._amplification(n, result):
            return True
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        function: Any = n.target
        sides = (result, as_tensor(wanted))
        return is_running_sum(str(n.meta.get("onnx_op")), function, args, kwargs, sides)

    def _amplification(self, n: fx.Node, result: Tensor) -> float:
        """Return how far a node's result moves, relative to it, when its float inputs move in their last places."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        generator = torch.Generator().manual_seed(0)
        function: Any = n.target
        moved = function(*(_shaken(argument, generator) for argument in args), **kwargs)
        error = relative_error(widened(moved).numpy(), widened(result).numpy()) if isinstance(moved, Tensor) else 0.0
        return error if np.isfinite(error) else 0.0


def _as_declared(found: Array, wanted: Array) -> tuple[Array, Array]:
    """Let both sides overflow alike where the file computes in float16 and torch in float32."""
    if wanted.dtype != np.float16:
        return found, wanted
    limits = -_LARGEST_HALF, _LARGEST_HALF
    return np.clip(found, *limits), np.clip(wanted.astype(np.float32), *limits)


def _shaken(argument: Any, generator: torch.Generator) -> Any:
    if not isinstance(argument, Tensor) or not argument.is_floating_point() or argument.numel() == 0:
        return argument
    terms = max(_LEAST_TERMS, math.prod(argument.shape[2:]))
    noise = torch.empty(argument.shape, dtype=torch.float64).uniform_(-1, 1, generator=generator)
    return (argument + _EPSILON * math.sqrt(terms) * argument.abs().max() * noise).to(argument.dtype)
