"""Time many filters in one command against single commands, and against bare forward and backward passes.

    python benchmarks/filters.py MODEL NODE COUNT [SINGLES]

COUNT pictures are made by one call of `onnxvis visualize --filter 0-N`, and SINGLES of them (default 4, spread over the
range) by a call each, in new processes, in turn: the batch before and after them. "bare" is the forward and backward
pass of the plain truncated network at a batch of one, times the steps, times COUNT.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import onnxvis

_ROUNDS = 20
_STEPS = 256


def command(model: str, node: str, filters: str, output: Path) -> float:
    """Run the command line and return the seconds that it took."""
    words = [sys.executable, "-m", "onnxvis", "visualize", model, "--node", node, "--filter", filters, "-q"]
    began = time.perf_counter()
    subprocess.run([*words, "-o", str(output)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - words of our own
    return time.perf_counter() - began


def bare_step(model: str, node: str) -> float:
    """Return the median seconds of a forward and backward pass of the truncated network."""
    network = onnxvis.to_torch(model, node)
    fed = torch.rand(next(item.meta["shape"] for item in network.graph.nodes)).requires_grad_()
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        torch.autograd.grad(network(fed)[:, 0].mean(), fed)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Read the target from the command line, and print the times and their ratios."""
    model, node, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    singles = int(sys.argv[4]) if len(sys.argv) > 4 else 4  # noqa: PLR2004 - the optional word
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        first = command(model, node, f"0-{count - 1}", where / "first")
        # Dead units have no picture, and take no time alone.
        alive = [row["filters"][0] for row in json.loads((where / "first" / "index.json").read_text())]
        chosen = [alive[index * len(alive) // singles] for index in range(singles)]
        alone = statistics.median(command(model, node, str(index), where / f"{index}.png") for index in chosen)
        step = bare_step(model, node)
        batch = statistics.median([first, command(model, node, f"0-{count - 1}", where / "second")])
    bare = step * _STEPS * count
    print(f"{count} filters of {node}, {count - len(alive)} of them dead, {torch.get_num_threads()} threads")
    print(f"  one command {batch:.1f} s; {count} single commands {alone * count:.1f} s ({alone:.2f} s each)")
    print(f"  bare passes {bare:.1f} s ({1000 * step:.2f} ms each)")
    print(f"  batch / singles {batch / (alone * count):.3f}, batch / bare {batch / bare:.3f}")


if __name__ == "__main__":
    main()
