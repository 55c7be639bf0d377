"""What `onnxvis diff` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from onnxvis.diff import Difference, LayerAgreement
from onnxvis.outcomes import Status
from onnxvis.report import OUT

_STYLES: dict[Status, str] = {"pass": "green", "skip": "dim", "warn": "yellow", "fail": "bold red", "error": "bold red"}
_BEFORE, _AFTER = 3, 6
_HEADERS = ("layer of A", "operator", "layer of B", "verdict", "error", "cosine", "CKA")
_NUMBERS = 4
"""From this column on there are numbers."""


def print_difference(found: Difference, *, every: bool = False, quiet: bool = False, console: Console = OUT) -> None:
    """Print what two files have in common and what they have not.

    Args:
        found: The comparison.
        every: Whether all layers are listed; else those around the first that differs.
        quiet: Whether nothing is printed where all is well, and nothing but what is wrong elsewhere.
        console: Where to.
    """
    if not quiet:
        for line in head(found):
            console.print(Text(line))
    for detail in found.details if not quiet or not found.ok else ():
        console.print(Text(f"{detail.status:<11} ", style=_STYLES[detail.status]).append(detail.text, style="default"))
    rows = shown_layers(found, every=every)
    if rows and not quiet:
        console.print()
        for text in _table(rows):
            console.print(Text(text), style="bold" if text.startswith(_HEADERS[0]) else "")
        if len(rows) < len(found.layers):
            console.print(Text(f"... of {len(found.layers)} layers: --layers lists all", style="dim"))
    if not quiet:
        console.print()
        console.print(Text(verdict(found), style="green" if found.ok else "bold red"))


def head(found: Difference) -> list[str]:
    """Return what was compared, a line each."""
    compared = sum(layer.verdict != "unmatched" for layer in found.layers)
    errors = [layer.mean_error for layer in found.layers if layer.verdict == "agrees"]
    furthest = f", to {max(errors):.1g} relative on average" if errors else ""
    rest = len(found.layers) - compared
    alone = f"; {rest} in A alone" if rest else ""
    if found.ok and found.agreeing < compared:
        alone += f"; {compared - found.agreeing} computed otherwise, to no effect on the outputs"
    lines = [f"{'A':<11} {found.first}", f"{'B':<11} {found.second}"]
    lines += [f"{'input':<11} {name} -> {relation}" for name, relation in found.inputs.items()]
    lines += [f"{'note':<11} {note}" for note in found.notes]
    lines.append(f"{'layers':<11} {found.agreeing} of {compared} agree{furthest}{alone} (limit: {found.limits})")
    for item in found.portraits:
        one, other = item.activations
        same = (
            f"the pictures are {item.likeness:.2f} alike" if math.isfinite(item.likeness) else "not both have a picture"
        )
        lines.append(f"{'unit':<11} {item.unit}: {one:.4g} in A, {other:.4g} in B, {same}")
    return lines


def verdict(found: Difference) -> str:
    """Return the last line: whether the two are the same."""
    if found.ok:
        accepted = "" if found.status in ("pass", "skip") else ", but for the warnings above"
        return f"the same network{accepted} ({found.seconds:.1f} s)"
    where = f", first at {found.first_divergence!r}" if found.first_divergence else ""
    return f"not the same network{where} ({found.seconds:.1f} s)"


def shown_layers(found: Difference, *, every: bool) -> Sequence[LayerAgreement]:
    """Return the layers to list: all, or those around the first that differs."""
    if every:
        return found.layers
    first = next((place for place, layer in enumerate(found.layers) if layer.verdict in ("differs", "shape")), None)
    return () if first is None or found.ok else found.layers[max(0, first - _BEFORE) : first + _AFTER]


def _table(layers: Sequence[LayerAgreement]) -> Iterator[str]:
    """Yield the lines of a table, whose names are never cut."""
    rows = [_HEADERS, *map(_row, layers)]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    for row in rows:
        padded = [
            cell.rjust(width - cell_len(cell) + len(cell)) if column >= _NUMBERS else set_cell_size(cell, width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(padded).rstrip()


def _row(layer: LayerAgreement) -> tuple[str, ...]:
    one, other = layer.operators
    return (
        layer.first,
        one if other in ("", one) else f"{one}/{other}",
        layer.second or "",
        layer.verdict,
        number(layer.relative_error, ".1e"),
        number(layer.cosine, ".4f"),
        number(layer.cka, ".4f"),
    )


def number(value: float, how: str) -> str:
    """Write a number; nothing where there is none."""
    return format(value, how) if math.isfinite(value) else "inf" if math.isinf(value) else ""
