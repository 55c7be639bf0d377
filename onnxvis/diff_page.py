"""What `onnxvis diff` found, as a page of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator

from onnxvis.comparison.portraits import Portrait
from onnxvis.diff import Difference, LayerAgreement
from onnxvis.diff_table import number, verdict
from onnxvis.outcomes import Status
from onnxvis.pages import (
    Bar,
    Cell,
    Markup,
    badge,
    details,
    element,
    facts,
    folded,
    notes,
    page,
    pictures,
    section,
    table,
)

_VERDICTS: dict[str, Status] = {"agrees": "pass", "permuted": "pass", "differs": "fail", "shape": "fail"}
_SMALLEST, _DECADES = 1e-8, 8.0
_FOLDED = 40


def diff_page(found: Difference) -> str:
    """Return a comparison as a self-contained page: what differs, every layer, and the pictures of the units."""
    title = verdict(found).rpartition(" (")[0]
    known = {
        "first file": found.first,
        "second file": found.second,
        **{f"input {name}": relation for name, relation in found.inputs.items()},
        "layers": f"{found.agreeing} of {sum(layer.verdict != 'unmatched' for layer in found.layers)} agree",
        "limit": found.limits,
        "seconds": f"{found.seconds:.1f}",
    }
    header = [element("p", badge(found.status), class_="verdict"), facts(known)]
    return page(title[0].upper() + title[1:], _sections(found), kind="onnxvis diff", header=header)


def _sections(found: Difference) -> Iterator[Markup]:
    if found.notes:
        yield section("Notes", notes(found.notes))
    if found.details:
        yield section("What differs", details(found.details))
    if found.portraits:
        yield section("What units look for, by both files", *map(_portrait, found.portraits))
    if found.layers:
        layers = _layers(found)
        is_long = len(found.layers) > _FOLDED and found.ok
        yield section("Layers", folded(f"{len(found.layers)} layers", layers) if is_long else layers)


def _portrait(item: Portrait) -> Markup:
    one, other = item.activations
    alike = f"The correlation of the pictures is {item.likeness:.2f}. " if math.isfinite(item.likeness) else ""
    first, second = (number(value, ".4g") or "nothing" for value in (one, other))
    said = f"{alike}The unit of the first file answers with {first}, that of the second with {second}."
    shown = [picture for picture in item.pictures if picture.png]
    return element("article", element("h3", item.unit), element("p", said), pictures(shown), class_="unit")


def _layers(found: Difference) -> Markup:
    headers = ["layer", "operator", "shape", "in the second", "verdict", "relative error", "cosine", "CKA"]
    return table(headers, map(_row, found.layers), label="All layers, in the order of computation")


def _row(layer: LayerAgreement) -> list[Cell]:
    one, other = layer.operators
    status = _VERDICTS.get(layer.verdict, "skip")
    return [
        layer.first,
        one if other in ("", one) else f"{one} / {other}",
        " x ".join(map(str, layer.shape)),
        layer.second or "",
        badge(status, layer.verdict),
        Bar(number(layer.relative_error, ".1e"), _length(layer.relative_error), status),
        number(layer.cosine, ".4f"),
        number(layer.cka, ".4f"),
    ]


def _length(error: float) -> float:
    """Return the length of an error's bar: decades above what rounding gives."""
    if not math.isfinite(error):
        return float(math.isinf(error))
    return min(1.0, max(0.0, math.log10(max(error, _SMALLEST) / _SMALLEST) / _DECADES))
