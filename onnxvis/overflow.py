"""Foretells, on any processor, what clipped sums of 8-bit products do to a model on processors without VNNI.

What onnxruntime runs is the optimized model, in which quantizers around a layer have become one quantized layer; so
that is what is looked at. Weights say which pairs of products can overflow; inputs, through the torch graph with
clipped sums, say which do, and how far the outputs move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from onnxvis.errors import OnnxvisError, UnsupportedOpError
from onnxvis.exact_sums import MICROSOFT, Clipped, clipped_products
from onnxvis.lower import lower
from onnxvis.model import Model, load
from onnxvis.network import Network, full_precision
from onnxvis.ops.clipping import Tally, TooManyPairsError, clipped_sums, overflowing_pairs, pairs_of
from onnxvis.ordinary import Moved, called, furthest, how_far, multiplies_integers, optimize
from onnxvis.tensors import as_tensor, widened

Array = np.ndarray[Any, Any]

_SIGNED = (-128, 127)
_UNSIGNED = (0, 255)
_TRANSPOSED = "transB"
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Cast", "Mul", "Add", "LeakyRelu"})
"""What onnxruntime makes one node with the layer before it: that layer is what people know."""
_UNKNOWN_TO_THE_OPTION = 21
"""From this opset on onnxruntime 1.31 does not write the weights of QLinearMatMul as uint8 when it is asked to."""


@dataclass(frozen=True)
class Risk:
    """A product whose sums can overflow.

    Attributes:
        layer: The short name of the layer in the file.
        tensor: The tensor of the optimized model's main graph that holds the sums, or what is computed from them.
        op_type: The operator of the optimized model.
        pairs: How many pairs of neighboring weights can overflow; of two activations, None.
        of: How many pairs there are.
        remedies: What helps it.
    """

    layer: str
    tensor: str
    op_type: str
    pairs: int | None
    of: int
    remedies: tuple[str, ...]


@dataclass(frozen=True)
class Overflow:
    """What clipped sums did on some inputs.

    Attributes:
        clipped: How many sums were off, by tensor of the optimized model.
        sums: Of how many.
        moved: The outputs that moved, the furthest first.
        looked: How many pairs of products were looked at: what took the time.
    """

    clipped: Mapping[str, int]
    sums: Mapping[str, int]
    moved: tuple[Moved, ...]
    looked: int


@dataclass(frozen=True)
class Emulation:
    """The torch graph of an optimized model, whose sums can be clipped.

    Attributes:
        network: The graph.
        names: What its results are called, and whether they are integers.
        holders: The tensor that stands for a branch or loop, by the name of each of its results.
    """

    network: Network = field(repr=False)
    names: tuple[tuple[str, bool], ...]
    holders: Mapping[str, str]

    def run(self, feeds: Mapping[str, Array], most: float = math.inf) -> Overflow | None:
        """Run the model with clipped sums, and without.

        Args:
            feeds: Arrays by input name.
            most: How many pairs of products may be looked at.

        Returns:
            What the two differ in; None where there are more pairs to look at.
        """
        arguments = [widened(as_tensor(np.asarray(feeds[name]))) for name in self.network.input_names]
        with torch.no_grad(), full_precision():
            try:
                with clipped_sums(most) as tally:
                    found = _several(_Named(self.network, tally).run(*arguments))
            except TooManyPairsError:
                return None
            wanted = _several(self.network(*arguments))
        pairs = zip(self.names, found, wanted, strict=True)
        moved = furthest(
            [how_far(name, *(widened(each).numpy() for each in pair), counts=counts) for (name, counts), *pair in pairs]
        )
        return Overflow(self._held(tally.clipped), self._held(tally.sums), tuple(moved), tally.looked)

    def _held(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Add what was counted in branches and loops to what holds them: "y/0/p" is in the first step of y."""
        found: dict[str, int] = {}
        for name, count in counts.items():
            outer = next((each for each in self.holders if name == each or name.startswith(f"{each}/")), None)
            key = name if outer is None else self.holders[outer]
            found[key] = found.get(key, 0) + count
        return found


@dataclass(frozen=True)
class Forecast:
    """What onnxruntime multiplies in a model, and how its sums can overflow.

    Attributes:
        optimized: The model as onnxruntime runs it.
        products: How many products of uint8 and int8 there are.
        risks: Those that can overflow.
        outputs: What the outputs are called, by the optimized model's names.
        holders: See `Emulation`.
        remedies: What helps all of them.
    """

    optimized: Model = field(repr=False)
    products: int
    risks: tuple[Risk, ...]
    outputs: Mapping[str, str]
    holders: Mapping[str, str] = field(repr=False)
    remedies: tuple[str, ...]

    def emulation(
        self, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Array] | None = None
    ) -> Emulation:
        """Return the torch graph of the optimized model, up to the outputs that can be lowered.

        Args:
            shapes: Of its inputs, by name.
            constants: Inputs that are known beforehand, by name.

        Raises:
            OnnxvisError: None can be lowered.
        """
        needed = {spec.name: tuple(shapes[spec.name]) for spec in self.optimized.inputs}
        known = {name: array for name, array in (constants or {}).items() if name in needed}
        names = list(self.outputs)
        try:
            network = lower(self.optimized, names, needed, constants=known)
        except OnnxvisError:
            names = [name for name in names if self._is_lowered(name, needed, known)]
            if not names:
                raise
            network = lower(self.optimized, names, needed, constants=known)
        values = self.optimized.values
        called = ((self.outputs[name], not self.optimized.spec(values[name]).is_float) for name in names)
        return Emulation(network, tuple(called), self.holders)

    def _is_lowered(self, name: str, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Array]) -> bool:
        try:
            lower(self.optimized, [name], dict(shapes), constants=constants)
        except OnnxvisError:
            return False
        return True


class _Named(fx.Interpreter):
    """Runs a network and tells the tally which node is running."""

    def __init__(self, network: Network, tally: Tally) -> None:
        super().__init__(network)
        self.tally = tally

    def run_node(self, n: fx.Node) -> Any:
        self.tally.node = str(n.meta.get("onnx_value", ""))
        return super().run_node(n)


def _several(results: Tensor | tuple[Tensor, ...]) -> Sequence[Tensor]:
    return (results,) if isinstance(results, Tensor) else results


def foretell(model: Model, outputs: Sequence[str]) -> Forecast | None:
    """Return what can overflow in a model by its weights.

    Args:
        model: The model.
        outputs: The tensors whose movement counts.

    Returns:
        The forecast; None where onnxruntime multiplies no uint8 by int8.

    Raises:
        UnsupportedOpError: It does not say what it makes of the model, or that cannot be read.
    """
    if not multiplies_integers(model):
        return None
    proto = optimize(model, outputs)
    if proto is None:
        message = f"onnxruntime does not write what it makes of {model.name}: the model is too large, or not run by it."
        raise UnsupportedOpError(message)
    products = list(clipped_products(proto))
    if not products:
        return None
    try:
        optimized = load(proto)
    except OnnxvisError as error:
        message = f"What onnxruntime makes of {model.name} cannot be read: {error.message}"
        raise UnsupportedOpError(message) from error
    written = [output.name for output in proto.graph.output]
    names = {found: called(model, name) for found, name in zip(written, outputs, strict=True)}
    risks = tuple(_risks(model, optimized, products))
    held = [clipped.holder for clipped in products if clipped.holder is not clipped.node]
    holders = {name: node.output[0] for node in held for name in node.output if name}
    return Forecast(optimized, len(products), risks, names, holders, _remedies(model, outputs, risks))


def _risks(model: Model, optimized: Model, products: Iterable[Clipped]) -> Iterator[Risk]:
    for clipped in products:
        node, weight, tensor = clipped.node, clipped.weight, next(filter(None, clipped.holder.output))
        layer = _layer(model, clipped.holder)
        if weight is None:
            yield Risk(layer, tensor, node.op_type, None, 0, ("make both activations uint8 or both int8",))
            continue
        found = _pairs(node, torch.from_numpy(np.array(numpy_helper.to_array(weight))))
        if found is None:
            continue
        is_filter = clipped.product.moved is clipped.product.left
        flags = overflowing_pairs(found, *(_SIGNED if is_filter else _UNSIGNED))
        if not flags.any():
            continue
        remedies = ["make the filters int8"] if is_filter else list(_OF_WEIGHTS)
        if not is_filter and _is_helped(node, optimized.opset):
            remedies.append(_OPTION)
        yield Risk(layer, tensor, node.op_type, int(flags.sum()), flags.numel(), tuple(remedies))


_OF_WEIGHTS = ("quantize with reduce_range=True (weights of 7 bits)", "quantize with uint8 weights")
_OPTION = "set the session option session.x64quantprecision to 1"
_SIGNED_OPTION = "set the session option session.qdqisint8allowed to 1"


def _is_helped(node: onnx.NodeProto, opset: int) -> bool:
    """Tell whether onnxruntime writes int8 weights of a node as uint8 where it is asked for precision."""
    if node.op_type == "QLinearConv":
        return node.domain != MICROSOFT
    return node.op_type != "QLinearMatMul" or opset < _UNKNOWN_TO_THE_OPTION


def _remedies(model: Model, outputs: Sequence[str], risks: Sequence[Risk]) -> tuple[str, ...]:
    """Return what helps all risks; where nothing does, what helps each."""
    if not risks:
        return ()
    found = dict.fromkeys(remedy for risk in risks for remedy in risk.remedies)
    shared = [remedy for remedy in found if all(remedy in risk.remedies for risk in risks)] or list(found)
    quantizers = (node for node in model.ir.graph if node.op_type == "QuantizeLinear")
    if any(model.spec(node.outputs[0]).dtype == "INT8" for node in quantizers):
        # The file's own activations are int8, and stay so where a session asks for it.
        signed = optimize(model, outputs, signed=True)
        if signed is not None and not list(clipped_products(signed)):
            shared.append(_SIGNED_OPTION)
    return tuple(shared)


def remedy(forecast: Forecast) -> str:
    """Return what helps, in words.

    Args:
        forecast: Of the file; at least one of its products can overflow.
    """
    *others, last = forecast.remedies
    return f"What helps: {', '.join(others)}{', or ' if others else ''}{last}."


def _pairs(node: onnx.NodeProto, weight: Tensor) -> Tensor | None:
    """Return a weight such that neighbors along the first axis are summed together: (K, N); None: none are."""
    if "Conv" in node.op_type:
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        return pairs_of(weight, "taps" if node.op_type == "ConvInteger" else "channels", group)
    is_transposed = any(attribute.name == _TRANSPOSED and attribute.i for attribute in node.attribute)
    matrix = weight.mT if is_transposed else weight
    if matrix.ndim == 1:
        return matrix[:, None]
    return matrix.movedim(-2, 0).reshape(matrix.shape[-2], math.prod(matrix.shape[:-2]) * matrix.shape[-1])


def _layer(model: Model, node: onnx.NodeProto) -> str:
    """Return the short name of the layer in the file that a node of the optimized model is, or begins with."""
    # Optimizing keeps the name of a layer between quantizers, and that of the last tensor otherwise.
    own = next((each for each in model.ir.graph if node.name and each.name == node.name), None)
    if own is not None:
        return model.names.short_name(own.outputs[0])
    value = next((model.values[name] for name in node.output if name in model.values), None)
    if value is None:
        return node.name or node.output[0]
    seen: ir.Value = value
    while (producer := seen.producer()) is not None and producer.op_type in _QUANTIZERS and producer.inputs[0]:
        seen = producer.inputs[0]
    return model.names.short_name(value if seen.producer() is None else seen)
