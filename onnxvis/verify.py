"""onnxruntime as the oracle: does the torch graph compute what the file says, and if not, from which node on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxvis.errors import (
    DataDependentShapeError,
    InputError,
    OnnxvisError,
    SettingError,
    UnsupportedOpError,
    VerificationError,
)
from onnxvis.graph import ancestors, inputs_of
from onnxvis.image_input import find_image_input
from onnxvis.lower import lower, unsupported
from onnxvis.model import Model, load
from onnxvis.network import Network, full_precision
from onnxvis.oracle import Arrays, Oracle
from onnxvis.ordinary import note_of
from onnxvis.quantizers import quantizers_of, run_in_pieces
from onnxvis.sizes import InputShapes, input_shapes, shapes_with_arrays
from onnxvis.target import resolve
from onnxvis.tensors import as_tensor, widened, zeros

TOLERANCE = 1e-4
"""Largest relative error of float32 arithmetic; the scale is the tensor's largest magnitude."""
HALF_TOLERANCE = 1e-2
"""The same where the file computes in float16 or bfloat16 and the torch graph in float32."""
_TINY = 1e-12
UNIT_ROUNDING = 3e-7
_UNIT_SCALED = frozenset({"Sigmoid"})
"""onnxruntime computes these as 0.5 + an approximation, exact to the last places of 1 and not of a small result:
absolute differences of `UNIT_ROUNDING` are its own."""
_REARRANGING = frozenset(
    {"Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
_SEED = 0


@dataclass(frozen=True)
class Comparison:
    """One tensor, computed twice.

    Attributes:
        name: The short name of the tensor.
        tensor: Its name in the file.
        op_type: The operator that computes it.
        shape: Its shape.
        max_abs_error: Largest absolute difference.
        max_rel_error: The same, relative to the tensor's largest magnitude; behind a sigmoid, onnxruntime's own
            rounding of 3e-7 is taken off before.
    """

    name: str
    tensor: str
    op_type: str
    shape: tuple[int, ...]
    max_abs_error: float
    max_rel_error: float


@dataclass(frozen=True)
class Verification:
    """How far the torch graph and the reference agree.

    Attributes:
        ok: Whether all tensors agree within the tolerance.
        max_abs_error: The largest absolute error of all tensors.
        max_rel_error: The largest relative error of all tensors.
        first_divergence: The short name of the first node, in the order of computation, that disagrees, or None.
        tolerance: The relative error that is accepted.
        engine: What it was compared against.
        comparisons: Each tensor.
        skipped: Short names of the tensors that could not be compared, because an operator has no implementation.
        flips: How many quantized values were rounded the other way, at a tie. If there are any, the pieces between
            quantizers were compared each by itself, see `onnxvis.quantizers`.
        notes: What else is to be known: where an ordinary session on this processor computes something else.
    """

    ok: bool
    max_abs_error: float
    max_rel_error: float
    first_divergence: str | None
    tolerance: float
    engine: str
    comparisons: tuple[Comparison, ...] = field(repr=False)
    skipped: tuple[str, ...] = ()
    flips: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = f"{len(self.comparisons)} tensor{'s' if len(self.comparisons) != 1 else ''}"
        if self.ok:
            agrees = f"torch agrees with {self.engine} at {count} to {self.max_rel_error:.1e} relative"
            ties = "tie" if self.flips == 1 else "ties"
            return f"{agrees}, {self.flips} {ties} rounded the other way" if self.flips else agrees
        error = f"relative error {self.max_rel_error:.1e} (tolerance {self.tolerance:.0e})"
        if self.max_rel_error <= self.tolerance:
            error = "a quantizer rounds otherwise"
        return f"torch disagrees with {self.engine}: {error}, first at {self.first_divergence!r}"


def verify(
    model: Any,
    node: str | None = None,
    *,
    input_shapes: InputShapes | None = None,
    inputs: Mapping[str, np.ndarray[Any, Any]] | None = None,
    tolerance: float | None = None,
) -> Verification:
    """Compare the torch graph with onnxruntime.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        node: The tensor to compare, by any name that `--node` takes; None: every float tensor computed from the inputs.
        input_shapes: Shapes where the file leaves sizes open; arrays that are given have theirs.
        inputs: Arrays by input name. Others are noise, always the same: uniform over the range that the input seems
            to be made for; integers are zero. Integers and flags that are given are known beforehand: a branch that
            they decide is taken.
        tolerance: Largest relative error; default 1e-4, 1e-2 for a model that computes in half precision.

    Raises:
        InputError: An array is for no input of the model, or of a shape that the file excludes.
        OnnxvisError: The model cannot be loaded, lowered or run; a disagreement is no error here, but `ok` is False.
    """
    loaded = load(model)
    given = inputs or {}
    shapes = shapes_with_arrays(loaded, input_shapes, given)
    if node is None:
        lowered, feeds = _lowered_all(loaded, list(loaded.activations), shapes, given)
        outputs = [str(value.name) for value in loaded.ir.graph.outputs if value.name in lowered.names]
        report = _compared_all(loaded, lowered, feeds, tolerance)
        return dataclasses.replace(report, notes=_notes(loaded, outputs or lowered.names[-1:], feeds))
    asked = resolve(loaded, node, logits=False).tensor
    network = lower(loaded, [asked], shapes, constants=_flags(given))
    feeds = _feeds(loaded, [asked], shapes, given)
    report = compare(loaded, network, [asked], feeds, tolerance=tolerance)
    first = None if report.ok else _first_divergence(loaded, asked, shapes, feeds, report)
    return dataclasses.replace(report, first_divergence=first, notes=_notes(loaded, [asked], feeds))


def _first_divergence(
    model: Model, tensor: str, input_shapes: InputShapes | None, feeds: Arrays, report: Verification
) -> str | None:
    """Return the first node on the way to a tensor that disagrees; the tensor itself where no earlier one does."""
    nodes = ancestors([model.values[tensor]])
    values = [value for value in model.activations if value.producer() in nodes]
    full = _compared_all(model, *_lowered_all(model, values, input_shapes, feeds), report.tolerance)
    return full.first_divergence or report.first_divergence


def _notes(model: Model, tensors: Sequence[str], feeds: Arrays) -> tuple[str, ...]:
    note = note_of(model, tensors, feeds)
    return () if note is None else (note,)


def _lowered_all(
    model: Model,
    values: Sequence[ir.Value],
    input_shapes: InputShapes | None,
    inputs: Mapping[str, np.ndarray[Any, Any]],
) -> tuple[Lowered, Arrays]:
    """Lower all of some tensors that can be; also return what is fed."""
    lowered = lower_all(model, values, input_shapes, _flags(inputs))
    return lowered, _feeds(model, lowered.names, input_shapes, inputs)


def _compared_all(model: Model, lowered: Lowered, feeds: Arrays, tolerance: float | None) -> Verification:
    """Compare all tensors that have been lowered; the others are reported as skipped."""
    return compare(model, lowered.network, lowered.names, feeds, tolerance=tolerance, skipped=lowered.skipped)


@dataclass(frozen=True)
class Lowered:
    """As much of a model as can be lowered.

    Attributes:
        network: The torch graph, whose outputs are the named tensors.
        names: Names of the tensors, in the order of computation.
        skipped: Short names of those that need an operator without an implementation.
    """

    network: Network = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    skipped: tuple[str, ...]


def lower_all(
    model: Model,
    values: Sequence[ir.Value],
    shapes: InputShapes | None = None,
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Lowered:
    """Lower all of some tensors that can be.

    Args:
        model: The model.
        values: The tensors, in the order of computation.
        shapes: Input shapes where the file leaves sizes open.
        constants: Inputs that are known beforehand, by name.

    Raises:
        OnnxvisError: None of them can be lowered, or the sizes are not known.
    """
    blocked = set(unsupported(model))
    while True:
        names, skipped = _split(model, values, blocked)
        try:
            # Where nothing can be compared, lowering the outputs says why.
            network = lower(model, names or None, shapes, constants=constants)
        except (DataDependentShapeError, UnsupportedOpError) as error:
            node = (
                model.values[error.details["value"]].producer() if error.details.get("value") in model.values else None
            )
            if not names or node is None or node in blocked:
                raise
            blocked.add(node)
            continue
        return Lowered(network, tuple(names), tuple(skipped))


def compare(
    model: Model,
    network: Network,
    names: Sequence[str],
    feeds: Arrays,
    *,
    tolerance: float | None = None,
    skipped: Sequence[str] = (),
    oracle: Oracle | None = None,
) -> Verification:
    """Compare the outputs of a lowered network with the tensors of these names.

    Args:
        model: The original model.
        network: Its torch graph, whose outputs are the named tensors.
        names: Tensor names, in the order of computation.
        feeds: Arrays by input name.
        tolerance: Largest relative error; None: by the model's precision.
        skipped: What to report as not compared.
        oracle: A session that observes these tensors, if there is one already.
    """
    oracle = oracle or Oracle(model, names)
    wanted = oracle.run(feeds)
    return compare_with(
        model, network, names, feeds, wanted, tolerance=tolerance, skipped=skipped, engine=oracle.engine
    )


def compare_with(
    model: Model,
    network: Network,
    names: Sequence[str],
    feeds: Arrays,
    wanted: Arrays,
    *,
    tolerance: float | None = None,
    skipped: Sequence[str] = (),
    engine: str = "onnxruntime",
) -> Verification:
    """Compare the outputs of a lowered network with what the reference has computed already.

    Args:
        model: The original model.
        network: Its torch graph, whose outputs are the named tensors.
        names: Tensor names, in the order of computation.
        feeds: Arrays by input name.
        wanted: What the reference has at these inputs, by tensor name; where a quantizer's output is missing, the
            reference is run once more.
        tolerance: Largest relative error; None: by the model's precision.
        skipped: What to report as not compared.
        engine: What computed them.
    """
    limit = tolerance if tolerance is not None else HALF_TOLERANCE if is_half(model, names) else TOLERANCE
    comparisons = _comparisons(model, _computed(network, names, feeds), wanted, names)
    flips: dict[str, int] = {}
    first = _first_over(comparisons, limit)
    quantizers = quantizers_of(network, model.values) if first else []
    if quantizers:
        if not wanted.keys() >= set(quantizers):
            wanted = Oracle(model, list(dict.fromkeys([*names, *quantizers]))).run(feeds)
        found, flips, wrong = _computed_in_pieces(
            network, names, feeds, {name: wanted[name] for name in quantizers}, limit / 10
        )
        comparisons = _comparisons(model, found, wanted, names)
        first = _first_over(comparisons, limit) or (wrong and model.names.short_name(model.values[wrong]))
    return Verification(
        ok=first is None,
        max_abs_error=max((item.max_abs_error for item in comparisons), default=0.0),
        max_rel_error=max((item.max_rel_error for item in comparisons), default=0.0),
        first_divergence=first,
        tolerance=limit,
        engine=engine,
        comparisons=comparisons,
        skipped=tuple(skipped),
        flips=sum(flips.values()),
    )


def _comparisons(model: Model, found: Arrays, wanted: Arrays, names: Sequence[str]) -> tuple[Comparison, ...]:
    return tuple(_comparison(model, name, found[name], wanted[name]) for name in names)


def _first_over(comparisons: Sequence[Comparison], limit: float) -> str | None:
    # Written so that NaN, where only one side has it, counts as a disagreement.
    return next((item.name for item in comparisons if not item.max_rel_error <= limit), None)


def require(model: Model, report: Verification, input_shapes: InputShapes | None, feeds: Arrays) -> None:
    """Raise if a report is not good; the error names the first node at which the two diverge.

    Raises:
        VerificationError: The torch graph and the reference disagree.
    """
    if report.ok:
        return
    over = (item for item in report.comparisons if not item.max_rel_error <= report.tolerance)
    # Where only a quantizer on the way is off, no tensor of the report is.
    worst = next(over, report.comparisons[-1])
    try:
        first = _first_divergence(model, worst.tensor, input_shapes, feeds, report)
    except OnnxvisError:
        # That the two disagree is known; where they part is not.
        first = report.first_divergence
    agrees = worst.max_rel_error <= report.tolerance
    error = f"relative error {worst.max_rel_error:.1e} (tolerance {report.tolerance:.0e})"
    message = (
        f"The torch graph of {model.name} disagrees with {report.engine} at {worst.name!r}: "
        f"{'a quantizer before it rounds otherwise' if agrees else error}, first at {first!r}. "
        "This is a bug of onnxvis or of the model's operator: take a target before that node, and report it."
    )
    raise VerificationError(message, node=first, report=report)


def is_half(model: Model, tensors: Sequence[str] | None = None) -> bool:
    """Whether the file computes some tensors (None: any) in half precision."""
    if tensors is None:
        names: Iterable[str] = model.tensors
    else:
        nodes = ancestors([model.values[tensor] for tensor in tensors])
        names = {str(value.name) for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
    dtypes = {model.tensors[name].dtype for name in names if name in model.tensors}
    return bool(dtypes & {"FLOAT16", "BFLOAT16"})


def _split(model: Model, values: Sequence[ir.Value], blocked: set[ir.Node]) -> tuple[list[str], list[str]]:
    """Return the names of the tensors that need no blocked node, and the short names of the others."""
    names, skipped = [], []
    for value in values:
        if blocked and not blocked.isdisjoint(ancestors([value])):
            skipped.append(model.names.short_name(value))
        else:
            names.append(str(value.name))
    return names, skipped


def _feeds(
    model: Model, names: Sequence[str], given_shapes: InputShapes | None, given: Mapping[str, np.ndarray[Any, Any]]
) -> Arrays:
    needed = [str(value.name) for value in inputs_of(model.ir.graph, [model.values[name] for name in names])]
    shapes = input_shapes(model, given_shapes, [spec.name for spec in model.inputs if spec.name in needed])
    generator = np.random.default_rng(_SEED)
    noise = {name: _noise(model, name, shape, shapes, generator) for name, shape in shapes.items()}
    return {name: np.asarray(given.get(name, noise[name])) for name in needed}


def _flags(inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Pick the inputs that are no floats: what they decide is known beforehand."""
    return {name: array for name, array in inputs.items() if np.asarray(array).dtype.kind not in "fV"}


def _noise(
    model: Model,
    name: str,
    shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    generator: np.random.Generator,
) -> np.ndarray[Any, Any]:
    spec = next(spec for spec in model.inputs if spec.name == name)
    if not spec.is_float:
        return zeros(spec.dtype, shape)
    noise = generator.standard_normal(shape).astype(np.float32)
    with contextlib.suppress(InputError, SettingError):
        # Far from the range that a model is made for, onnxruntime's own rounding is coarse.
        image_input = find_image_input(model, shapes, wrt=name)
        pixels = torch.from_numpy(generator.random((image_input.copies, *image_input.image_shape), np.float32))
        noise = image_input.feed(pixels).contiguous().numpy()
    # Both sides must get the very same numbers.
    return noise.astype(np.float16).astype(np.float32) if spec.dtype in ("FLOAT16", "BFLOAT16") else noise


def _computed(network: Network, names: Sequence[str], feeds: Arrays) -> Arrays:
    with torch.no_grad(), full_precision():
        return _named(names, network(*_arguments(network, feeds)))


def _computed_in_pieces(
    network: Network, names: Sequence[str], feeds: Arrays, given: Arrays, reach: float
) -> tuple[Arrays, dict[str, int], str | None]:
    with full_precision():
        results, flips, wrong = run_in_pieces(network, _arguments(network, feeds), given, reach)
    return _named(names, results), flips, wrong


def _arguments(network: Network, feeds: Arrays) -> list[Tensor]:
    device = next((buffer.device for buffer in network.buffers()), torch.device("cpu"))
    return [widened(as_tensor(np.asarray(feeds[name]))).to(device) for name in network.input_names]


def _named(names: Sequence[str], result: Tensor | tuple[Tensor, ...]) -> Arrays:
    results: Sequence[Tensor] = (result,) if isinstance(result, Tensor) else result
    return {name: widened(tensor).cpu().numpy() for name, tensor in zip(names, results, strict=True)}


def _comparison(model: Model, name: str, found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> Comparison:
    value = model.values[name]
    node = value.producer()
    absolute, relative = _errors(found, wanted, excused=UNIT_ROUNDING if is_unit_scaled(value) else 0.0)
    return Comparison(
        name=model.names.short_name(value),
        tensor=name,
        op_type="" if node is None else node.op_type,
        shape=tuple(wanted.shape),
        max_abs_error=absolute,
        max_rel_error=relative,
    )


def is_unit_scaled(value: ir.Value) -> bool:
    """Whether onnxruntime computes a value, or what it rearranges, with the precision of numbers around one.

    Args:
        value: Of the model's graph.
    """
    node = value.producer()
    if node is None or node.op_type not in _UNIT_SCALED | _REARRANGING:
        return False
    source = node.inputs[0]
    return node.op_type in _UNIT_SCALED or (source is not None and is_unit_scaled(source))


def _errors(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], *, excused: float) -> tuple[float, float]:
    if found.shape != wanted.shape:
        return float("inf"), float("inf")
    first, second = found.astype(np.float64), wanted.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(first - second))
    absolute = float(np.max(difference, initial=0.0)) if not np.isnan(difference).any() else float("inf")
    scale = float(np.max(np.abs(second), initial=0.0, where=np.isfinite(second)))
    return absolute, max(absolute - excused, 0.0) / max(scale, _TINY)


def relative_error(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """Return the largest difference of two arrays, relative to the largest magnitude of the second.

    Args:
        found: An array.
        wanted: Another; infinite if it is of another shape, or if only one of them is NaN somewhere.
    """
    return _errors(found, wanted, excused=0.0)[1]
