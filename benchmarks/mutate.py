"""Run damaged and hostile files through loading, listing, lowering, verifying and drawing, and report what goes wrong.

    python -m benchmarks.mutate [--count 5000] [--first 0] [--workers 2] [--models ../shared/models] [--keep FOLDER]

Wrong is whatever is neither a picture nor an `OnnxvisError`: another exception, a process that dies, more than a
minute, more than 4 GB of memory; and also where torch and onnxruntime disagree. Seeds are the small models of
tests/mutant_seeds.py, the samples, and the small ones of a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.mutant_seeds import SEEDS
from tests.mutants import mutant

ROOT = Path(__file__).parents[1]
SECONDS = 60
BYTES = 4 << 30
BACKSTOP = 9 << 30
LARGEST_SEED = 1 << 20
STAGES = ("load", "nodes", "lower", "verify", "visualize")


@dataclass(frozen=True)
class Finding:
    """What went wrong with one file.

    Attributes:
        number: The mutant's number.
        stage: Where.
        kind: "exception", "disagreement", "died", "hang" or "memory".
        text: The traceback, or figures.
    """

    number: int
    stage: str
    kind: str
    text: str


def seeds(folder: Path | None) -> tuple[bytes, ...]:
    """Return the bytes of all models that are mutated."""
    paths = sorted((ROOT / "samples").glob("*.onnx"))
    if folder is not None:
        paths += sorted(folder.glob("*.onnx"))
    return SEEDS + tuple(path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED)


def stages(path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is done with a file, one after the other."""
    import onnxvis  # noqa: PLC0415 - in the workers alone: it brings torch

    found: dict[str, Any] = {}

    def load() -> None:
        found["model"] = onnxvis.load(path)
        str(found["model"])

    def nodes() -> None:
        found["nodes"] = [node.name for node in found["model"].nodes]

    yield "load", load
    yield "nodes", nodes
    node = found["nodes"][-1] if found.get("nodes") else None
    yield "lower", lambda: onnxvis.to_torch(found["model"], node)
    yield "verify", lambda: onnxvis.verify(found["model"])
    yield "visualize", lambda: onnxvis.visualize(found["model"], node, steps=2, device="cpu")


def work(connection: Connection, models: Sequence[bytes], keep: Path | None) -> None:
    """Try each file whose number comes; send the stage, and in the end the outcome."""
    import torch  # noqa: PLC0415 - see above

    from onnxvis.errors import OnnxvisError, VerificationError  # noqa: PLC0415 - see above

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (BACKSTOP, BACKSTOP))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        for number in iter(lambda: received(connection), None):
            content = mutant(number, models).content
            path.write_bytes(content)
            if keep is not None:
                (keep / f"{number}.onnx").write_bytes(content)
            outcome = "fine"
            for stage, step in stages(path):
                connection.send(("stage", stage))
                try:
                    step()
                except OnnxvisError as error:
                    outcome = type(error).__name__
                    if isinstance(error, VerificationError):
                        connection.send(("disagreement", error.message))
                    if stage == "load":
                        break
                except Exception:  # noqa: BLE001 - that is what is looked for
                    connection.send(("exception", traceback.format_exc()))
                    break
            connection.send(("done", outcome))


def received(connection: Connection) -> int | None:
    """Return the next number; None: there is none any more."""
    try:
        number: int = connection.recv()
    except EOFError:
        return None
    return number


class Worker:
    """A process that tries files, and is started again when one has killed it."""

    def __init__(self, models: Sequence[bytes], keep: Path | None) -> None:
        self.models, self.keep = models, keep
        self.start()

    def start(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.models, self.keep), daemon=True)
        self.process.start()
        other.close()

    def begin(self, number: int) -> None:
        """Hand over a file."""
        self.number, self.stage, self.began = number, "start", time.monotonic()
        self.connection.send(number)

    def watch(self) -> tuple[str | None, list[Finding]]:
        """Return the outcome, None while there is none, and what went wrong on the way."""
        findings: list[Finding] = []
        with contextlib.suppress(EOFError, ConnectionError):
            while self.connection.poll():
                kind, text = self.connection.recv()
                if kind == "done":
                    return text, findings
                if kind == "stage":
                    self.stage = text
                else:
                    findings.append(self.finding(kind, text))
        if not self.process.is_alive():
            findings.append(self.finding("died", f"exit code {self.process.exitcode}"))
        elif time.monotonic() - self.began > SECONDS * (2 if self.stage == "start" else 1):
            findings.append(self.finding("hang", f"{SECONDS} s"))
        elif resident(self.process.pid) > BYTES:
            findings.append(self.finding("memory", f"{resident(self.process.pid) / 1e9:.1f} GB"))
        else:
            return None, findings
        self.process.kill()
        self.process.join()
        self.start()
        return findings[-1].kind, findings

    def finding(self, kind: str, text: str) -> Finding:
        """Return what went wrong with the file at hand."""
        return Finding(self.number, self.stage, kind, text)


def resident(pid: int | None) -> int:
    """Return the bytes of memory that a process holds."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def run(numbers: Sequence[int], workers: list[Worker]) -> tuple[Counter[str], list[Finding]]:
    """Try all files; return how they ended and what went wrong."""
    waiting, outcomes, findings = list(reversed(numbers)), Counter[str](), list[Finding]()
    busy: list[Worker] = []
    while waiting or busy:
        for worker in [worker for worker in workers if worker not in busy]:
            if waiting:
                worker.begin(waiting.pop())
                busy.append(worker)
        for worker in list(busy):
            outcome, found = worker.watch()
            for finding in found:
                print(f"{finding.number} {finding.stage} {finding.kind}: {finding.text.strip().splitlines()[-1]}")
            findings += found
            if outcome is not None:
                outcomes["wrong" if found else outcome] += 1
                busy.remove(worker)
        sys.stdout.flush()
        time.sleep(0.01)
    return outcomes, findings


def main() -> None:
    """Read the options, run, and print each kind of finding once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    models, began = seeds(options.models), time.monotonic()
    workers = [Worker(models, options.keep) for _ in range(options.workers)]
    numbers = range(options.first, options.first + options.count)
    outcomes, findings = run(numbers, workers)
    places = {
        finding.text.strip().splitlines()[-3] if finding.kind == "exception" else finding.kind: finding
        for finding in findings
    }
    for finding in places.values():
        print(f"\n{finding.number} {finding.stage} {finding.kind}\n{finding.text}")
    print(f"\n{len(numbers)} files of {len(models)} models in {time.monotonic() - began:.0f} s")
    for outcome, count in outcomes.most_common():
        print(f"  {count:5} {outcome}")


if __name__ == "__main__":
    main()
