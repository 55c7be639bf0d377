"""Let one classifier judge the pictures that were made for another: does it see the class?

    python benchmarks/classes.py MODEL PREPROCESS JUDGE PREPROCESS [--count 50] [--presets auto lucid] [-o FOLDER]

COUNT classes are drawn by a seed. For each preset a picture of every class is made, all at as many passes through the
network (steps times views) as the first preset takes by default, and the judge, which had no part in making them,
ranks the class. The table has the shares that are first and among the first five with their standard errors, the
median rank, the mean logarithm of the class's probability, and the activation in the model itself.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import onnxvis
from onnxvis.judges import Judge

_TOP = 5


def pictures(options: argparse.Namespace, classes: list[int], settings: dict[str, Any]) -> list[onnxvis.Result]:
    """Make a picture of each class."""
    judge = Judge.of(options.judge, preprocess=options.judge_preprocess)
    results = onnxvis.visualize_filters(
        options.model, filters=classes, preprocess=options.preprocess, judge=judge, seed=options.seed, **settings
    )
    return [result for result in results if result is not None]


def row(name: str, results: list[onnxvis.Result], count: int, seconds: float) -> str:
    """Say how often the judge was right; a class without a picture counts as wrong."""
    verdicts = [result.assessment.verdict for result in results if result.assessment is not None]
    ranks = [verdict.rank for verdict in verdicts if verdict is not None and verdict.rank is not None]
    chances = [math.log(max(verdict.probability or 0.0, 1e-30)) for verdict in verdicts if verdict is not None]
    shares = [sum(rank <= most for rank in ranks) / count for most in (1, _TOP)]
    errors = [math.sqrt(share * (1 - share) / count) for share in shares]
    kept = [result.assessment.kept_by_8_bits for result in results if result.assessment is not None]
    bits = statistics.median([part for part in kept if part is not None])
    first, five = (f"{share:4.0%} +-{error:3.0%}" for share, error in zip(shares, errors, strict=True))
    activation = statistics.mean(result.activation for result in results)
    return (
        f"{name:<12} {first}  {five}  {statistics.median(ranks):6.1f}  {statistics.mean(chances):8.2f}  "
        f"{activation:10.4g}  {bits:6.1%}  {seconds / count:6.1f}"
    )


def main() -> None:
    """Read the models from the command line, and print a table."""
    parser = argparse.ArgumentParser()
    for word in ("model", "preprocess", "judge", "judge_preprocess"):
        parser.add_argument(word)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--presets", nargs="+", default=["auto", "lucid"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    total = onnxvis.load(options.model).nodes[-1].filters or 1
    drawn = np.random.default_rng(options.seed).choice(total, options.count, replace=False)
    classes = [int(index) for index in drawn]
    passes = None
    print(f"{options.model} judged by {options.judge}: {options.count} classes")
    print("preset         first       top five   rank  log prob.  activation  8 bits  s each")
    for preset in options.presets:
        settings: dict[str, Any] = {"preset": preset} if passes is None else {"preset": preset, "steps": passes}
        began = time.perf_counter()
        results = pictures(options, classes, settings)
        if passes is None:
            recipe = results[0].recipe
            passes = (recipe.steps or 0) * (recipe.views or 1)
        print(row(preset, results, options.count, time.perf_counter() - began), flush=True)
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            labels = [f"{result.target.filters[0]}" for result in results]
            sheet = onnxvis.contact_sheet([result.image for result in results], labels, title=preset)
            sheet.save(options.output / f"{preset}.png")


if __name__ == "__main__":
    main()
