"""Compare int8 sums: exact, clipped by onnxruntime on this processor, and clipped as foretold.

    python benchmarks/int8.py [MODEL...]

For each model, and for small networks that onnxruntime's quantizer writes in all of its ways: how far the torch graph
with exact sums is from the reference; how far clipped sums move the output, as an ordinary session on this processor
moves it (nothing, where it has VNNI), and foretold; which share of the sums overflows; and the seconds that the
forecast takes. Moves are relative to the output's largest magnitude, the largest of the probes of `onnxvis check`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from onnxvis import verify
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.model import load
from onnxvis.ordinary import Moved, furthest, moved_here
from onnxvis.overflow import foretell
from onnxvis.processor import describe
from tests.int8_models import CLIPPED, REDUCED

_HEADERS = ("model", "exact", "clipped", "foretold", "layers", "sums", "seconds")


def row(name: str, path: Path) -> tuple[str, ...]:
    """Measure one model."""
    model = load(path)
    inspection = Inspection(model, CheckSettings())
    exact = verify(model, input_shapes=dict(inspection.shapes)).max_rel_error
    feeds = [probe.feeds for probe in inspection.probes]
    measured = moved_here(model, inspection.outputs, feeds)
    began = time.perf_counter()
    forecast = foretell(model, inspection.outputs)
    if forecast is None:
        return (name, f"{exact:.1e}", _size(measured), "none", "0", "0 %", "")
    emulation = forecast.emulation(inspection.shapes, inspection.flags)
    seen = [found for fed in feeds if (found := emulation.run(fed)) is not None]
    seconds = time.perf_counter() - began
    clipped = sum(sum(each.clipped.values()) for each in seen)
    share = 100 * clipped / max(sum(sum(each.sums.values()) for each in seen), 1)
    moved = furthest([item for each in seen for item in each.moved])
    layers = f"{len(forecast.risks)} of {forecast.products}"
    return (name, f"{exact:.1e}", _size(measured), _size(moved), layers, f"{share:.2g} %", f"{seconds:.1f}")


def _size(moved: list[Moved]) -> str:
    return f"{moved[0].relative:.3g}" if moved else "0"


def main() -> None:
    """Print the processor and the table."""
    for label, text in describe():
        if label in ("onnxruntime", "onnxruntime-gpu", "processor", "int8"):
            sys.stdout.write(f"{label}: {text}\n")
    rows = [_HEADERS, *(row(Path(word).name, Path(word)) for word in sys.argv[1:])]
    for name, make in {**CLIPPED, **REDUCED}.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(name, make(Path(folder))))
    for cells in rows:
        sys.stdout.write("| " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
