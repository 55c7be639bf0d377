"""Models of one node, between quantizing and dequantizing nodes where a case says so, and sessions that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxvis.exact_sums import with_exact_sums
from onnxvis.lower import lower
from onnxvis.model import Model
from onnxvis.network import Network
from tests.ops.oracle import NEWEST_ORT_OPSET

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Oracle = Literal["onnxruntime", "onnx.reference"]
Run = Callable[[Feeds], Sequence[Array]]

QUANTIZED_OPSET = 21
"""Where Quantize- and DequantizeLinear know all types of integers."""


@dataclass(frozen=True)
class Twin:
    """The node whose gradient a node has that rounds.

    Attributes:
        op_type: The operator.
        sources: For each input the position of the case's input, or a constant.
        attributes: The node's attributes.
        domain: The operator set.
    """

    op_type: str
    sources: Sequence[int | Array | None] = (0,)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True)
class Case:
    """One node to compare.

    Attributes:
        inputs: An array for each input of the node; None where it is omitted.
        attributes: The node's attributes.
        outputs: The number of outputs.
        unset: Positions of outputs among them that are omitted.
        constants: Positions of the inputs that are initializers: shapes, axes, weights that must be known.
        held: Positions of floats that are computed with, but not moved: where the function has steps in them.
        single: Positions of floats that are float32 whatever the others are.
        quantized: The scale and the zero point by which the float input of a position is quantized.
        dequantized: Those by which the first output becomes a float, or the names of outputs that are these.
        twin: Where the gradient passes rounding: what is differentiated instead.
    """

    inputs: Sequence[Array | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    unset: frozenset[int] = frozenset()
    constants: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()
    single: frozenset[int] = frozenset()
    quantized: Mapping[int, tuple[Array, Array]] = field(default_factory=dict)
    dequantized: tuple[Array | str, Array | str] | None = None
    twin: Twin | None = None

    @property
    def moving(self) -> list[int]:
        """The positions of the inputs that the gradient is taken to."""
        still = self.constants | self.held
        return [i for i, x in enumerate(self.inputs) if x is not None and x.dtype == np.float32 and i not in still]

    def arrays(self, dtype: Any) -> list[Array | None]:
        """The inputs, their floats in another type."""
        return [
            x if x is None or x.dtype != np.float32 or index in self.single else x.astype(dtype)
            for index, x in enumerate(self.inputs)
        ]

    def feeds(self, dtype: Any) -> dict[str, Array]:
        """The inputs of the graph by name."""
        arrays = enumerate(self.arrays(dtype))
        return {f"x{i}": np.asarray(x) for i, x in arrays if x is not None and i not in self.constants}


def model_of(op_type: str, domain: str, version: int, case: Case, dtype: Any) -> onnx.ModelProto:
    """Write the model of a case, whose floats have this type."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(case.inputs)]
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    for index, parameters in case.quantized.items():
        names[index] = f"q{index}"
        nodes.append(_linear("QuantizeLinear", f"x{index}", f"q{index}", parameters, initializers))
    results = ["" if index in case.unset else f"y{index}" for index in range(case.outputs)]
    inner = results if case.dequantized is None else ["q", *results[1:]]
    nodes.append(helper.make_node(op_type, names, inner, domain=domain, **case.attributes))
    if case.dequantized is not None:
        nodes.append(_linear("DequantizeLinear", "q", results[0], case.dequantized, initializers))
    arrays = {f"x{i}": x for i, x in enumerate(case.arrays(dtype)) if x is not None}
    feeds = case.feeds(dtype)
    initializers += [numpy_helper.from_array(np.asarray(arrays[n], order="C"), n) for n in arrays if n not in feeds]
    infos = [_info(name, x) for name, x in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in results if name]
    graph = helper.make_graph(nodes, "one", infos, outputs, initializers)
    return _model(graph, domain, version, chain=len(nodes) > 1)


def twin_of(case: Case, twin: Twin, dtype: Any) -> onnx.ModelProto:
    """Write the model of a case's twin."""
    names = ["" if s is None else f"x{s}" if isinstance(s, int) else f"c{i}" for i, s in enumerate(twin.sources)]
    constants = {f"c{i}": s for i, s in enumerate(twin.sources) if isinstance(s, np.ndarray)}
    typed = {name: x.astype(dtype) if x.dtype == np.float32 else x for name, x in constants.items()}
    node = helper.make_node(twin.op_type, names, ["y0"], domain=twin.domain, **twin.attributes)
    infos = [_info(name, x) for name, x in case.feeds(dtype).items() if name in names]
    initializers = [numpy_helper.from_array(x, name) for name, x in typed.items()]
    graph = helper.make_graph([node], "twin", infos, [onnx.ValueInfoProto(name="y0")], initializers)
    return _model(graph, twin.domain, 1 if twin.domain else QUANTIZED_OPSET, chain=False)


def session(proto: onnx.ModelProto, oracle: Oracle = "onnxruntime") -> Run:
    """Return a function that runs a model."""
    if oracle == "onnx.reference":
        evaluator = ReferenceEvaluator(proto)
        return lambda feeds: [np.asarray(value) for value in evaluator.run(None, dict(feeds))]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact, _ = with_exact_sums(proto)
    inner = onnxruntime.InferenceSession(exact.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: [np.asarray(value) for value in inner.run(None, dict(feeds))]


def lowered(proto: onnx.ModelProto) -> Network:
    """Lower a model without asking the checker, which knows no operators that were removed from the specification."""
    return lower(Model("one node", None, "", onnx_ir.from_proto(proto)))


def _info(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _linear(
    op_type: str, source: str, result: str, parameters: Sequence[Array | str], initializers: list[onnx.TensorProto]
) -> onnx.NodeProto:
    """Write a node that quantizes or dequantizes, along the first axis where there are several scales."""
    names = [given if isinstance(given, str) else f"{result}_{source}_{i}" for i, given in enumerate(parameters)]
    arrays = [(given, name) for given, name in zip(parameters, names, strict=True) if not isinstance(given, str)]
    initializers += [numpy_helper.from_array(array, name) for array, name in arrays]
    along: dict[str, Any] = {"axis": 0} if any(array.ndim for array, _ in arrays) else {}
    return helper.make_node(op_type, [source, *names], [result], **along)


def _model(graph: onnx.GraphProto, domain: str, version: int, *, chain: bool) -> onnx.ModelProto:
    default = NEWEST_ORT_OPSET if domain else version
    opsets = [helper.make_opsetid("", max(default, QUANTIZED_OPSET) if chain and domain else default)]
    if domain:
        opsets.append(helper.make_opsetid(domain, version))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
