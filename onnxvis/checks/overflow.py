"""Whether sums of 8-bit products overflow on processors without VNNI, foretold on any processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxvis.checks.concluding import concluded, listed, skipped
from onnxvis.config import CheckSettings
from onnxvis.errors import OnnxvisError
from onnxvis.inspection import Inspection
from onnxvis.ordinary import furthest
from onnxvis.outcomes import Detail, Outcome
from onnxvis.overflow import Forecast, Overflow, Risk, foretell, remedy
from onnxvis.probes import Probe

Seen = Mapping[Probe, Overflow]

NAME = "int8-overflow"
_MOST_PAIRS = 1e9
"""Pairs of products, some ten seconds, after which no further probe is looked at."""


def check_overflow(inspection: Inspection, _: CheckSettings) -> Outcome:
    """Foretell which sums overflow by the weights, which do on the probes, and how far the outputs move.

    Args:
        inspection: The model.
        _: There is nothing to set.

    Raises:
        UnsupportedOpError: onnxruntime does not say what it makes of the model.
    """
    forecast = foretell(inspection.model, inspection.outputs or inspection.tensors[-1:])
    if forecast is None:
        return skipped(NAME, "onnxruntime multiplies no uint8 by int8")
    products = f"{forecast.products} product{'s' if forecast.products > 1 else ''} of uint8 and int8"
    if not forecast.risks:
        return concluded(NAME, [], f"{products}, none with weights large enough to overflow")
    try:
        seen = _seen(inspection, forecast)
    except OnnxvisError as error:
        return concluded(NAME, [_unseen(forecast, str(error)), *_layers(forecast, {})], "")
    if not seen:
        reason = "it would take too long to find out"
        return concluded(NAME, [_unseen(forecast, reason), *_layers(forecast, {})], "")
    count = sum(_share(risk, seen) > 0 for risk in forecast.risks)
    by_weights = f"{len(forecast.risks)} can overflow by their weights"
    few = f"{len(seen)} of {len(inspection.probes)}" if len(seen) < len(inspection.probes) else f"{len(seen)}"
    probes = f"{few} probe{'s' if len(inspection.probes) > 1 else ''}"
    good = f"{products}; {by_weights}, {count} do on {probes}, and no output moves"
    return concluded(NAME, [*_moved(forecast, seen, probes), *_layers(forecast, seen)], good)


def _seen(inspection: Inspection, forecast: Forecast) -> Seen:
    """Emulate the probes, as many as there is time for.

    Raises:
        OnnxvisError: No output can be lowered.
    """
    emulation = forecast.emulation(inspection.shapes, inspection.flags)
    seen: dict[Probe, Overflow] = {}
    left = _MOST_PAIRS
    for probe in inspection.probes:
        found = emulation.run(probe.feeds, left)
        if found is None:
            break
        seen[probe] = found
        left -= found.looked
    return seen


def _unseen(forecast: Forecast, reason: str) -> Detail:
    text = (
        f"int8 sums can overflow on x86 processors without VNNI, by their weights, in {_count(forecast.risks)}; how "
        f"far the outputs move is not known: {reason.rstrip('.')}. {remedy(forecast)}"
    )
    figures: dict[str, float | int | str] = {"products": forecast.products, "risky": len(forecast.risks)}
    return Detail("warn", text, forecast.risks[0].layer, forecast.risks[0].tensor, figures)


def _moved(forecast: Forecast, seen: Seen, probes: str) -> Iterator[Detail]:
    """Yield what the outputs do, if they do anything."""
    moved = {item: probe for probe, overflow in seen.items() for item in overflow.moved}
    if not moved:
        return
    most = furthest(list(moved))[0]
    clipped = [risk for risk in forecast.risks if _share(risk, seen)] or forecast.risks
    worst = max(clipped, key=lambda risk: _share(risk, seen))
    share = f"up to {_percent(_share(worst, seen))} of those of {worst.layer!r}"
    text = (
        f"int8 sums overflow on x86 processors without VNNI in {_count(clipped)}, {share}; "
        f"{len(forecast.risks)} of {forecast.products} products can. onnxruntime clips them there, which moves {most} "
        f"on {moved[most].name!r}, the worst of {probes}. {remedy(forecast)}"
    )
    figures: dict[str, float | int | str] = {
        "products": forecast.products,
        "risky": len(forecast.risks),
        "overflowing": len(clipped),
        "absolute": most.absolute,
        "largest": most.largest,
        "output": most.name,
    }
    yield Detail("warn", text, worst.layer, worst.tensor, figures)


def _layers(forecast: Forecast, seen: Seen) -> Iterator[Detail]:
    """Yield what can overflow in each layer, and what does."""
    for risk in forecast.risks:
        pairs = "any pair of activations" if risk.pairs is None else f"{risk.pairs} of {risk.of} pairs of weights"
        is_run = any(risk.tensor in overflow.sums for overflow in seen.values())
        share = (
            f"{_percent(_share(risk, seen))} of the sums do" if is_run else "no probe reaches it" if seen else "not run"
        )
        figures: dict[str, float | int | str] = {"share": _share(risk, seen) / 100, "of": risk.of}
        if risk.pairs is not None:
            figures["pairs"] = risk.pairs
        text = f"{risk.layer!r} ({risk.op_type}): {pairs} can overflow, {share}"
        yield Detail("pass", text, risk.layer, risk.tensor, figures)


def _share(risk: Risk, seen: Seen) -> float:
    """Return how many of a layer's sums overflow on the probes, in percent."""
    sums = sum(overflow.sums.get(risk.tensor, 0) for overflow in seen.values())
    return 100 * sum(overflow.clipped.get(risk.tensor, 0) for overflow in seen.values()) / max(sums, 1)


def _percent(share: float) -> str:
    return f"{share:.0f} %" if share >= 1 else f"{share:.1g} %"


def _count(risks: Sequence[Risk]) -> str:
    names = dict.fromkeys(risk.layer for risk in risks)
    return f"{len(names)} layer{'s' if len(names) != 1 else ''} ({listed(names)})"
