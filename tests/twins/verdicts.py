"""Whether what was found says where the fault is."""

from __future__ import annotations

import onnx

from onnxvis.diff import Difference
from onnxvis.model import load
from tests.twins.fault import Fault


def names_the_layer(found: Difference, fault: Fault, twin: onnx.ModelProto) -> bool:
    """Whether a failure names the fault's layer: the tensor that differs first, its node, or the node that was changed.

    The fault's own label is the first node of the twin whose output differs. What was removed has no node there: then
    the failure may as well name the one behind which it is missing.
    """
    failures = [detail for detail in found.details if detail.status == "fail" and not detail.text.startswith("Output")]
    model = load(twin)
    short = model.names.short_name(model.values[fault.tensor]) if fault.tensor in model.values else None
    labels = {name for name in (fault.tensor, fault.layer, short) if name}
    for detail in failures:
        if labels & {detail.tensor, detail.layer, str(detail.figures.get("first_difference"))}:
            return True
    return False
