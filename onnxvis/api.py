"""Functions of the Python API that join several steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxvis.lower import lower
from onnxvis.model import load
from onnxvis.network import Network
from onnxvis.sizes import InputShapes
from onnxvis.tensors import Precision
from onnxvis.truncate import truncate


def to_torch(
    model: Any,
    node: str | None = None,
    input_shapes: InputShapes | None = None,
    *,
    constants: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
) -> Network:
    """Convert an ONNX model, or its part up to a node, to a differentiable torch graph.

    Args:
        model: A path, bytes, `ModelProto` or `Model`; it is not changed.
        node: The node or tensor to stop at, by any name that `--node` takes; None: all outputs, in the file's order.
        input_shapes: Shapes by input name (for one input: its shape), where the file leaves sizes open.
            An open batch is 1.
        constants: Inputs that are known beforehand, by name: arrays, lists of arrays for sequences. They are no
            arguments of the result, and what they decide is decided: branches, shapes, the number of iterations.
        precision: What float16 and bfloat16 are computed in: "float32", in which gradients do not vanish, or
            "declared", what the file says.

    Returns:
        GraphModule: In eval mode, weights frozen. `input_names` holds the order of its arguments, `output_names` that
        of its results: a tensor for one output, else a tuple.

    Raises:
        OnnxvisError: The model cannot be loaded or lowered, or the name is not found.
    """
    loaded = load(model)
    if node is not None:
        loaded = truncate(loaded, str(loaded.names.find(node, source=loaded.name).name))
    return lower(loaded, None, input_shapes, constants=constants, precision=precision)
