"""Time an optimization step against the bare forward and backward pass of the same truncated network.

    python benchmarks/step.py MODEL NODE FILTER [MODEL NODE FILTER ...]

The three are timed in turn, so that a machine whose speed drifts drifts for all of them; medians are compared. "plain"
is what `to_torch` returns, "simplified" what the loop runs: batch normalization folded, weights with the channels last.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import fx

import onnxvis
from onnxvis.maximize import adam
from onnxvis.prepare import prepare

ROUNDS = 60
WARM_UP = 3


def medians(functions: list[Callable[[], None]]) -> list[float]:
    """Run functions in turn and return the median milliseconds of each."""
    times: list[list[float]] = [[] for _ in functions]
    for round_ in range(ROUNDS + WARM_UP):
        for function, seconds in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            if round_ >= WARM_UP:
                seconds.append(time.perf_counter() - began)
    return [1000 * statistics.median(seconds) for seconds in times]


def compare(path: str, node: str, filter_: str) -> None:
    """Print the three times of one target, and their ratios."""
    prepared = prepare(onnxvis.load(path), onnxvis.Recipe(node=node, filters=(filter_,)))
    problem, plain = prepared.problem(), onnxvis.to_torch(path, prepared.target.tensor)
    name, variable = next(iter(problem.variables.items()))
    generators = [torch.Generator().manual_seed(0)]
    drawn = variable.parameterization.start((1, *variable.image_shape), generators)
    parameters = {name: tuple(tensor.requires_grad_() for tensor in drawn)}
    tensors = list(parameters[name])
    optimizer = adam(tensors, 0.05)
    fed = torch.rand(prepared.image_input.shape).requires_grad_()
    held = [torch.from_numpy(array) for array in prepared.units.inputs.held.values()]

    def bare(network: fx.GraphModule, *others: torch.Tensor) -> Callable[[], None]:
        def run() -> None:
            result = network(fed, *others)
            torch.autograd.grad(result.select(prepared.target.channel_axis, prepared.target.filters[0]).mean(), fed)

        return run

    def step() -> None:
        terms = torch.stack(problem.objective(problem.scene(problem.render(parameters), generators)))
        gradients = torch.autograd.grad(terms.sum(), tensors)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()

    without, simplified, whole = medians([bare(plain, *held), bare(problem.engine.network), step])
    print(f"{prepared.target} of {prepared.model.name}, {torch.get_num_threads()} threads")
    print(f"  plain {without:.2f} ms, simplified {simplified:.2f} ms, step {whole:.2f} ms")
    print(f"  step / plain {whole / without:.3f}, step / simplified {whole / simplified:.3f}")


def main() -> None:
    """Read the targets from the command line."""
    words = sys.argv[1:]
    for index in range(0, len(words), 3):
        compare(*words[index : index + 3])


if __name__ == "__main__":
    main()
