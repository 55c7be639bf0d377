"""Foretells, on any processor, what clipped sums of 8-bit products do to a model on processors without VNNI.

What onnxruntime runs is the optimized model, in which quantizers around a layer have become one quantized layer; so
that is what is looked at. Weights say which pairs of products can overflow; inputs, through the torch graph with
clipped sums, say which do, and how far the outputs move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from onnxvis.errors import UnsupportedOpError
from onnxvis.exact_sums import Product, clipped_products
from onnxvis.lower import lower
from onnxvis.model import Model, load
from onnxvis.network import Network, full_precision
from onnxvis.ops.clipping import Tally, clipped_sums, overflowing_pairs, pairs_of
from onnxvis.ordinary import Moved, called, furthest, how_far, multiplies_integers, optimize
from onnxvis.tensors import as_tensor, widened

Array = np.ndarray[Any, Any]

_SIGNED = (-128, 127)
_UNSIGNED = (0, 255)
_TRANSPOSED = "transB"
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Cast", "Mul", "Add", "LeakyRelu"})
"""What onnxruntime makes one node with the layer before it: that layer is what people know."""


@dataclass(frozen=True)
class Risk:
    """A node whose sums can overflow.

    Attributes:
        layer: The short name of the layer in the file.
        tensor: The tensor that the optimized model has there.
        op_type: The operator of the optimized model.
        pairs: How many pairs of neighboring weights can overflow; of factors that are no weights, None.
        of: How many pairs there are.
    """

    layer: str
    tensor: str
    op_type: str
    pairs: int | None
    of: int


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
class Forecast:
    """What onnxruntime multiplies in a model, and how its sums can overflow.

    Attributes:
        optimized: The model as onnxruntime runs it.
        products: How many nodes multiply uint8 by int8.
        risks: Those that can overflow.
        outputs: What the outputs are called, in the optimized model's order.
        signed: Whether the file's own activations are int8, which onnxruntime makes uint8 on x86.
    """

    optimized: Model = field(repr=False)
    products: int
    risks: tuple[Risk, ...]
    outputs: tuple[str, ...]
    signed: bool

    def lowered(self, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Array] | None = None) -> Network:
        """Return the torch graph of the optimized model.

        Args:
            shapes: Of its inputs, by name.
            constants: Inputs that are known beforehand, by name.

        Raises:
            OnnxvisError: It cannot be lowered.
        """
        needed = {spec.name: tuple(shapes[spec.name]) for spec in self.optimized.inputs}
        known = {name: array for name, array in (constants or {}).items() if name in needed}
        outputs = [str(value.name) for value in self.optimized.ir.graph.outputs]
        return lower(self.optimized, outputs, needed, constants=known)

    def emulate(self, network: Network, feeds: Mapping[str, Array]) -> Overflow:
        """Run the model with clipped sums, and without.

        Args:
            network: What `lowered` returned.
            feeds: Arrays by input name.
        """
        arguments = [widened(as_tensor(np.asarray(feeds[name]))) for name in network.input_names]
        with torch.no_grad(), full_precision():
            wanted = _several(network(*arguments))
            with clipped_sums() as tally:
                found = _several(_Named(network, tally).run(*arguments))
        pairs = zip(self.outputs, found, wanted, strict=True)
        moved = furthest([how_far(name, *(widened(each).numpy() for each in pair)) for name, *pair in pairs])
        return Overflow(tally.clipped, tally.sums, tuple(moved), tally.looked)


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
        UnsupportedOpError: It does not say what it makes of the model.
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
    names = tuple(called(model, name) for name in outputs)
    return Forecast(load(proto), len(products), tuple(_risks(model, products)), names, _is_signed(model))


def _is_signed(model: Model) -> bool:
    quantizers = (node for node in model.ir.graph if node.op_type == "QuantizeLinear")
    return any(model.spec(node.outputs[0]).dtype == "INT8" for node in quantizers)


def _risks(model: Model, products: Sequence[tuple[onnx.NodeProto, Product, onnx.TensorProto | None]]) -> Iterator[Risk]:
    for node, product, weight in products:
        tensor = node.output[0]
        if weight is None:
            yield Risk(_layer(model, node), tensor, node.op_type, None, 0)
            continue
        found = _pairs(node, torch.from_numpy(np.array(numpy_helper.to_array(weight))))
        if found is None:
            continue
        flags = overflowing_pairs(found, *(_SIGNED if product.moved is product.left else _UNSIGNED))
        if flags.any():
            yield Risk(_layer(model, node), tensor, node.op_type, int(flags.sum()), flags.numel())


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
    value = model.values.get(node.output[0])
    if value is None:
        return node.name or node.output[0]
    seen: ir.Value = value
    while (producer := seen.producer()) is not None and producer.op_type in _QUANTIZERS and producer.inputs[0]:
        seen = producer.inputs[0]
    return model.names.short_name(value if seen.producer() is None else seen)


def remedy(forecast: Forecast) -> str:
    """Return what helps, in words: what of it can depends on how the file is quantized.

    Args:
        forecast: Of the file.
    """
    ways = ["quantize with reduce_range=True (weights of 7 bits) or with uint8 weights"]
    if all(risk.pairs is not None for risk in forecast.risks):
        ways.append("set session.x64quantprecision=1 in the session, with all optimizations on")
    if forecast.signed:
        ways.append("or session.qdqisint8allowed=1, since the file's own activations are int8")
    return f"What helps: {'; '.join(ways)}."
