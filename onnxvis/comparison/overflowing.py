"""What clipped sums of 8-bit products add to the difference of two files, on processors without VNNI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnxvis.comparison.compare import Comparison
from onnxvis.errors import OnnxvisError
from onnxvis.ordinary import furthest
from onnxvis.outcomes import Detail
from onnxvis.overflow import Risk, foretell, remedy

_NAMES = ("first", "second")
_MOST_PAIRS = 3e8
"""Pairs of products of a file, some three seconds, that are looked at."""


@dataclass(frozen=True)
class Overflowing:
    """A file whose outputs move where sums are clipped.

    Attributes:
        text: Which layers overflow, and how far the outputs move.
        remedy: What helps.
        layer: The first of them.
        tensor: The tensor there.
        relative: How far the outputs move, relative to their largest magnitude.
    """

    text: str
    remedy: str
    layer: str
    tensor: str
    relative: float

    @property
    def note(self) -> str:
        """What was found, as a remark."""
        return f"{self.text}: 'onnxvis check' says what helps"

    @property
    def detail(self) -> Detail:
        """What was found, as a warning."""
        return Detail("warn", f"{self.text}. {self.remedy}", self.layer, self.tensor, {"relative_error": self.relative})


def overflowing(compared: Comparison) -> Iterator[Overflowing]:
    """Yield the files whose sums overflow on what was compared.

    Args:
        compared: The comparison of the files.
    """
    for which, side, feeds in zip(_NAMES, compared.sides, (compared.feeds.first, compared.feeds.second), strict=True):
        if not side.outputs:
            continue
        try:
            forecast = foretell(side.model, side.outputs)
            if forecast is None or not forecast.risks:
                continue
            # A network in which branches are decided by flags that are held is lowered at those.
            held = {name: array for name, array in feeds[0].items() if name in compared.feeds.held}
            emulation = forecast.emulation({name: array.shape for name, array in feeds[0].items()}, held)
        except OnnxvisError:
            # What cannot be lowered cannot be foretold; the files have been compared all the same.
            continue
        seen = [overflow for feed in feeds if (overflow := emulation.run(feed, _MOST_PAIRS / len(feeds))) is not None]
        moved = furthest([item for overflow in seen for item in overflow.moved])
        clipped: list[Risk] = [risk for risk in forecast.risks if any(each.clipped.get(risk.tensor) for each in seen)]
        if not moved:
            continue
        clipped = clipped or list(forecast.risks)
        layers = dict.fromkeys(risk.layer for risk in clipped)
        more = f" and {len(layers) - 1} more layers" if len(layers) > 1 else ""
        text = (
            f"int8 sums of the {which} file overflow at {clipped[0].layer!r}{more} on x86 processors without VNNI, "
            f"which moves {moved[0]}"
        )
        yield Overflowing(text, remedy(forecast), clipped[0].layer, clipped[0].tensor, moved[0].relative)
