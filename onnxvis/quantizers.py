"""Quantized networks beside the reference, piece by piece.

Two libraries that differ in the last place of a float round it to different integers where it lies halfway between
two, and everything after that differs by a step of the quantizer. So each quantizer's output is compared by itself,
ties being allowed to go either way, and the network goes on with what the reference has there: every piece between two
quantizers is compared at the same inputs.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from onnxvis.network import Network

Arrays = Mapping[str, np.ndarray[Any, Any]]

_OF_ONE_INPUT = frozenset({"QuantizeLinear", "Resize", "Round", "Upsample"})
"""What they return rises with their first input, so that a little more and a little less of it enclose all ties."""
_OTHERS = frozenset({"DynamicQuantizeLinear", "QGemm"})
_OTHER_FAMILY = "QLinear"
_FEW = 0.02
"""Share of the elements that may be a step off where the number before rounding is not known."""


def quantizers_of(network: Network, tensors: Container[str]) -> list[str]:
    """Return the tensors that a quantizer makes, by ONNX name, as far as a network computes them.

    Args:
        network: A lowered network.
        tensors: Those that the reference can show.
    """
    # A resized float and the scale of DynamicQuantizeLinear are none.
    names = [
        str(node.meta["onnx_value"])
        for node in network.graph.nodes
        if _rounds(node) and (node.meta.get("integers") or node.meta["onnx_op"] == "Round")
    ]
    return [name for name in dict.fromkeys(names) if name in tensors]


def run_in_pieces(
    network: Network, arguments: Sequence[Tensor], given: Arrays, reach: float
) -> tuple[Tensor | tuple[Tensor, ...], dict[str, int], str | None]:
    """Run a network whose quantizers hand on what the reference has there.

    Args:
        network: A lowered network.
        arguments: Its inputs.
        given: What the reference has after each quantizer, by ONNX name.
        reach: How far floats before a quantizer may differ, relative to the largest of them.

    Returns:
        The network's results; how many elements were rounded the other way, by name; the first quantizer that differs
        by more than such ties, or None.
    """
    interpreter = _Pieces(network, given, reach)
    with torch.no_grad():
        results = interpreter.run(*arguments)
    return results, interpreter.flips, interpreter.wrong


def _rounds(node: fx.Node) -> bool:
    op_type = str(node.meta.get("onnx_op", ""))
    return op_type in _OF_ONE_INPUT | _OTHERS or op_type.startswith(_OTHER_FAMILY)


class _Pieces(fx.Interpreter):
    """Runs a network node by node, and replaces what quantizers return."""

    def __init__(self, network: Network, given: Arrays, reach: float) -> None:
        super().__init__(network)
        self.given = given
        self.reach = reach
        self.flips: dict[str, int] = {}
        self.wrong: str | None = None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = str(n.meta.get("onnx_value", ""))
        if not _rounds(n) or name not in self.given or not isinstance(result, Tensor):
            return result
        wanted = torch.from_numpy(self.given[name].astype(np.float64)).to(result.device)
        if wanted.shape != result.shape:
            self.wrong = self.wrong or name
            return result
        difference = result.double() - wanted
        self.flips[name] = int((difference != 0).sum())
        if self.flips[name] and not self._are_ties(n, wanted, difference):
            self.wrong = self.wrong or name
        return wanted.to(result.dtype)

    def _are_ties(self, n: fx.Node, wanted: Tensor, difference: Tensor) -> bool:
        """Tell whether floats that differ by no more than the reach explain all differences."""
        if n.op != "call_function" or n.meta["onnx_op"] not in _OF_ONE_INPUT:
            return bool((difference.abs() <= 1).all()) and float((difference != 0).double().mean()) <= _FEW
        (x, *others), settings = self.fetch_args_kwargs_from_env(n)
        reach = self.reach * x.abs().max()
        function: Any = n.target
        ends = [function(x + sign * reach, *others, **settings).double() for sign in (-1, 1)]
        inside = (wanted >= torch.minimum(*ends)) & (wanted <= torch.maximum(*ends))
        return bool((inside | (difference == 0)).all())
