"""ONNX operators as functions on torch tensors, one module for each family of the specification.

Importing this package fills the table.
"""

from onnxvis.ops import (
    activation,
    cast,
    constant,
    conv,
    elementwise,
    indexing,
    legacy_broadcast,
    linear,
    logic,
    normalization,
    pad,
    pool,
    recurrent,
    reduction,
    resize,
    shape,
    spatial,
)
from onnxvis.ops.bind import Known, Slot, bind
from onnxvis.ops.cast import cuts_gradient
from onnxvis.ops.table import Operator, entries, find

__all__ = [
    "Known",
    "Operator",
    "Slot",
    "activation",
    "bind",
    "cast",
    "constant",
    "conv",
    "cuts_gradient",
    "elementwise",
    "entries",
    "find",
    "indexing",
    "legacy_broadcast",
    "linear",
    "logic",
    "normalization",
    "pad",
    "pool",
    "recurrent",
    "reduction",
    "resize",
    "shape",
    "spatial",
]
