"""Compare presets by the activation of many units, on the file as written, at equal passes through the network.

    python benchmarks/units.py MODEL PREPROCESS COUNT NODE... [--presets auto keras-vis lucid] [--seed 0]

COUNT units are drawn by a seed, as many from each node, dead ones left out. Each preset makes a picture of every one
in as many passes as the first preset takes by default; the activation is measured by onnxruntime on the 8-bit picture.
The table says how often the first preset is ahead of each other, and by what factor in the median.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np

import onnxvis


def drawn(model: str, node: str, count: int, seed: int) -> list[int]:
    """Draw filters of a node, more than are needed: some may be dead."""
    filters = next(spec.filters for spec in onnxvis.load(model).nodes if node in (spec.name, spec.node, spec.tensor))
    order = np.random.default_rng(seed).permutation(int(filters or 0))
    return [int(index) for index in order[: 2 * count]]


def activations(options: argparse.Namespace, node: str, settings: dict[str, Any]) -> dict[int, onnxvis.Result]:
    """Make a picture of each drawn filter of a node, and drop the dead ones."""
    wanted = -(-options.count // len(options.nodes))
    filters = drawn(options.model, node, wanted, options.seed)
    found: dict[int, onnxvis.Result] = {}
    for begin in range(0, len(filters), wanted):
        some = filters[begin : begin + wanted - len(found)]
        if not some:
            break
        made = onnxvis.visualize_filters(options.model, node, some, preprocess=options.preprocess, **settings)
        found |= {index: result for index, result in zip(some, made, strict=True) if result is not None}
    return found


def main() -> None:
    """Read the model from the command line, and print one row for each node and preset."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("preprocess")
    parser.add_argument("count", type=int)
    parser.add_argument("nodes", nargs="+")
    parser.add_argument("--presets", nargs="+", default=["auto", "keras-vis", "lucid"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    won: dict[str, list[bool]] = {name: [] for name in options.presets[1:]}
    for node in options.nodes:
        first = activations(options, node, {"preset": options.presets[0]})
        recipe = next(iter(first.values())).recipe
        passes = (recipe.steps or 0) * (recipe.views or 1)
        for name in options.presets[1:]:
            other = activations(options, node, {"preset": name, "steps": passes})
            both = [index for index in first if index in other]
            ahead = [first[index].activation > other[index].activation for index in both]
            ratios = [first[index].activation / other[index].activation for index in both if other[index].activation]
            factor = statistics.median(ratios) if ratios else float("nan")
            won[name] += ahead
            print(
                f"{node:<20} {options.presets[0]} ahead of {name:<10} {sum(ahead)} of {len(ahead)}, {factor:.2f} times"
            )
    for name, ahead in won.items():
        print(f"all: {options.presets[0]} ahead of {name} in {sum(ahead)} of {len(ahead)}")


if __name__ == "__main__":
    main()
