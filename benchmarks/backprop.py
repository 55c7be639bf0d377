"""Compare replaced backward passes with the plain gradient as directions of ascent.

    python benchmarks/backprop.py MODEL NODE COUNT [NODE COUNT ...]

For the first COUNT filters of each node, from the same start with default settings and 64 steps: the median of what is
reached (the activation by onnxruntime) as a part of what the plain gradient reaches, and for how many filters it is at
least as high. Dead filters do not count.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

import onnxvis

STEPS = 64


def reached(model: onnxvis.Model, node: str, count: int, backprop: str | None) -> list[float | None]:
    """Return the activation of each filter."""
    found = onnxvis.visualize_filters(model, node, f"0-{count - 1}", backprop=backprop, steps=STEPS)
    return [None if result is None else result.activation for result in found]


def compare(plain: Sequence[float | None], replaced: Sequence[float | None]) -> str:
    """Return the median ratio, and how often it is at least 1."""
    ratios = [other / one for one, other in zip(plain, replaced, strict=True) if one and other is not None]
    wins = sum(ratio >= 1 for ratio in ratios)
    return f"median {statistics.median(ratios):.3f} of plain, at least as high for {wins} of {len(ratios)}"


def main() -> None:
    """Read the targets from the command line."""
    model = onnxvis.load(sys.argv[1])
    for node, count in zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True):
        plain = reached(model, node, count, None)
        for backprop in ("guided", "deconvnet"):
            print(f"{node}, {backprop}: {compare(plain, reached(model, node, count, backprop))}", flush=True)


if __name__ == "__main__":
    main()
