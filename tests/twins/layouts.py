"""The same network with its images laid out in another order of axes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import ModelProto, helper

from tests.twins.edits import bypass, fed, redirect, set_attributes

NCHW_OF_NHWC = (0, 3, 1, 2)
NHWC_OF_NCHW = (0, 2, 3, 1)
SPATIAL = {"Conv", "AveragePool", "MaxPool", "GlobalAveragePool"}


def permute_sizes(value: onnx.ValueInfoProto, axes: Sequence[int]) -> None:
    """Declare an input's or output's sizes in another order."""
    dims = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString()) for d in value.type.tensor_type.shape.dim]
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(dims[axis] for axis in axes)


def channels_last_outside(model: ModelProto) -> None:
    """Take the image as NHWC and transpose it first."""
    value = fed(model)[0]
    redirect(model, value.name, "image/nchw")
    node = helper.make_node("Transpose", [value.name], ["image/nchw"], "to_nchw", perm=NCHW_OF_NHWC)
    model.graph.node.insert(0, node)
    permute_sizes(value, NHWC_OF_NCHW)


def channels_last_inside(model: ModelProto) -> None:
    """Keep all images NHWC, as a converter from TensorFlow does: each spatial operator stands between two Transposes.

    For networks whose other operators are elementwise, Concat of channels, Dropout, or come after a global average.
    """
    value = fed(model)[0]
    permute_sizes(value, NHWC_OF_NCHW)
    for node in list(model.graph.node):
        if node.op_type == "Concat":
            set_attributes(node, axis=3)
        if node.op_type not in SPATIAL:
            continue
        before, after = f"{node.output[0]}/before", f"{node.output[0]}/after"
        entry = helper.make_node("Transpose", [node.input[0]], [before], before, perm=NCHW_OF_NHWC)
        leave = helper.make_node("Transpose", [after], [node.output[0]], after, perm=NHWC_OF_NCHW)
        place = list(model.graph.node).index(node)
        node.input[0], node.output[0] = before, after
        model.graph.node.insert(place + 1, leave)
        model.graph.node.insert(place, entry)


def channels_first(model: ModelProto) -> None:
    """Take the image of a NHWC model as NCHW: its first Transpose is gone, and what comes before it is elementwise."""
    permute_sizes(fed(model)[0], NCHW_OF_NHWC)
    bypass(model, next(node for node in model.graph.node if node.op_type == "Transpose"))
