"""Units that answer to nothing: filters of zeros, and rectifiers that never open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.checks.concluding import concluded, skipped
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Detail, Outcome, Status

Array = np.ndarray[Any, Any]

_LINEAR: Mapping[str, int] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul"), 0),
    **dict.fromkeys(("BatchNormalization", "QLinearConv", "QGemm", "QLinearMatMul"), 0),
}
"""Operators with a filter for each channel, and which of their inputs is the tensor that they look at."""
_RECTIFIERS = frozenset({"Clip", "Relu", "ThresholdedRelu"})
_RECTIFIED = frozenset({"FusedConv", "FusedGemm", "QGemm", "QLinearConv", "QLinearMatMul"})
"""Operators that may hold a rectifier too, as quantized ones do in the lower end of their range."""
_QUANTIZED_WEIGHTS, _QUANTIZED_ZERO = 3, 5
"""Where quantized operators have their weights and the integer that stands for zero among their inputs."""
_BY_CHANNEL = frozenset({"BatchNormalization", *_RECTIFIERS})
"""What channel c of these is depends on channel c of their input alone."""
_NOTHING = 1e-6
"""A channel that varies by less than this part of what the liveliest of its layer does is constant."""
_FAR = 20.0
"""A rectifier that is so many times further from opening than its input ever moves is closed for good."""
_CERTAIN_UNITS = 4
"""A whole layer of fewer units that are silent may be waiting for what noise does not have."""
_MOSTLY = 0.9
_NAMED = 8


@dataclass(frozen=True)
class Units:
    """The channels of one layer over all probes.

    Attributes:
        tensor: Its name.
        dead: Those that cannot answer to anything, and whose input is not dead already.
        silent: Those that did not vary on any probe, the dead ones and those of dead inputs among them.
        count: How many there are.
    """

    tensor: str
    dead: tuple[int, ...] = field(repr=False)
    silent: tuple[int, ...] = field(repr=False)
    count: int


def check_dead(inspection: Inspection, settings: CheckSettings) -> Outcome:
    """Look for channels that never vary, of layers with filters and of rectifiers.

    Units that are merely silent may be waiting for what noise does not have; dead are those that cannot answer.

    Args:
        inspection: The model.
        settings: `max_dead`, the share of a layer from which on it is a failure.
    """
    if len(inspection.probes) == 1:
        return skipped("dead-units", "no input can be varied")
    layers = list(_layers(inspection))
    if not layers:
        return skipped("dead-units", "no layer has channels that are known")
    ordered = sorted(layers, key=lambda units: -len(units.dead) / units.count)
    details = [detail for units in ordered for detail in _details(inspection, units, settings.max_dead)]
    quietest = max(layers, key=lambda units: len(units.silent) / units.count)
    good = f"no dead unit in {len(layers)} layers"
    if quietest.silent:
        share = len(quietest.silent) / quietest.count
        good += f"; at most {share:.0%} silent on all probes ({inspection.layer(quietest.tensor)!r})"
    return concluded("dead-units", details, good)


def extremes(inspection: Inspection, tensor: str) -> tuple[Array, Array] | None:
    """Return the smallest and the largest value of each channel over all probes; None where channels are not known.

    Args:
        inspection: The model.
        tensor: The tensor's name.
    """
    if tensor not in inspection.sized.channel_axes:
        return None
    seen = [inspection.seen(probe).get(tensor) for probe in inspection.probes]
    lows = [item.low for item in seen if item is not None]
    if len({low.size for low in lows}) != 1 or lows[0].size == 0:
        return None
    highs = [item.high for item in seen if item is not None]
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _constant(inspection: Inspection, tensor: str) -> Array | None:
    """Return which channels never vary."""
    found = extremes(inspection, tensor)
    if found is None:
        return None
    spread = found[1] - found[0]
    return np.asarray(~(spread > _NOTHING * spread.max()))


def _layers(inspection: Inspection) -> Iterator[Units]:
    for value in inspection.model.activations:
        node = value.producer()
        if node is None or value is not node.outputs[0] or node.op_type not in _LINEAR.keys() | _RECTIFIERS:
            continue
        constant = _constant(inspection, str(value.name))
        if constant is None:
            continue
        dead = _cannot_answer(inspection, node, constant) & ~_inherited(inspection, node, constant.size)
        yield Units(str(value.name), _places(dead), _places(constant), constant.size)


def _places(flags: Array) -> tuple[int, ...]:
    return tuple(int(place) for place in np.flatnonzero(flags))


def _cannot_answer(inspection: Inspection, node: ir.Node, constant: Array) -> Array:
    if node.op_type in _RECTIFIED:
        # Constant may mean closed, and closed may mean silent.
        return np.array([bool(flag) and _is_zero(node, filter) for filter, flag in enumerate(constant)])
    if node.op_type not in _RECTIFIERS:
        return constant
    source = node.inputs[0]
    found = None if source is None else extremes(inspection, str(source.name))
    if found is None or found[0].size != constant.size:
        return np.zeros_like(constant)
    low, high = found
    return constant & (high < 0) & (-high > _FAR * (high - low))


def _inherited(inspection: Inspection, node: ir.Node, count: int) -> Array:
    """Return the channels that are constant because all channels that they are computed from are."""
    source = node.inputs[0]
    constant = None if source is None else _constant(inspection, str(source.name))
    if constant is None:
        return np.zeros(count, bool)
    if node.op_type in _BY_CHANNEL and constant.size == count:
        return constant
    group = node.attributes["group"].as_int() if "group" in node.attributes else 1
    if constant.size % group or count % group:
        return np.zeros(count, bool)
    return constant.reshape(group, -1).all(axis=1).repeat(count // group)


def _details(inspection: Inspection, units: Units, max_dead: float) -> Iterator[Detail]:
    layer, node = inspection.layer(units.tensor), inspection.model.values[units.tensor].producer()
    share, silent = len(units.dead) / units.count, len(units.silent) / units.count
    figures: dict[str, float | int | str] = {"dead": len(units.dead), "silent": len(units.silent), "units": units.count}
    probes = len(inspection.probes)
    if units.dead:
        status: Status = "fail" if share >= max_dead else "warn"
        zeros = [filter for filter in units.dead if node is not None and _is_zero(node, filter)]
        yield Detail(status, _text(layer, units, zeros, probes), layer, units.tensor, figures)
    elif silent == 1 and units.count >= _CERTAIN_UNITS and node is not None and not _is_all_inherited(inspection, node):
        yield _all_silent(inspection, units, node, figures)
    elif silent >= max(max_dead, _MOSTLY) and node is not None and not _is_all_inherited(inspection, node):
        text = f"{len(units.silent)} of {units.count} units of {layer!r} are silent on all {probes} probes"
        yield Detail("warn", f"{text}: feed photos with --images, or look at its weights", layer, units.tensor, figures)


def _all_silent(
    inspection: Inspection, units: Units, node: ir.Node, figures: Mapping[str, float | int | str]
) -> Detail:
    layer, probes = inspection.layer(units.tensor), len(inspection.probes)
    if _is_at_upper_bound(inspection, units.tensor, node):
        text = f"{layer!r} is constant: all {units.count} units are at the upper bound on all {probes} probes"
        return Detail("warn", text, layer, units.tensor, figures)
    text = f"all {units.count} units of {layer!r} are silent on all {probes} probes: the layer lets nothing through"
    return Detail("fail", text, layer, units.tensor, figures)


def _is_at_upper_bound(inspection: Inspection, tensor: str, node: ir.Node) -> bool:
    source = node.inputs[0]
    given = None if source is None else extremes(inspection, str(source.name))
    found = extremes(inspection, tensor)
    if node.op_type != "Clip" or given is None or found is None or given[0].size != found[1].size:
        return False
    return bool((given[0] >= found[1]).all())


def _is_all_inherited(inspection: Inspection, node: ir.Node) -> bool:
    return bool(_inherited(inspection, node, 1).all())


def _text(layer: str, units: Units, zeros: list[int], probes: int) -> str:
    shown = ", ".join(map(str, units.dead[:_NAMED])) + (", ..." if len(units.dead) > _NAMED else "")
    filters = "filter" if len(units.dead) == 1 else "filters"
    has = "has" if len(units.dead) == 1 else "have"
    what = f"{has} only zero weights" if len(zeros) == len(units.dead) else f"never varied on {probes} probes"
    counted = f" ({len(units.dead)} of {units.count})"
    return f"{filters} {shown} of {layer!r}{counted} {what}: prune or train again"


def _is_zero(node: ir.Node, filter: int) -> bool:
    """Tell whether a filter's weights are all zero, as far as they are constants."""
    is_quantized = node.op_type.startswith("Q")
    weights = _constant_input(node, _QUANTIZED_WEIGHTS if is_quantized else 1)
    axis = None if weights is None else _filter_axis(node, weights)
    if weights is None or axis is None or filter >= weights.shape[axis]:
        return False
    zero = _constant_input(node, _QUANTIZED_ZERO) if is_quantized else None
    zeros = np.zeros(1, np.int64) if zero is None else zero.reshape(-1)
    return not (np.take(weights, filter, axis) != zeros[filter if zeros.size > 1 else 0]).any()


def _constant_input(node: ir.Node, place: int) -> Array | None:
    value = node.inputs[place] if len(node.inputs) > place else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def _filter_axis(node: ir.Node, weights: Array) -> int | None:
    if node.op_type in ("Conv", "FusedConv", "QLinearConv"):
        return 0
    if node.op_type in ("Gemm", "FusedGemm", "QGemm"):
        transposed = node.attributes.get("transB")
        return 0 if transposed is not None and transposed.as_int() else 1
    return weights.ndim - 1 if node.op_type in ("MatMul", "QLinearMatMul") and weights.ndim > 1 else None
