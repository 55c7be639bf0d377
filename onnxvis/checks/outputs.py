"""Outputs that are the same whatever the input is, and the layer from which on nothing varies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import onnx_ir as ir

from onnxvis.checks.concluding import concluded, skipped
from onnxvis.config import CheckSettings
from onnxvis.graph import computed_values, quantized_values
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Detail, Outcome, Status

_SAME = 1e-6
"""Differences relative to the largest magnitude that are no more than rounding."""
_SATURATING = frozenset({"Clip", "HardSigmoid", "LogSoftmax", "Sigmoid", "Softmax", "Tanh"})
"""Behind these a confident answer is the same number for very different inputs."""

_STEPPING = frozenset({"Ceil", "Floor", "OneHot", "Round", "Sign"})
"""What these make of noise may be one number although what they are made for has several."""


def check_outputs(inspection: Inspection, settings: CheckSettings) -> Outcome:  # noqa: ARG001 - as all checks
    """Compare the float outputs between the probes of noise and photos.

    Integers, such as labels, may well be the same on all noise: they are a warning where what they are computed from is
    constant too.

    Args:
        inspection: The model.
        settings: As for all checks.
    """
    outputs = [str(value.name) for value in inspection.model.ir.graph.outputs]
    details = list(_independent(inspection))
    if len(inspection.probes) == 1 and not details:
        return skipped("constant-outputs", "no input can be varied")
    dependent = {str(value.name) for value in computed_values(inspection.model.ir.graph)}
    seen = [name for name in outputs if name in dependent and name in inspection.seen(inspection.probes[0])]
    names = [name for name in seen if _is_float(inspection, name)]
    if len(inspection.probes) > 1:
        details += [_constant(inspection, name) for name in names if _is_constant(inspection, name)]
        integers = [name for name in seen if name not in names and _is_constant(inspection, name)]
        details += [item for name in integers if (item := _constant_integers(inspection, name)) is not None]
    if not names and not details:
        return skipped("constant-outputs", "no output holds floats")
    return concluded("constant-outputs", details, _vary(len(names)))


def _vary(count: int) -> str:
    return "the float output varies" if count == 1 else f"all {count} float outputs vary"


def _is_float(inspection: Inspection, name: str) -> bool:
    return bool(inspection.reference(inspection.probes[0])[name].dtype.kind == "f")


def _independent(inspection: Inspection) -> Iterator[Detail]:
    computed = set(computed_values(inspection.model.ir.graph))
    for value in inspection.model.ir.graph.outputs:
        if value not in computed and not value.is_graph_input():
            text = f"output {value.name!r} depends on the values of no input: is the graph cut before it?"
            yield Detail("warn", text, None, str(value.name))


def _is_constant(inspection: Inspection, name: str, *, edges: bool = False) -> bool:
    """Tell whether a tensor is the same on all probes of noise and photos, and on the edges if asked."""
    probes = [probe for probe in inspection.probes[1:] if edges or probe.kind != "edge"]
    figures = [inspection.seen(probe).get(name) for probe in probes]
    # What holds nothing cannot vary; what is not there was not observed.
    return all(item is not None and item.moved <= _SAME and item.low.size > 0 for item in figures)


def _constant(inspection: Inspection, name: str) -> Detail:
    culprit = first_constant(inspection, name)
    node = inspection.model.values[culprit].producer()
    op_type = "" if node is None else node.op_type
    is_discrete = node is not None and _is_discrete(inspection, node)
    is_excused = is_discrete or op_type in _SATURATING or not _is_constant(inspection, name, edges=True)
    status: Status = "warn" if is_excused else "fail"
    layer = inspection.layer(culprit)
    where = "" if culprit == name else f", constant from {layer!r} ({op_type}) on, whose input varies"
    remedy = "it may be saturated" if op_type in _SATURATING else "look at the weights of that layer"
    if is_discrete:
        remedy = "nothing was found in noise, it may be in photos: give --images"
    count = sum(probe.kind != "edge" for probe in inspection.probes)
    text = f"output {name!r} is the same on {count} different inputs{where}: {remedy}"
    return Detail(status, text, layer, culprit, {"probes": count, "operator": op_type})


def _constant_integers(inspection: Inspection, name: str) -> Detail | None:
    """Return what to say of integers that do not vary; None where those that they are computed from do."""
    found = _constant(inspection, name)
    quantized = quantized_values(inspection.model.ir.graph)
    culprit = str(found.tensor)
    stands_for_floats = inspection.model.values[culprit] in quantized or _is_float(inspection, culprit)
    return dataclasses.replace(found, status="warn") if stands_for_floats else None


def _is_discrete(inspection: Inspection, node: ir.Node) -> bool:
    """Tell whether a node steps, or reads integers or flags that are computed from the input."""
    if node.op_type in _STEPPING:
        return True
    graph = inspection.model.ir.graph
    whole = set(computed_values(graph)) - set(inspection.model.activations) - quantized_values(graph)
    return any(value in whole and not inspection.model.spec(value).is_float for value in node.inputs)


def first_constant(inspection: Inspection, name: str) -> str:
    """Return the tensor from which on nothing varies, on the way to one that does not.

    Args:
        inspection: The model.
        name: A tensor that is constant.
    """
    while True:
        constant = [source for source in _observed_before(inspection, name) if _is_constant(inspection, source)]
        if not constant:
            return name
        name = constant[0]


def _observed_before(inspection: Inspection, name: str) -> list[str]:
    """Return the nearest tensors that are observed among those that one is computed from."""
    seen = inspection.seen(inspection.probes[0])
    found: dict[str, None] = {}
    waiting, known = [inspection.model.values[name]], {name}
    while waiting:
        node = waiting.pop().producer()
        values = [] if node is None else [value for value in node.inputs if value is not None]
        for value in values:
            if str(value.name) in seen:
                found[str(value.name)] = None
            elif value.name not in known:
                known.add(str(value.name))
                waiting.append(value)
    return list(found)
