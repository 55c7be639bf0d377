"""Whether sums of 8-bit products overflow on processors without VNNI, foretold on any processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxvis.checks.concluding import concluded, listed, skipped
from onnxvis.config import CheckSettings
from onnxvis.errors import OnnxvisError
from onnxvis.inspection import Inspection
from onnxvis.ordinary import furthest, multiplies_integers
from onnxvis.outcomes import Detail, Outcome
from onnxvis.overflow import Forecast, Overflow, Risk, foretell, remedy
from onnxvis.probes import Probe

Seen = Mapping[Probe, Overflow]

NAME = "int8-overflow"
_NOTHING = "onnxruntime multiplies no uint8 by int8"
_MOST_PAIRS = 2e9
"""Pairs of products, a quarter of a minute, after which no further probe is looked at."""


def check_overflow(inspection: Inspection, _: CheckSettings) -> Outcome:
    """Foretell which sums overflow by the weights, which do on the probes, and how far the outputs move.

    Args:
        inspection: The model.
        _: There is nothing to set.

    Raises:
        UnsupportedOpError: onnxruntime does not say what it makes of the model.
    """
    if not multiplies_integers(inspection.model):
        return skipped(NAME, _NOTHING)
    forecast = foretell(inspection.model, inspection.answers)
    if forecast is None:
        return skipped(NAME, _NOTHING)
    layers = f"{forecast.products} product{'s' if forecast.products > 1 else ''} of uint8 and int8"
    if not forecast.risks:
        return concluded(NAME, [], f"{layers}, none with weights large enough to overflow")
    try:
        network = forecast.lowered(inspection.shapes, inspection.flags)
    except OnnxvisError as error:
        text = (
            f"{_count(forecast.risks)} can overflow by their weights on x86 processors without VNNI; how far the "
            f"outputs move is not known: {error}"
        )
        return concluded(NAME, [Detail("warn", text, forecast.risks[0].layer), *_layers(forecast, {})], "")
    seen: dict[Probe, Overflow] = {}
    for probe in inspection.probes:
        seen[probe] = forecast.emulate(network, probe.feeds)
        if sum(overflow.looked for overflow in seen.values()) > _MOST_PAIRS:
            break
    good = f"{layers}; {len(forecast.risks)} can overflow by their weights, to no effect on {len(seen)} probes"
    return concluded(NAME, [*_moved(forecast, seen), *_layers(forecast, seen)], good)


def _moved(forecast: Forecast, seen: Seen) -> Iterator[Detail]:
    """Yield what the outputs do, if they do anything."""
    moved = {item: probe for probe, overflow in seen.items() for item in overflow.moved}
    if not moved:
        return
    most = furthest(list(moved))[0]
    clipped = [risk for risk in forecast.risks if _share(risk, seen)]
    worst = max(clipped, key=lambda risk: _share(risk, seen))
    text = (
        f"int8 sums of {_count(clipped)} overflow on x86 processors without VNNI, up to {_share(worst, seen):.2g} % of "
        f"those of {worst.layer!r}: onnxruntime clips them there, and moves {most} on {moved[most].name!r}. "
        f"{remedy(forecast)}"
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
        by_weights = (
            f"{risk.pairs} of {risk.of} pairs of weights" if risk.pairs is not None else "products of two activations"
        )
        text = f"{risk.layer!r} ({risk.op_type}): {by_weights} can overflow, {_share(risk, seen):.2g} % of the sums do"
        figures: dict[str, float | int | str] = {"share": _share(risk, seen) / 100, "of": risk.of}
        if risk.pairs is not None:
            figures["pairs"] = risk.pairs
        yield Detail("pass", text, risk.layer, risk.tensor, figures)


def _share(risk: Risk, seen: Seen) -> float:
    """Return how many of a layer's sums overflow on the probes, in percent."""
    sums = sum(overflow.sums.get(risk.tensor, 0) for overflow in seen.values())
    return 100 * sum(overflow.clipped.get(risk.tensor, 0) for overflow in seen.values()) / max(sums, 1)


def _count(risks: Sequence[Risk]) -> str:
    names = dict.fromkeys(risk.layer for risk in risks)
    return f"{len(names)} layer{'s' if len(names) != 1 else ''} ({listed(names)})"
