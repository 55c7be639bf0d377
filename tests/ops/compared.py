"""Operators beside onnxruntime over attributes and opsets: forward values, and gradients against central differences.

A family module in `tests/ops/cases` registers, for an operator, a function that draws a `Case` by hypothesis. A case is
compared twice: the network that a model of one node is lowered to with onnxruntime, and the gradient of a random
projection of its outputs to each input with central differences of onnxruntime, in float64 where it has kernels for it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from onnxvis.tensors import WIDER
from tests.ops.drawn import Draw
from tests.ops.one_node import Case, Oracle, Run, lowered, model_of, session, twin_of
from tests.ops.oracle import NEWEST_ORT_OPSET

Array = npt.NDArray[Any]
Generator = Callable[[Draw, int], Case]
G = TypeVar("G", bound=Callable[..., Case])
Gradient = Literal["compared", "straight-through", "cut", "none"]
Precision = Literal["float64", "float32"]

OLDEST_ORT_OPSET = 7
_STEP = {"float64": 1e-5, "float32": 1e-2}
_TOLERANCE = {"float64": 1e-6, "float32": 2e-3}
_FORWARD = 2e-5
_SMALLEST = 0.05
"""A result below this, of inputs of about 1, is a difference of larger numbers."""
_REFUSALS = (ort_errors.NotImplemented, ort_errors.InvalidGraph, ort_errors.Fail, ort_errors.RuntimeException)


@dataclass(frozen=True)
class Comparison:
    """How an operator is compared.

    Attributes:
        op_type: The operator.
        generator: Draws a case for a version of the operator set.
        gradient: "compared" with central differences; "straight-through": those of a twin that does not round;
            "cut": zero; "none": no output or no input is a float.
        domain: The operator set.
        oldest: The first version that the oracle can run the cases at.
        newest: The last one.
        exact: Whether the forward values have to be the same to the bit.
        precision: The type of the differences at the newest version: float64 where the oracle computes in it.
        oracle: Who says what is right.
        examples: How many cases are drawn.
    """

    op_type: str
    generator: Generator
    gradient: Gradient = "compared"
    domain: str = ""
    oldest: int = OLDEST_ORT_OPSET
    newest: int = NEWEST_ORT_OPSET
    exact: bool = False
    precision: Precision = "float64"
    oracle: Oracle = "onnxruntime"
    examples: int = 20

    @property
    def versions(self) -> range:
        """The versions of the operator set from which one is drawn."""
        return range(self.oldest, self.newest + 1)

    def model(self, case: Case, version: int, dtype: Any) -> onnx.ModelProto:
        """The model of a case."""
        return model_of(self.op_type, self.domain, version, case, dtype)


COMPARISONS: dict[tuple[str, str], Comparison] = {}


def compares(*op_types: str, **settings: Any) -> Callable[[G], G]:
    """Register how some operators are drawn; `settings` are those of `Comparison`.

    The decorated function gets `draw`, and as second argument, where it has one, the version of the operator set.
    """
    if settings.get("domain"):
        settings = {"oldest": 1, "newest": 1, **settings}

    def enter(generator: G) -> G:
        asks = len(inspect.signature(generator).parameters) > 1
        for op_type in op_types:
            comparison = Comparison(op_type, generator if asks else lambda draw, _: generator(draw), **settings)
            key = (comparison.domain, op_type)
            if key in COMPARISONS:
                message = f"{op_type} is registered twice"
                raise ValueError(message)
            COMPARISONS[key] = comparison
        return generator

    return enter


def check(comparison: Comparison, case: Case, version: int) -> None:
    """Compare a case's values and, where it has one, its gradient."""
    proto = comparison.model(case, version, np.float32)
    feeds = case.feeds(np.float32)
    wanted = session(proto, comparison.oracle)(feeds)
    network = lowered(proto)
    found = _results(network, _tensors(feeds))
    for mine, theirs in zip(found, wanted, strict=True):
        _assert_close(mine.detach().numpy(), theirs, exact=comparison.exact)
    if comparison.gradient == "cut":
        _check_cut(network, case, wanted)
    elif comparison.gradient == "straight-through":
        _check_straight_through(network, case, wanted)
    elif comparison.gradient == "compared" and case.moving:
        _check_gradient(comparison, case, version)


def _check_cut(network: Any, case: Case, outputs: Sequence[Array]) -> None:
    slopes = _slopes(network, case, np.float32, _directions(case, 1), _weights(outputs))
    assert all(size == 0 for _, size in slopes.values())


def _check_straight_through(network: Any, case: Case, outputs: Sequence[Array]) -> None:
    twin = case.twin
    assert twin is not None
    directions = _directions(case, 1)
    weights = [*_weights(outputs)[:1], *[None] * (len(outputs) - 1)]
    slopes = _slopes(network, case, np.float32, directions, weights)
    assert any(size > 0 for _, size in slopes.values())
    dtype, run, _ = _finest(functools.partial(twin_of, case, twin), case, "onnxruntime")
    _compare(run, case, dtype, directions, weights[:1], slopes, _TOLERANCE["float32"])


def _check_gradient(comparison: Comparison, case: Case, version: int) -> None:
    build = functools.partial(comparison.model, case, version)
    finest = comparison.precision if version == comparison.newest else None
    dtype, run, outputs = _finest(build, case, comparison.oracle, comparison.precision)
    assert finest in (None, np.dtype(dtype).name)
    directions, weights = _directions(case, version), _weights(outputs)
    network = lowered(build(dtype))
    slopes = _slopes(network, case, dtype, directions, weights)
    _compare(run, case, dtype, directions, weights, slopes, _TOLERANCE[np.dtype(dtype).name])


def _compare(
    run: Run,
    case: Case,
    dtype: Any,
    directions: Mapping[str, Array],
    weights: Sequence[Array | None],
    slopes: Mapping[str, tuple[float, float]],
    tolerance: float,
) -> None:
    """Compare the slope in the direction of each input with the quotient of central differences."""
    kind = np.dtype(dtype).name
    step = min(_STEP[kind], _gap(case) / 4)
    for name, direction in directions.items():
        quotients, size_of_sums = [], 0.0
        for width in (step, step / 2):
            sides = [_projection(run(_moved(case, dtype, name, sign * width * direction)), weights) for sign in (1, -1)]
            quotients.append((sides[0][0] - sides[1][0]) / (2 * width))
            size_of_sums = sides[0][1]
        quotient = (4 * quotients[1] - quotients[0]) / 3  # without the error of third order (Richardson 1911)
        slope, size = slopes[name]
        noise = 16 * float(np.finfo(dtype).eps) * size_of_sums / step
        allowed = tolerance * max(size, abs(quotient)) + noise
        if not abs(slope - quotient) <= allowed:
            message = f"{name}: gradient {slope:.8g}, central difference {quotient:.8g}, allowed {allowed:.2g} ({kind})"
            raise AssertionError(message)


def _moved(case: Case, dtype: Any, name: str, by: Array) -> dict[str, Array]:
    feeds = case.feeds(dtype)
    return {**feeds, name: np.asarray(feeds[name] + by, feeds[name].dtype)}


def _slopes(
    network: Any, case: Case, dtype: Any, directions: Mapping[str, Array], weights: Sequence[Array | None]
) -> dict[str, tuple[float, float]]:
    """Return for each moving input the slope in its direction, and the length of the products that sum to it."""
    tensors = _tensors(case.feeds(dtype))
    for name in directions:
        tensors[name].requires_grad_()
    pairs = zip(_results(network, tensors), weights, strict=True)
    terms = [(y.double() * torch.from_numpy(w)).sum() for y, w in pairs if w is not None]
    total = torch.stack([torch.zeros((), dtype=torch.float64), *terms]).sum()
    if not total.requires_grad:
        return dict.fromkeys(directions, (0.0, 0.0))
    inputs = [tensors[name] for name in directions]
    gradients = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    slopes = {}
    for (name, direction), gradient in zip(directions.items(), gradients, strict=True):
        products = gradient.double().numpy() * direction
        slopes[name] = (float(products.sum()), float(np.linalg.norm(products)))
    return slopes


def _tensors(feeds: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in feeds.items()}
    return {name: tensor.to(WIDER.get(tensor.dtype, tensor.dtype)) for name, tensor in tensors.items()}


def _results(network: Any, tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    found = network(*(tensors[name] for name in network.input_names))
    return found if isinstance(found, tuple) else (found,)


def _directions(case: Case, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {f"x{i}": rng.uniform(-1, 1, np.asarray(case.inputs[i]).shape) for i in case.moving}


def _weights(outputs: Sequence[Array]) -> list[Array | None]:
    rng = np.random.default_rng(len(outputs))
    return [np.asarray(rng.normal(size=value.shape)) if value.dtype.kind == "f" else None for value in outputs]


def _finest(
    build: Callable[[Any], onnx.ModelProto], case: Case, oracle: Oracle, precision: Precision = "float64"
) -> tuple[Any, Run, Sequence[Array]]:
    """Return float64 where the oracle has kernels for it, else float32, a function that runs the model, its outputs."""
    if precision == "float64":
        with contextlib.suppress(*_REFUSALS):
            run = session(build(np.float64), oracle)
            return np.float64, run, run(case.feeds(np.float64))
    run = session(build(np.float32), oracle)
    return np.float32, run, run(case.feeds(np.float32))


def _gap(case: Case) -> float:
    """Return the smallest distance between two values of one input, and of any to zero."""
    gaps = [1.0]
    for index in case.moving:
        values = np.unique(np.append(np.asarray(case.inputs[index]), np.float32(0)))
        gaps += np.diff(values).tolist()
    return max(min(gaps), 1e-4)


def _projection(outputs: Sequence[Array], weights: Sequence[Array | None]) -> tuple[float, float]:
    """Return the weighted sum of the outputs, and that of their magnitudes."""
    products = [
        value.astype(np.float64) * weight for value, weight in zip(outputs, weights, strict=True) if weight is not None
    ]
    return float(sum(p.sum() for p in products)), float(sum(np.abs(p).sum() for p in products))


def _assert_close(mine: Array, theirs: Array, *, exact: bool) -> None:
    assert mine.shape == theirs.shape
    if exact or theirs.dtype.kind not in "fc":
        np.testing.assert_array_equal(mine.astype(theirs.dtype), theirs)
        return
    scale = max(float(np.max(np.abs(theirs), initial=0.0, where=np.isfinite(theirs))), _SMALLEST)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=_FORWARD * scale)
