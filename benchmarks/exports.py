"""Export random-weight networks of transformers by both exporters of torch, and try each file in onnxvis.

    python benchmarks/exports.py [--models resnet vit ...] [--exporters torchscript dynamo] [--opsets 11 20 ...]
                                 [--variants] [--csv FILE] [--json FILE] [--keep FOLDER]

Of each file: does the torch graph agree with onnxruntime at every float tensor, and is the gradient of the outputs with
respect to the input finite and not zero? `--variants` asks the same of what optimizers, quantizers and converters make
of it. It needs `transformers` and `onnxscript`, and `onnxslim` for that variant.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import io
import json
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from export_models import NETWORKS, build
from export_variants import VARIANTS, check

import onnxvis

OPSETS = {"torchscript": range(11, 21), "dynamo": range(11, 26)}
FUSED_ATTENTION = 14
TOLERANCES = {"float16": 0.05}
"""Relative errors that are accepted where it is not `verify`'s default: the file rounds to float16, torch does not."""
_REASON = 200


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Attributes:
        model: The network.
        exporter: "torchscript" or "dynamo".
        asked: The opset that was asked for.
        opset: The one that was written; 0 where nothing was.
        variant: "exported", or what was made of that.
        nodes: The number of nodes.
        tensors: How many float tensors were compared.
        skipped: How many could not be.
        flips: How many quantized values lay half way between two quanta, and were rounded the other way.
        error: The largest relative error of them.
        gradient: The largest magnitude of the gradient.
        seconds: For verifying and differentiating.
        failed: What went wrong: "export", "variant", "load", "verify", "gradient", or nothing.
        reason: Why.
    """

    model: str
    exporter: str
    asked: int
    opset: int = 0
    variant: str = "exported"
    nodes: int = 0
    tensors: int = 0
    skipped: int = 0
    flips: int = 0
    error: float = 0.0
    gradient: float = 0.0
    seconds: float = 0.0
    failed: str = ""
    reason: str = ""

    def __str__(self) -> str:
        found = f"{self.tensors:4d} tensors to {self.error:.1e}, gradient {self.gradient:.1e}, {self.seconds:4.1f} s"
        said = f"{self.failed.upper()}: {self.reason}" if self.failed else found
        opset = f"{self.asked}" if self.opset in (0, self.asked) else f"{self.asked}>{self.opset}"
        return f"{self.model:16s}{self.exporter:12s}{opset:7s}{self.variant:13s}{self.nodes:5d} nodes  {said}"


def export(name: str, exporter: str, opset: int, path: Path) -> None:
    """Write a network as ONNX."""
    network, x = build(name, eager=opset < FUSED_ATTENTION)
    with quiet():
        torch.onnx.export(
            network, (x,), path, dynamo=exporter == "dynamo", opset_version=opset, input_names=["input"], verbose=False
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what exporters and quantizers print, log and warn of."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def gradient(path: Path) -> float:
    """Return the largest magnitude of the gradient of random weights times the outputs, with respect to the inputs.

    The sum alone would not do: that of a layer normalization's output has no gradient.
    """
    model = onnxvis.load(path)
    network = onnxvis.to_torch(model)
    generator = torch.Generator().manual_seed(0)
    shapes = [tuple(int(dim or 1) for dim in spec.shape or ()) for spec in model.inputs]
    inputs = [torch.rand(shape, generator=generator).requires_grad_() for shape in shapes]
    results = network(*inputs)
    outputs = [y for y in (results if isinstance(results, tuple) else (results,)) if y.requires_grad]
    if not outputs:
        return 0.0
    weighted = [(torch.randn(y.shape, generator=generator) * y).sum() for y in outputs]
    gradients = torch.autograd.grad(torch.stack(weighted).sum(), inputs)
    return max(float(g.abs().max()) if bool(g.isfinite().all()) else float("nan") for g in gradients)


def examine(row: Row, path: Path) -> Row:
    """Verify a file and differentiate it."""
    began = time.perf_counter()
    try:
        proto = onnx.load(path, load_external_data=False)
        row = dataclasses.replace(row, opset=default_opset(proto), nodes=len(proto.graph.node))
        report = onnxvis.verify(path, tolerance=TOLERANCES.get(row.variant))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        return failed(row, "verify", error)
    row = dataclasses.replace(
        row,
        tensors=len(report.comparisons),
        skipped=len(report.skipped),
        flips=report.flips,
        error=report.max_rel_error,
    )
    if not report.ok or report.skipped:
        first = next((item for item in report.comparisons if item.name == report.first_divergence), None)
        at = f"first at {first.name} ({first.op_type}) {first.max_rel_error:.1e}" if first else ""
        return dataclasses.replace(row, failed="verify", reason=f"{at} skipped {list(report.skipped[:3])}"[:_REASON])
    try:
        row = dataclasses.replace(row, gradient=gradient(path), seconds=time.perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - as above
        return failed(row, "gradient", error)
    return row if row.gradient > 0 else dataclasses.replace(row, failed="gradient", reason=f"it is {row.gradient}")


def default_opset(proto: onnx.ModelProto) -> int:
    """Return the version of the default operator set."""
    return next((entry.version for entry in proto.opset_import if not entry.domain), 0)


def failed(row: Row, step: str, error: Exception) -> Row:
    """Return a row that tells what was raised."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return dataclasses.replace(row, failed=step, reason=reason[:_REASON])


def tried(name: str, exporter: str, opset: int, folder: Path, variants: Sequence[str]) -> Iterator[Row]:
    """Export a network, examine the file, and what each tool makes of it."""
    path = folder / f"{name}_{exporter}_{opset}.onnx"
    row = Row(name, exporter, opset)
    try:
        export(name, exporter, opset, path)
    except Exception as error:  # noqa: BLE001 - as above
        yield failed(row, "export", error)
        return
    yield examine(row, path)
    whole = path.with_suffix(".whole.onnx")
    if variants:
        # Not every tool finds weights that lie beside the file.
        onnx.save(onnx.load(path), whole)
    for variant in variants:
        made = path.with_suffix(f".{variant}.onnx")
        row = Row(name, exporter, opset, variant=variant)
        try:
            with quiet():
                VARIANTS[variant](whole, made)
                check(made)
        except Exception as error:  # noqa: BLE001 - as above
            yield failed(row, "variant", error)
        else:
            yield examine(row, made)


def summary(rows: Sequence[Row]) -> str:
    """Count what is right of each exporter, opset and variant; exports that the exporter itself refuses are apart."""
    keys = sorted({(row.exporter, row.variant, row.asked) for row in rows})
    lines = []
    for key in keys:
        group = [row for row in rows if (row.exporter, row.variant, row.asked) == key]
        written = [row for row in group if row.failed not in ("export", "variant")]
        right = [row for row in written if not row.failed]
        opsets = Counter(row.opset for row in written)
        found = ", ".join(f"{count} x {opset}" for opset, count in sorted(opsets.items()))
        lines.append(
            f"{key[0]:12s}{key[1]:13s}asked for {key[2]:2d}, written {len(written):2d} of {len(group):2d} ({found}): "
            f"{len(right):2d} right, largest error {max((row.error for row in right), default=0):.1e}"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--exporters", nargs="+", choices=OPSETS, default=list(OPSETS))
    parser.add_argument("--opsets", nargs="+", type=int, help="default: all from 11 that the exporter takes")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, help="which; without names: all")
    parser.add_argument("--csv", type=Path, help="write the table there")
    parser.add_argument("--json", type=Path, help="the same as JSON")
    parser.add_argument("--keep", type=Path, help="keep the files in this folder")
    return parser.parse_args()


def write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Write the table where it is wanted."""
    records = [dataclasses.asdict(row) for row in rows]
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(records)


def main() -> None:
    """Try what the command line asks for; exit with 1 if onnxvis fails at any file."""
    options = arguments()
    variants = list(VARIANTS) if options.variants == [] else options.variants or []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for exporter in options.exporters:
            for opset in options.opsets or OPSETS[exporter]:
                if opset not in OPSETS[exporter]:
                    continue
                for name in options.models:
                    for row in tried(name, exporter, opset, folder, variants):
                        print(row, flush=True)
                        rows.append(row)
    print(summary(rows))
    write(rows, options)
    sys.exit(any(row.failed in ("verify", "gradient") for row in rows))


if __name__ == "__main__":
    main()
