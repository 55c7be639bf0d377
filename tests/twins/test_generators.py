from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnxvis.exact_sums import with_exact_sums
from tests.twins import FAULTS, GENERATED, HONEST, Fault, Honest, load_source, sources
from tests.twins.edits import fed, making, names_read

Outputs = list[NDArray[Any]]

RANGES = {
    sources.TEXTURES: (-1.0, 1.0),
    sources.TEXTURES_INT8: (-1.0, 1.0),
    sources.SIGNALS: (-1.0, 1.0),
    sources.MOBILENET: (-1.0, 1.0),
    sources.KERAS: (0.0, 255.0),
    sources.SQUEEZENET: (-120.0, 140.0),
    sources.SHUFFLENET: (-2.0, 2.5),
    sources.SHUFFLENET_INT8: (-2.0, 2.5),
    sources.TRUNK: (-1.0, 1.0),
    sources.VITTRACK: (-2.0, 2.5),
    sources.MNIST: (0.0, 255.0),
    sources.YUNET: (0.0, 255.0),
    sources.DEEPLAB: (-1.0, 1.0),
    sources.CANDY: (0.0, 255.0),
    sources.PITCH: (-1.0, 1.0),
    sources.SILERO: (-1.0, 1.0),
    sources.GTCRN: (-1.0, 1.0),
}
SIZES = {sources.YUNET: {"height": 100, "width": 120}, sources.SILERO: {"sequence": 512}}
COSTLY = {sources.CANDY}  # a second each
SCALARS = {"sr": np.array(16000, np.int64)}


def source_or_skip(name: str) -> ModelProto:
    try:
        return load_source(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def shape_of(value: onnx.ValueInfoProto, sizes: dict[Any, int]) -> tuple[int, ...]:
    """Declared sizes; of those that are free: what is asked for by name or place, or 1."""
    dims = value.type.tensor_type.shape.dim
    return tuple(
        d.dim_value if d.dim_value > 0 else sizes.get(d.dim_param, sizes.get(i, 1)) for i, d in enumerate(dims)
    )


def smooth(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Blots in [0, 1]: noise of an eighth of the size along each long axis."""
    coarse = draw.random([size if size < 16 else size // 8 + 1 for size in shape], np.float32)
    for axis, size in enumerate(shape):
        if size >= 16:
            coarse = coarse.repeat(8, axis).take(range(size), axis)
    return coarse


def inputs_of(name: str, model: ModelProto, *, photo: bool) -> Outputs:
    """An input of a source in its range: blots, or noise."""
    draw = np.random.default_rng(2)
    low, high = RANGES.get(name, (0.0, 1.0))
    inputs: Outputs = []
    for value in fed(model):
        if value.name in SCALARS:
            inputs.append(SCALARS[value.name])
            continue
        shape = shape_of(value, SIZES.get(name, {}))
        unit = smooth(draw, shape) if photo else draw.random(shape, np.float32)
        inputs.append((low + (high - low) * unit).astype(np.float32))
    return inputs


def run(model: ModelProto, inputs: Sequence[NDArray[Any]]) -> Outputs:
    """The outputs of a model with exact sums, as it stands: nothing is optimized."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    exact, _ = with_exact_sums(model)
    session = ort.InferenceSession(exact.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in fed(model)]
    feeds = {v.name: x.astype(kind) for v, x, kind in zip(session.get_inputs(), inputs, kinds, strict=True)}
    return [np.asarray(y) for y in session.run(None, feeds)]


@functools.cache
def answers(name: str, *, photo: bool) -> tuple[ModelProto, Outputs, Outputs]:
    """A source, an input and its outputs."""
    model = source_or_skip(name)
    inputs = inputs_of(name, model, photo=photo)
    return model, inputs, run(model, inputs)


def distance(mine: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest difference as a share of the largest of theirs; infinite where shapes differ or a number is none."""
    if mine.shape != theirs.shape or not np.isfinite(mine).all():
        return np.inf
    apart = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
    return float(apart.max(initial=0) / max(float(np.abs(theirs).max(initial=0)), 1e-12))


def furthest(name: str, twin: ModelProto) -> float:
    """How far a twin is off its source on blots and on noise."""
    worst = 0.0
    for photo in (True, False):
        _, inputs, expected = answers(name, photo=photo)
        worst = max(worst, *map(distance, run(twin, inputs), expected))
        if worst > 0.1:  # of a fault; looking further costs time
            break
    return worst


def listed(twins: Sequence[Fault | Honest]) -> list[object]:
    """Twins as parameters: those that cost a second each, to make or to run, are slow."""
    return [
        pytest.param(t, id=t.id, marks=pytest.mark.slow if t.source in COSTLY or "dynamo" in t.name else ())
        for t in twins
    ]


@pytest.mark.parametrize("fault", listed(FAULTS))
def test_a_faulty_twin_is_a_valid_file_that_computes_something_else(fault: Fault) -> None:
    source = source_or_skip(fault.source)
    before = source.SerializeToString(deterministic=True)
    twin = fault.make(source)
    assert source.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(twin)
    if fault.kind == "float16 overflow":  # onnxruntime's CPU computes in float32 until somebody asks for the tensor
        assert not all(np.isfinite(tensors(fault, twin, photo=photo)[fault.tensor]).all() for photo in (True, False))
    else:
        assert furthest(fault.source, twin) > (5e-2 if "float16" in fault.kind else 1e-3)


def exposed(model: ModelProto) -> ModelProto:
    """A model that answers with all its tensors."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    names = dict.fromkeys(name for node in model.graph.node for name in node.output if name)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def computed(model: ModelProto) -> set[str]:
    """The tensors that depend on an input."""
    names = {value.name for value in fed(model)}
    for node in model.graph.node:
        if names & set(names_read(onnx.GraphProto(node=[node]))):
            names.update(node.output)
    return names


def tensors(fault: Fault, model: ModelProto, *, photo: bool) -> dict[str, NDArray[Any]]:
    """All tensors of a fault's source or twin by their names, in the order of the nodes."""
    _, inputs, _ = answers(fault.source, photo=photo)
    whole = exposed(model)
    return dict(zip((value.name for value in whole.graph.output), run(whole, inputs), strict=True))


def first_wrong(fault: Fault, twin: ModelProto, *, photo: bool) -> str | None:
    """The first computed tensor of a faulty file that differs from the one of its name in the source."""
    source = load_source(fault.source)
    mine, theirs = tensors(fault, twin, photo=photo), tensors(fault, source, photo=photo)
    least = 2e-2 if "float16" in fault.kind else 1e-6
    shared = [name for name in mine if name in theirs and name in computed(source)]
    return next((name for name in shared if distance(mine[name], theirs[name]) > least), None)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_wrong_layer_is_the_first_that_differs(fault: Fault) -> None:
    source = source_or_skip(fault.source)
    twin = fault.make(source)
    assert making(twin, fault.tensor).name == ("" if fault.layer is None else fault.layer)
    found = first_wrong(fault, twin, photo=True)
    if found is None:
        found = first_wrong(fault, twin, photo=False)
    assert found is not None
    renamed = fault.tensor not in computed(source)
    assert fault.tensor == found or (renamed and fault.tensor in making(twin, found).input)


def is_valid(model: ModelProto) -> bool:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False
    return True


@pytest.mark.parametrize("honest", listed(HONEST))
def test_an_honest_twin_is_a_valid_file_that_computes_the_same(honest: Honest) -> None:
    source = source_or_skip(honest.source)
    before = source.SerializeToString(deterministic=True)
    twin = honest.make(source)
    assert source.SerializeToString(deterministic=True) == before
    assert is_valid(twin) is honest.valid
    for photo in (True, False):
        _, inputs, expected = answers(honest.source, photo=photo)
        fed_in = [np.transpose(x, honest.input_axes.get(i, range(x.ndim))) for i, x in enumerate(inputs)]
        outputs = run(twin, fed_in)
        wanted = [np.transpose(y, honest.output_axes.get(i, range(y.ndim))) for i, y in enumerate(expected)]
        assert max(map(distance, outputs, wanted)) < honest.tolerance


@pytest.mark.parametrize("twins", [FAULTS, HONEST], ids=["faulty", "honest"])
def test_no_two_twins_have_the_same_name(twins: Sequence[Fault | Honest]) -> None:
    assert max(Counter(twin.name for twin in twins).values()) == 1
    assert max(Counter(twin.id for twin in twins).values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("twins", [FAULTS, HONEST], ids=["faulty", "honest"])
def test_no_twin_equals_another_or_its_source(twins: Sequence[Fault | Honest]) -> None:
    seen: dict[str, str] = {}
    for twin in twins:
        source = source_or_skip(twin.source)
        seen.setdefault(digest(source), f"the source {twin.source}")
        assert seen.setdefault(digest(twin.make(source)), twin.name) == twin.name


def digest(model: ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def test_there_are_as_many_twins_as_asked_for() -> None:
    assert len(FAULTS) >= 60
    assert len(HONEST) >= 45
    assert len({fault.source for fault in FAULTS} - set(GENERATED)) >= 15


def test_the_distance_of_outputs_sees_shapes_and_numbers_that_are_none() -> None:
    ones = np.ones((2, 3), np.float32)
    assert distance(ones, ones) == 0
    assert distance(ones, 2 * ones) == 0.5
    assert distance(ones, np.ones((3, 2))) == np.inf
    assert distance(np.full((2, 3), np.nan), ones) == np.inf
