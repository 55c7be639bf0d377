from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from onnxvis import builder, to_torch, verify
from onnxvis.errors import DataDependentShapeError, LoweringError, UnsupportedOpError
from onnxvis.network import Network, shapes_of

Array = NDArray[np.float32]

BRANCHES = """
<ir_version: 8, opset_import: ["": 17]> net (float[2, 3] x) => (float[2, 3] y)
{
    mean = ReduceMean <keepdims = 0> (x)
    zero = Constant <value = float {0.0}> ()
    positive = Greater (mean, zero)
    y = If (positive) <
        then_branch = yes () => (float[2, 3] yes_y) { yes_y = Exp (x) },
        else_branch = no () => (float[2, 3] no_y) { no_y = Mul (x, x) }
    >
}
"""

GEOMETRIC = """
<ir_version: 8, opset_import: ["": 17]> net (float[2, 3] x) => (float[2, 3] last, float[4, 2, 3] all)
{
    four = Constant <value = int64 {4}> ()
    yes = Constant <value = bool {1}> ()
    last, all = Loop (four, yes, x) <
        body = step (int64 i, bool going, float[2, 3] state) => (bool go_on, float[2, 3] next, float[2, 3] seen)
        {
            go_on = Identity (going)
            k = Cast <to = 1> (i)
            sine = Sin (state)
            next = Add (sine, k)
            seen = Mul (next, x)
        }
    >
}
"""

SCANNED = """
<ir_version: 8, opset_import: ["": 17]> net (float[3] start, float[4, 3] x) => (float[3] last, float[3, 4] sums)
{
    last, sums = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1],
        scan_output_directions = [1],
        body = step (float[3] state, float[3] slice) => (float[3] next, float[3] sum)
        {
            sum = Add (state, slice)
            next = Tanh (sum)
        }
    > (start, x)
}
"""


def run(proto: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """What onnxruntime computes."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds)]


def outputs(network: Network, *arrays: Array) -> list[Array]:
    """What the network computes."""
    found = network(*map(torch.from_numpy, arrays))
    return [value.detach().numpy() for value in (found if isinstance(found, tuple) else (found,))]


def assert_gradient_is_a_difference_quotient(text: str, x: Array, step: float = 1e-2) -> None:
    """Compare the gradient of the first output's sum with central differences of onnxruntime."""
    proto = onnx.parser.parse_model(text)
    network = to_torch(proto)
    image = torch.from_numpy(x).requires_grad_()
    found = network(image)
    (found[0] if isinstance(found, tuple) else found).sum().backward()
    assert image.grad is not None
    for position in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][position] += step
        moved[1][position] -= step
        high, low = (run(proto, {"x": array})[0].sum(dtype=np.float64) for array in moved)
        assert image.grad[position].item() == pytest.approx((high - low) / (2 * step), rel=2e-2, abs=1e-3)


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_a_condition_that_depends_on_the_input_selects(shift: float) -> None:
    x = np.random.default_rng(0).normal(shift, 0.5, (2, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(BRANCHES)
    np.testing.assert_allclose(outputs(to_torch(proto), x)[0], run(proto, {"x": x})[0], rtol=1e-6)
    assert_gradient_is_a_difference_quotient(BRANCHES, x)


def test_the_gradient_of_the_branch_that_is_not_taken_is_none_even_if_it_is_nan() -> None:
    proto = onnx.parser.parse_model(BRANCHES.replace("Exp (x)", "Sqrt (x)"))
    x = torch.full((2, 3), -1.0, requires_grad=True)
    to_torch(proto)(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, np.full((2, 3), -2.0))


def test_branches_may_return_sequences() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2, 3] x) => (float[2, 3] y)
    {
        low = ReduceMin <keepdims = 0> (x)
        zero = Constant <value = float {0.0}> ()
        positive = Greater (low, zero)
        s = If (positive) <
            then_branch = yes () => (seq(float) a) { e = Exp (x) a = SequenceConstruct (x, e) },
            else_branch = no () => (seq(float) b) { n = Neg (x) b = SequenceConstruct (x, n) }
        >
        one = Constant <value = int64 {1}> ()
        y = SequenceAt (s, one)
    }
    """
    proto = onnx.parser.parse_model(text)
    for x in (np.full((2, 3), 0.5, np.float32), np.full((2, 3), -0.5, np.float32)):
        np.testing.assert_allclose(outputs(to_torch(proto), x)[0], run(proto, {"x": x})[0], rtol=1e-6)


def test_each_name_of_a_tensor_can_be_a_target() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2, 3] x) => (float[2, 3] y)
    {
        e = Exp (x)
        s = SequenceConstruct (e, x)
        zero = Constant <value = int64 {0}> ()
        y = SequenceAt (s, zero)
    }
    """
    assert shapes_of(to_torch(onnx.parser.parse_model(text)))["y"] == (2, 3)


def test_branches_of_different_shapes_need_a_known_condition() -> None:
    text = BRANCHES.replace(
        "yes () => (float[2, 3] yes_y) { yes_y = Exp (x) }",
        "yes () => (float[2] yes_y) { yes_y = ReduceMean <axes = [1], keepdims = 0> (x) }",
    )
    with pytest.raises(DataDependentShapeError, match="differs in shape"):
        to_torch(onnx.parser.parse_model(text.replace("float[2, 3] y)", "float[N, M] y)")))


def test_a_loop_is_written_out() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(GEOMETRIC)
    network = to_torch(proto)
    for found, wanted in zip(outputs(network, x), run(proto, {"x": x}), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    sines = [node for node in network.graph.nodes if node.meta.get("onnx_op") == "Sin"]
    assert [node.meta["onnx_value"] for node in sines] == [f"last/{index}/sine" for index in range(4)]
    assert_gradient_is_a_difference_quotient(GEOMETRIC, x)


def test_a_loop_ends_when_its_condition_says_so() -> None:
    text = GEOMETRIC.replace("go_on = Identity (going)", "two = Constant <value = int64 {2}> () go_on = Less (i, two)")
    text = text.replace("float[4, 2, 3] all", "float[N, 2, 3] all")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(text)
    found, wanted = outputs(to_torch(proto), x), run(proto, {"x": x})
    assert wanted[1].shape == (3, 2, 3)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-6)


def test_a_loop_that_runs_never_returns_its_state_and_nothing_else() -> None:
    text = GEOMETRIC.replace("int64 {4}", "int64 {0}").replace("float[4, 2, 3] all", "float[N, 2, 3] all")
    x = np.ones((2, 3), np.float32)
    proto = onnx.parser.parse_model(text)
    found, wanted = outputs(to_torch(proto), x), run(proto, {"x": x})
    assert found[1].shape == wanted[1].shape == (0, 2, 3)
    np.testing.assert_array_equal(found[0], x)


def test_a_loop_whose_end_depends_on_the_input_is_refused() -> None:
    text = (
        GEOMETRIC.replace("go_on = Identity (going)", "low = ReduceMin <keepdims = 0> (state) go_on = Greater (k, low)")
        .replace("k = Cast <to = 1> (i)\n", "")
        .replace("go_on = Greater", "k = Cast <to = 1> (i) go_on = Greater")
    )
    with pytest.raises(DataDependentShapeError, match="How often Loop 'last' runs depends on the values"):
        to_torch(onnx.parser.parse_model(text.replace("low = ", "k0 = Cast <to = 1> (i) low = ")))


@pytest.mark.parametrize(("count", "condition"), [("int64 {1}", "yes"), ("int64 {3}", "")])
def test_a_condition_that_is_never_asked_may_depend_on_the_input(count: str, condition: str) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] last)
    {{
        n = Constant <value = {count}> ()
        yes = Constant <value = bool {{1}}> ()
        last = Loop (n, {condition}, x) <
            body = step (int64 i, bool going, float[2] state) => (bool on, float[2] next)
            {{ next = Exp (state) low = ReduceMin <keepdims = 0> (next) zero = Constant <value = float {{-1.0}}> ()
               on = Greater (low, zero) }}
        >
    }}
    """
    x = np.array([-1.0, 0.5], np.float32)
    proto = onnx.parser.parse_model(text)
    np.testing.assert_allclose(outputs(to_torch(proto), x)[0], run(proto, {"x": x})[0], rtol=1e-5)


def test_a_constant_that_a_loop_collects_does_not_take_the_name_of_another_tensor() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x) => (float[3, 1, 4] all, float[1, 4] h)
    {
        h = Exp (x)
        three = Constant <value = int64 {3}> ()
        yes = Constant <value = bool {1}> ()
        one = Constant <value = float {1.0}> ()
        last, all = Loop (three, yes, h) <
            body = step (int64 i, bool going, float[1, 4] state) => (bool on, float[1, 4] next, float[1, 4] seen)
            {
                on = Identity (going) next = Neg (state)
                two = Constant <value = int64 {2}> () is_two = Equal (i, two)
                size = Constant <value = int64[2] {1, 4}> ()
                seen = If (is_two) <
                    then_branch = yes_ () => (float[1, 4] a) { a = ConstantOfShape (size) },
                    else_branch = no_ () => (float[1, 4] b) { b = Identity (state) }
                >
            }
        >
    }
    """
    network = to_torch(onnx.parser.parse_model(text))
    assert shapes_of(network)["h"] == (1, 4)
    np.testing.assert_allclose(outputs(network, np.zeros((1, 4), np.float32))[0][1], -np.ones((1, 4)), rtol=1e-6)


def test_a_loop_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MOST_NODES", 2000)
    text = GEOMETRIC.replace("int64 {4}", "int64 {9223372036854775807}")
    with pytest.raises(LoweringError, match="loops written out"):
        to_torch(onnx.parser.parse_model(text))


def test_a_constant_that_changes_from_step_to_step_is_not_the_first_one() -> None:
    # The iteration number is known beforehand, and is another in each step.
    x = np.zeros((2, 3), np.float32)
    proto = onnx.parser.parse_model(GEOMETRIC.replace("sine = Sin (state)", "sine = Identity (state)"))
    np.testing.assert_array_equal(outputs(to_torch(proto), x)[0], np.full((2, 3), 0 + 1 + 2 + 3, np.float32))


def test_scan_runs_over_slices_in_both_directions() -> None:
    generator = np.random.default_rng(0)
    start, x = generator.normal(size=3).astype(np.float32), generator.normal(size=(4, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(SCANNED)
    for found, wanted in zip(outputs(to_torch(proto), start, x), run(proto, {"start": start, "x": x}), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert verify(proto).ok


def test_scan_of_opset_8_runs_over_each_image_of_a_batch() -> None:
    text = """
    <ir_version: 3, opset_import: ["": 8]>
    net (float[2, 3] start, float[2, 4, 3] x) => (float[2, 3] last, float[2, 4, 3] sums)
    {
        last, sums = Scan <num_scan_inputs = 1,
            body = step (float[3] state, float[3] slice) => (float[3] next, float[3] sum)
            {
                sum = Add (state, slice)
                next = Tanh (sum)
            }
        > (, start, x)
    }
    """
    generator = np.random.default_rng(0)
    start, x = generator.normal(size=(2, 3)).astype(np.float32), generator.normal(size=(2, 4, 3)).astype(np.float32)
    state, sums = start, []
    for step in range(4):
        sums.append(state + x[:, step])
        state = np.tanh(sums[-1])
    found = outputs(to_torch(onnx.parser.parse_model(text)), start, x)
    np.testing.assert_allclose(found[0], state, rtol=1e-5)
    np.testing.assert_allclose(found[1], np.stack(sums, 1), rtol=1e-5)


def test_what_a_subgraph_lacks_is_named() -> None:
    text = GEOMETRIC.replace("sine = Sin (state)", "sine = my.domain.Frobnicate (state)").replace(
        '["": 17]', '["": 17, "my.domain": 1]'
    )
    with pytest.raises(UnsupportedOpError, match=r"my\.domain\.Frobnicate"):
        to_torch(onnx.parser.parse_model(text))


def test_a_loop_that_nothing_of_the_input_enters_is_computed_beforehand() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] y)
    {
        three = Constant <value = int64 {3}> ()
        yes = Constant <value = bool {1}> ()
        one = Constant <value = float[2] {1.0, 2.0}> ()
        powers = Loop (three, yes, one) <
            body = step (int64 i, bool going, float[2] state) => (bool on, float[2] next)
            { on = Identity (going) next = Mul (state, state) }
        >
        y = Mul (x, powers)
    }
    """
    network = to_torch(onnx.parser.parse_model(text))
    np.testing.assert_array_equal(outputs(network, np.ones(2, np.float32))[0], [1, 2**8])
    assert [node.meta["onnx_op"] for node in network.graph.nodes if node.op == "call_function"] == ["Mul"]
