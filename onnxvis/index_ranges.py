"""Integer inputs that are indices: the tokens of a vocabulary, the classes of a condition, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxvis.model import Model

_TYPES = ("INT32", "INT64")
_REARRANGING = frozenset(
    {"Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)


def index_ranges(model: Model) -> dict[str, int]:
    """Return how many rows the tables have that integer inputs are the indices of, by input name: the fewest.

    Args:
        model: The model; inputs that are no indices, or of tables whose size is not known, are left out.
    """
    names = [spec.name for spec in model.inputs if spec.dtype in _TYPES]
    rows = {name: list(_rows(model, model.values[name])) for name in names}
    return {name: min(several) for name, several in rows.items() if several and min(several) > 0}


def _rows(model: Model, indices: ir.Value) -> Iterator[int]:
    waiting, known = [indices], {indices}
    while waiting:
        for use in waiting.pop().uses():
            node, first, second = use.node, use.node.inputs[0], (*use.node.inputs, None)[1]
            if node.op_type == "Gather" and use.idx == 1 and first is not None:
                yield from _size(model, first, node.attributes["axis"].as_int() if "axis" in node.attributes else 0)
            elif node.op_type == "OneHot" and use.idx == 0 and second is not None:
                depth = ir.convenience.get_const_tensor(second)
                yield from [] if depth is None else [int(np.asarray(depth.numpy()).reshape(-1)[0])]
            elif node.op_type in _REARRANGING and use.idx == 0 and node.outputs[0] not in known:
                waiting.append(node.outputs[0])
                known.add(node.outputs[0])


def _size(model: Model, table: ir.Value, axis: int) -> Iterator[int]:
    tensor = ir.convenience.get_const_tensor(table)
    shape = model.spec(table).shape if tensor is None else tuple(tensor.shape.numpy())
    if shape is not None and -len(shape) <= axis < len(shape) and isinstance(size := shape[axis], int):
        yield size
