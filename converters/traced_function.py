"""From a TensorFlow function to ONNX by tf2onnx, with what that gets wrong put right.

tf2onnx leaves operators for which it has no conversion in the file, with a line in the log: here they are an error. Put
right are `Erfc` (in Keras's exact GELU), which it does not know; constants that a function captures (mean and variance
of Keras's `Normalization`, in EfficientNet), which it turns into inputs; and functions compiled by XLA (Keras's grouped
convolutions, in ConvNeXt), which it does not look into.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx_file import Array, ConversionError, framework, refusing

OPSET = 18
"""The newest that tf2onnx writes."""


def tensorflow() -> Any:
    """Import TensorFlow, quietly; Keras too computes with it from then on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which it announces, and which rounds in another order
    os.environ["KERAS_BACKEND"] = "tensorflow"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    return framework("tensorflow")


def to_onnx(
    function: Callable[..., Mapping[str, Any]], signature: Sequence[Any], opset: int, *, what: str
) -> onnx.ModelProto:
    """Convert a function of tensors, with all variables that it reads as weights.

    Args:
        function: From tensors to tensors by name; its body is traced once.
        signature: The `tf.TensorSpec` of each argument; its name becomes the input's.
        opset: Of ONNX's operators.
        what: Is converted, for messages.

    Returns:
        onnx.ModelProto: Inputs in the order of the signature, outputs in alphabetical order.

    Raises:
        ConversionError: tf2onnx cannot.
    """
    check_opset(opset)
    tf, tf2onnx = tensorflow(), framework("tf2onnx")
    _teach_erfc()
    with refusing(f"tf2onnx cannot convert {what}"), _without_xla(tf):
        traced = tf.function(function, input_signature=list(signature))
        model, _ = tf2onnx.convert.from_function(traced, list(signature), opset=opset)
        captures = traced.get_concrete_function().graph.captures
    values = {inner.name: outer.numpy() for outer, inner in captures if inner.dtype != tf.resource}
    _turn_into_weights(model, values)
    check_operators(model, what)
    converted: onnx.ModelProto = model
    return converted


def check_opset(opset: int) -> None:
    """Refuse an opset that tf2onnx does not write.

    Raises:
        ConversionError: It is too new or too old.
    """
    oldest = 9  # the first with Erf and If
    if not oldest <= opset <= OPSET:
        message = f"tf2onnx writes the opsets {oldest} to {OPSET}, not {opset}"
        raise ConversionError(message)


def check_operators(model: onnx.ModelProto, what: str) -> None:
    """Refuse a file with operators that are none of ONNX's: tf2onnx leaves in what it cannot convert.

    Raises:
        ConversionError: There are any; all are named.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    left = {
        node.op_type
        for node in every_node(model.graph)
        if node.domain in versions and not onnx.defs.has(node.op_type, versions[node.domain], node.domain)
    }
    if left:
        message = f"tf2onnx has no conversion for {', '.join(sorted(left))} in {what}"
        raise ConversionError(message)


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """List a graph's nodes, those in the bodies of loops and branches included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from every_node(attribute.g)


@contextlib.contextmanager
def _without_xla(tf: Any) -> Iterator[None]:
    """Leave functions that are made meanwhile to be inlined, by not asking for their compilation."""
    function = tf.function

    def plain(*args: Any, jit_compile: object = None, **kwargs: Any) -> Any:  # noqa: ARG001 - what is not asked for
        return function(*args, **kwargs)

    tf.function = plain
    try:
        yield
    finally:
        tf.function = function


def _turn_into_weights(model: onnx.ModelProto, values: Mapping[str, Array]) -> None:
    used = {name for node in every_node(model.graph) for name in node.input}
    kept = [value for value in model.graph.input if value.name not in values]
    captured = [value.name for value in model.graph.input if value.name in values.keys() & used]
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(values[name]), name) for name in captured)
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _teach_erfc() -> None:
    """Give tf2onnx a conversion for `Erfc`: 1 - Erf(x)."""
    onnx_type = framework("tf2onnx.utils").map_onnx_to_numpy_type

    class Complement:
        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            (x,), (y,), shapes, dtypes = node.input, node.output, node.output_shapes, node.output_dtypes
            graph.remove_node(node.name)
            erf = graph.make_node("Erf", [x], name=f"{node.name}/Erf", shapes=shapes, dtypes=dtypes)
            one = graph.make_const(f"{node.name}/one", np.ones((), onnx_type(dtypes[0])))
            graph.make_node(
                "Sub", [one.output[0], erf.output[0]], outputs=[y], name=node.name, shapes=shapes, dtypes=dtypes
            )

    framework("tf2onnx.handler").tf_op("Erfc")(Complement)
