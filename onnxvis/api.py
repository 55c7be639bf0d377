"""Functions of the Python API that join several steps."""

from __future__ import annotations

from typing import Any

from onnxvis.lower import lower
from onnxvis.model import load
from onnxvis.network import Network
from onnxvis.sizes import InputShapes
from onnxvis.truncate import truncate


def to_torch(model: Any, node: str | None = None, input_shapes: InputShapes | None = None) -> Network:
    """Convert an ONNX model, or its part up to a node, to a differentiable torch graph.

    Args:
        model: A path, bytes, `ModelProto` or `Model`; it is not changed.
        node: The node or tensor to stop at, by any name that `--node` takes; None: all outputs, in the file's order.
        input_shapes: Shapes by input name (for one input: its shape), where the file leaves sizes open.
            An open batch is 1.

    Returns:
        GraphModule: In eval mode, weights frozen, float32 where the file says float16. `input_names` holds the
        order of its arguments, `output_names` that of its results: a tensor for one output, else a tuple.

    Raises:
        OnnxvisError: The model cannot be loaded or lowered, or the name is not found.
    """
    loaded = load(model)
    if node is None:
        return lower(loaded, None, input_shapes)
    tensor = loaded.names.find(node, source=loaded.name).name
    return lower(truncate(loaded, str(tensor)), None, input_shapes)
