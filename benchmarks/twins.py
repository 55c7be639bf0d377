"""Faulty twins of models, which must be found, and honest re-exports, which must not: `check` and `diff` on all.

    python benchmarks/twins.py [faulty|honest] [a part of a name]

The twins are those of tests/twins. A fault is found by `diff` with the source, or by `check` of the twin alone; its
layer is named where a detail has the tensor at which the twin first differs, its node, or the node that was changed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import onnxvis  # noqa: E402 - the checkout's
from tests.twins import FAULTS, HONEST, Fault, Honest, load_source  # noqa: E402
from tests.twins.verdicts import names_the_layer  # noqa: E402


def main() -> None:
    """Print a table of all twins, and the counts."""
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    part = sys.argv[2] if len(sys.argv) > 2 else ""  # noqa: PLR2004 - the second argument
    if kind in ("", "faulty"):
        faulty([fault for fault in FAULTS if part in fault.name])
    if kind in ("", "honest"):
        honest([twin for twin in HONEST if part in twin.name])


def faulty(faults: Iterable[Fault]) -> None:
    """Print which faults are found, and whether the layer is named."""
    print("| fault | diff | layer named | check alone | layer |\n|---|---|---|---|---|")
    count: Counter[str] = Counter()
    began = time.perf_counter()
    for fault in faults:
        source = load_source(fault.source)
        twin = fault.make(source)
        found = onnxvis.diff(source, twin)
        report = onnxvis.check(twin, onnxvis.CheckSettings(skip=("gradients",)))
        named = names_the_layer(found, fault, twin)
        alone = report.status in ("warn", "fail", "error")
        count.update({"all": 1, "diff": not found.ok, "named": named, "check": alone, "any": alone or not found.ok})
        words = ("yes" if flag else "no" for flag in (not found.ok, named, alone))
        print(f"| {fault.name} | {' | '.join(words)} | {found.first_divergence or ''} |", flush=True)
    by = f"{count['diff']} by diff, {count['check']} by check of the twin alone"
    seconds = time.perf_counter() - began
    print(f"\n{count['any']} of {count['all']} found: {by}; layer named for {count['named']} ({seconds:.0f} s)")


def honest(twins: Iterable[Honest]) -> None:
    """Print which honest re-exports cause an alarm, of `diff` or because `check` finds more than in the source."""
    print("| re-export | diff | agreeing layers | check |\n|---|---|---|---|")
    count: Counter[str] = Counter()
    for twin in twins:
        source = load_source(twin.source)
        made = twin.make(source)
        found = onnxvis.diff(source, made)
        checked = [report_of(proto) for proto in (source, made)]
        good = checked[1] != "fail" or checked[0] == "fail"
        count.update({"all": 1, "quiet": found.ok and good})
        print(f"| {twin.name} | {found.status} | {found.agreeing} | {checked[1]} |", flush=True)
    print(f"\n{count['quiet']} of {count['all']} without alarm")


def report_of(proto: onnx.ModelProto) -> str:
    """Return the worst status of all checks of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        return onnxvis.check(path, onnxvis.CheckSettings(skip=("gradients",))).status


if __name__ == "__main__":
    main()
