from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.backend.test.case import node as backend_cases
from onnx.backend.test.case.node import gru as _gru  # noqa: F401 - being imported, it writes its cases
from onnx.backend.test.case.node import lstm as _lstm  # noqa: F401 - likewise
from onnx.backend.test.case.node import rnn as _rnn  # noqa: F401 - likewise
from torch import Tensor
from torch.autograd import gradcheck

from onnxvis import load, verify
from onnxvis.errors import UnsupportedOpError
from onnxvis.lower import lower
from onnxvis.network import Network
from onnxvis.ops import recurrent
from tests.ops.oracle import assert_agrees, computed, expected, node_model

Array = npt.NDArray[Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3}
BOUNDED = ["Sigmoid", "Tanh", "HardSigmoid", "Softsign"]  # gates of another kind let the states explode
UNBOUNDED = ["Relu", "Softplus", "Elu", "LeakyRelu"]
SCALED = ["Affine", "Elu", "HardSigmoid", "LeakyRelu", "ScaledTanh", "ThresholdedRelu"]
T, N, H = 5, 3, 2  # steps, batch, hidden size
WIDTH = 4
OPERATORS: dict[str, Callable[..., Any]] = {"RNN": recurrent.rnn, "GRU": recurrent.gru, "LSTM": recurrent.lstm}
CASES = [case for case in backend_cases._NodeTestCases if case.model.graph.node[0].op_type in GATES]


def drawn(op_type: str, directions: int = 1, seed: int = 0) -> list[Array | None]:
    """All inputs of an operator; X is wide enough that activations saturate and clips bite."""
    generator = np.random.default_rng(seed)
    gates = GATES[op_type]
    shapes = [(directions, gates * H, WIDTH), (directions, gates * H, H), (directions, 2 * gates * H)]
    arrays: list[Array | None] = [generator.normal(size=(T, N, WIDTH)).astype(np.float32)]
    arrays += [(generator.normal(size=shape) / 2).astype(np.float32) for shape in shapes]
    arrays.append(np.array([3, T, 1], np.int32))
    states = 2 if op_type == "LSTM" else 1
    arrays += [generator.normal(size=(directions, N, H)).astype(np.float32) for _ in range(states)]
    if op_type == "LSTM":
        arrays.append(generator.normal(size=(directions, 3 * H)).astype(np.float32))
    return arrays


def tensors(op_type: str, directions: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """The same as tensors, without `sequence_lens` and peepholes: what the fused kernels take."""
    arrays = [None if array is None else torch.from_numpy(array).to(dtype) for array in drawn(op_type, directions)]
    arrays[4] = None
    return arrays[:7]


def last_outputs(op_type: str, directions: int, **settings: Any) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The operator as a function of X alone, with all its outputs."""
    others = tensors(op_type, directions, torch.float64)[1:]
    function = OPERATORS[op_type]
    return lambda X: function(X, *others, outputs=OUTPUTS[op_type], **settings)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_cases_of_the_onnx_project_agree(case: Any) -> None:
    node = case.model.graph.node[0]
    arrays, wanted = case.data_sets[0]
    feeds = dict(zip([value.name for value in case.model.graph.input], arrays, strict=True))
    inputs = [feeds.get(name) for name in node.input]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    opset = case.model.opset_import[0].version
    found = computed(node.op_type, inputs, opset, outputs=len(node.output), **attributes)
    named = [array for array, name in zip(found, node.output, strict=True) if name]
    for mine, theirs in zip(named, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=case.rtol, atol=case.atol)


def test_the_onnx_project_has_cases_of_all_three() -> None:
    assert {case.model.graph.node[0].op_type for case in CASES} == set(GATES)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, list[Array | None], dict[str, Any]]:
    op_type = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    inputs = drawn(op_type, directions, draw(st.integers(0, 9)))
    inputs = inputs[:3] + [array if draw(st.booleans()) else None for array in inputs[3:]]
    attributes: dict[str, Any] = {"hidden_size": H, "direction": direction}
    if draw(st.booleans()):
        gates, others = st.sampled_from(BOUNDED), st.sampled_from(BOUNDED + UNBOUNDED)
        kinds = [gates, others, others][: FUNCTIONS[op_type]] * directions
        attributes["activations"] = [draw(kind) for kind in kinds]
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.1, 0.5]))
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op_type == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    return op_type, inputs, attributes


@settings(max_examples=300)
@given(configurations(), st.sampled_from([7, 14, 22]), st.data())
def test_any_configuration_agrees(
    configuration: tuple[str, list[Array | None], dict[str, Any]], opset: int, data: st.DataObject
) -> None:
    op_type, inputs, attributes = configuration
    outputs = data.draw(st.integers(1, OUTPUTS[op_type]))
    constant = data.draw(st.booleans())
    assert_agrees(op_type, inputs, opset, outputs=outputs, constant=constant, **attributes)


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("short", [False, True])
def test_the_defaults_agree(op_type: str, direction: str, short: bool) -> None:
    inputs = drawn(op_type, 2 if direction == "bidirectional" else 1)[: 5 if short else 4]
    assert_agrees(op_type, inputs, 14, outputs=OUTPUTS[op_type], hidden_size=H, direction=direction)


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_empty_sequence_gives_zeros(op_type: str, direction: str) -> None:
    inputs = drawn(op_type)
    inputs[4] = np.array([0, T, 2], np.int32)
    assert_agrees(op_type, inputs, 14, outputs=OUTPUTS[op_type], hidden_size=H, direction=direction)


@pytest.mark.parametrize("name", ["Elu", "HardSigmoid", "LeakyRelu"])
def test_alpha_and_beta_have_the_defaults_of_the_operator_of_that_name(name: str) -> None:
    assert_agrees("RNN", drawn("RNN"), 14, hidden_size=H, activations=[name])


@pytest.mark.parametrize(("name", "alpha", "beta"), [("Affine", 1, 0), ("ScaledTanh", 1, 1), ("ThresholdedRelu", 1, 0)])
def test_defaults_that_onnxruntime_takes_for_zero_are_those_of_the_operator(
    name: str, alpha: float, beta: float
) -> None:
    (found,) = computed("RNN", drawn("RNN"), 14, activations=[name])
    given: dict[str, Any] = {
        "activations": [name],
        "activation_alpha": [float(alpha)],
        "activation_beta": [float(beta)],
    }
    (wanted,) = expected(node_model("RNN", drawn("RNN"), 14, hidden_size=H, **given), drawn("RNN"))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("first", SCALED)
@pytest.mark.parametrize("second", SCALED)
def test_alpha_and_beta_are_consumed_in_order(first: str, second: str) -> None:
    settings: dict[str, Any] = {"activation_alpha": [0.3, 0.7], "activation_beta": [0.4, 0.6]}
    assert_agrees("GRU", drawn("GRU"), 14, hidden_size=H, activations=[first, second], **settings)


def test_alpha_and_beta_run_on_into_the_other_direction() -> None:
    settings: dict[str, Any] = {"activation_alpha": [0.3, 0.7, 0.5], "activation_beta": [0.4]}
    names = ["Sigmoid", "Elu", "Tanh", "LeakyRelu", "ScaledTanh", "Softsign"]
    inputs = drawn("LSTM", 2)
    assert_agrees("LSTM", inputs, 14, hidden_size=H, direction="bidirectional", activations=names, **settings)


@pytest.mark.parametrize("op_type", ["GRU", "LSTM"])
def test_names_of_activations_are_read_in_any_case(op_type: str) -> None:
    names = ["SIGMOID", "tanh", "tAnH"][-FUNCTIONS[op_type] :]
    assert_agrees(op_type, drawn(op_type), 14, hidden_size=H, activations=names)


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_batch_first_agrees_with_the_reference(op_type: str) -> None:
    X, W, R, B = drawn(op_type)[:4]
    assert X is not None
    inputs = [X.swapaxes(0, 1).copy(), W, R, B]
    linear: dict[str, Any] = {"linear_before_reset": 1} if op_type == "GRU" else {}
    assert_agrees(op_type, inputs, 22, outputs=2, reference=True, hidden_size=H, layout=1, **linear)


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_batch_first_is_a_transposition_of_everything(op_type: str) -> None:
    inputs = drawn(op_type, 2)
    moved = [x.swapaxes(0, 1).copy() if x is not None and number in (0, 5, 6) else x for number, x in enumerate(inputs)]
    settings: dict[str, Any] = {"outputs": OUTPUTS[op_type], "direction": "bidirectional"}
    Y, *last = computed(op_type, inputs, 14, **settings)
    Y_moved, *last_moved = computed(op_type, moved, 14, layout=1, **settings)
    np.testing.assert_allclose(Y.transpose(2, 0, 1, 3), Y_moved, rtol=1e-5, atol=1e-6)
    for state, state_moved in zip(last, last_moved, strict=True):
        np.testing.assert_allclose(state.swapaxes(0, 1), state_moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("opset", [1, 3, 6])
def test_the_first_opsets_announce_that_the_sequence_is_wanted(op_type: str, opset: int) -> None:
    (old,) = computed(op_type, drawn(op_type), opset, output_sequence=1, hidden_size=H)
    (new,) = computed(op_type, drawn(op_type), 7, hidden_size=H)
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_what_the_specification_does_not_have_is_refused(op_type: str) -> None:
    with pytest.raises(UnsupportedOpError, match="activation 'gelu'"):
        computed(op_type, drawn(op_type), 14, activations=["Gelu"] * 3)
    with pytest.raises(UnsupportedOpError, match="direction 'sideways'"):
        computed(op_type, drawn(op_type), 14, direction="sideways")


FUSED = [("RNN", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {})]


@pytest.mark.parametrize(("op_type", "attributes"), FUSED)
def test_the_usual_cell_is_computed_by_the_fused_kernel(
    op_type: str, attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(recurrent, f"{op_type.lower()}_steps", refused)
    computed(op_type, [*drawn(op_type)[:4], None, *drawn(op_type)[5:7]], 14, outputs=OUTPUTS[op_type], **attributes)
    if op_type == "GRU":
        with pytest.raises(NotImplementedError):
            computed(op_type, drawn(op_type), 14)


@pytest.mark.parametrize(("op_type", "attributes"), FUSED)
def test_step_by_step_agrees_like_the_fused_kernel(
    op_type: str, attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "can_fuse", lambda: False)
    inputs = [*drawn(op_type, 2)[:4], None, *drawn(op_type, 2)[5:7]]
    settings = {"hidden_size": H, "direction": "bidirectional", **attributes}
    assert_agrees(op_type, inputs, 14, outputs=OUTPUTS[op_type], **settings)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        *FUSED,
        ("GRU", {}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ("Softsign", "Elu", "Affine") * 2, "activation_alpha": (0.5, 0.7)}),
        ("RNN", {"clip": 50.0}),
    ],
)
def test_gradients_are_those_of_finite_differences(op_type: str, attributes: dict[str, Any]) -> None:
    X = tensors(op_type, dtype=torch.float64)[0]
    assert X is not None
    function = last_outputs(op_type, 2, direction="bidirectional", **attributes)
    assert gradcheck(function, (X.clone().requires_grad_(),))


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_gradients_of_shorter_sequences_and_all_other_inputs_are_right(op_type: str) -> None:
    arrays = [torch.from_numpy(array) for array in drawn(op_type) if array is not None]
    lens = arrays.pop(4)
    points = [array.double().requires_grad_() for array in arrays]
    function = OPERATORS[op_type]
    assert gradcheck(
        lambda *x: function(*x[:4], lens, *x[4:], direction="reverse", outputs=OUTPUTS[op_type]), tuple(points)
    )


@pytest.mark.parametrize(("op_type", "attributes"), FUSED)
def test_a_fused_float32_kernel_has_the_gradient_of_the_steps_for_frozen_weights(
    op_type: str, attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients: list[Tensor] = []
    X, *others = tensors(op_type)
    assert X is not None
    for fuse in (True, False):
        monkeypatch.setattr(recurrent, "can_fuse", lambda fuse=fuse: fuse)
        point = X.clone().requires_grad_()
        results = OPERATORS[op_type](point, *others, outputs=OUTPUTS[op_type], **attributes)
        loss = torch.stack([result.square().sum() for result in results]).sum()
        gradients += torch.autograd.grad(loss, point)
    assert float(gradients[0].abs().max()) > 0.1
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op_type", "attributes"), [*FUSED, ("GRU", {})])
@pytest.mark.parametrize("short", [False, True])
def test_vmap_computes_each_by_itself(op_type: str, attributes: dict[str, Any], short: bool) -> None:
    X, *others = tensors(op_type, 2)
    assert X is not None
    others[3] = torch.tensor([3, T, 1]) if short else None

    def loss(X: Tensor) -> Tensor:
        settings = {"direction": "bidirectional", "outputs": OUTPUTS[op_type], **attributes}
        results = OPERATORS[op_type](X, *others, **settings)
        return torch.stack([result.square().sum() for result in results]).sum()

    several = torch.stack([X, 2 * X, -X])
    gradients, losses = torch.func.vmap(torch.func.grad_and_value(loss))(several)
    for one, gradient, value in zip(several, gradients, losses, strict=True):
        point = one.clone().requires_grad_()
        alone = loss(point)
        torch.testing.assert_close(value, alone.detach())
        torch.testing.assert_close(gradient, *torch.autograd.grad(alone, point))


def lowered_lstm() -> Network:
    """An LSTM of which the sequence is not named and the last states are asked for."""
    _, w, r, _, _, h, *_ = drawn("LSTM")
    known = {"w": w, "r": r, "h": h}
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "h"], ["", "last", "cell"], hidden_size=H)
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("last", "cell")]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [T, N, WIDTH])
    weights = [numpy_helper.from_array(array, name) for name, array in known.items() if array is not None]
    graph = helper.make_graph([node], "net", [x], info, weights)
    return lower(load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)))


def test_a_lowered_layer_is_one_node_of_the_table() -> None:
    network = lowered_lstm()
    calls = [node for node in network.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    assert {node.op for node in calls} == {"call_function"}
    assert [node.target for node in calls] == [recurrent.lstm, operator.getitem, operator.getitem]
    assert [node.args[1] for node in calls[1:]] == [1, 2]


def test_a_gradient_reaches_the_input_of_a_lowered_layer() -> None:
    x = torch.randn(T, N, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    last, cell = lowered_lstm()(x)
    (gradient,) = torch.autograd.grad(torch.stack([last, cell]).sum(), x)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("mapped", [False, True])
def test_a_lowered_layer_compiles_without_breaks(mapped: bool) -> None:
    network = lowered_lstm()
    function = torch.func.vmap(network) if mapped else network
    x = torch.randn((2, T, N, WIDTH) if mapped else (T, N, WIDTH), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.compile(function, backend="eager", fullgraph=True)(x), function(x))


def at_rate(path: Path, rate: int) -> onnx.ModelProto:
    """The voice detector with its sampling rate, on which its branches depend, as a constant."""
    proto = onnx.load(path)
    others = [value for value in proto.graph.input if value.name != "sr"]
    del proto.graph.input[:]
    proto.graph.input.extend(others)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(rate, np.int64), "sr"))
    return proto


@pytest.mark.parametrize(("rate", "samples"), [(16000, 512), (8000, 256)])
def test_a_real_voice_detector_agrees_at_every_tensor(rate: int, samples: int, shared_models: Path) -> None:
    model = load(at_rate(shared_models / "audio_silero_vad_16k_op15.onnx", rate))
    report = verify(model, input_shapes={"input": (1, samples), "state": (2, 1, 128)})
    assert report.ok
    assert report.skipped == ()
    assert len(report.comparisons) == len(list(model.activations))


def test_a_real_speech_enhancer_agrees_at_every_tensor(shared_models: Path) -> None:
    model = load(shared_models / "audio_gtcrn_simple.onnx")
    report = verify(model)
    assert report.ok
    assert report.skipped == ()
    assert [item.op_type for item in report.comparisons].count("GRU") >= 14
