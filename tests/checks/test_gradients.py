from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.checks.gradients import check_gradients, eligible_tensors, sampled
from onnxvis.checks.slopes import Slope, Slopes
from onnxvis.inspection import Inspection
from onnxvis.lower import lower
from onnxvis.outcomes import Outcome
from onnxvis.verify import Lowered
from tests.checks.inspected import drawn, inspected, of
from tests.models import conv_net


class Scaled(torch.autograd.Function):
    """ReLU whose gradient is multiplied by a number."""

    factor = 2.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Rectify."""
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Multiply the gradient."""
        (x,) = ctx.saved_tensors
        passed: Tensor = gradient * (x > 0) * Scaled.factor
        return passed


def outcome(inspection: Inspection) -> Outcome:
    return check_gradients(inspection, inspection.settings)


def with_wrong(operator: str, function: Callable[..., Any]) -> Inspection:
    inspection = of(conv_net())
    names = tuple(inspection.tensors)
    vars(inspection)["lowered"] = Lowered(lower(inspection.model, names, replacements={operator: function}), names, ())
    return inspection


def test_the_gradients_of_a_good_model_agree() -> None:
    found = outcome(of(conv_net()))
    assert found.status == "pass"
    assert found.text.startswith("8 tensors agree with differences")


@pytest.mark.parametrize("seed", range(6))
def test_no_seed_raises_a_false_alarm(seed: int) -> None:
    assert outcome(of(conv_net(), seed=seed)).status == "pass"


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.25, -1.0, 0.0])
def test_a_gradient_of_the_wrong_scale_is_found_at_its_layer(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scaled, "factor", factor)
    found = outcome(with_wrong("Relu", Scaled.apply))
    assert (found.status, found.layer, found.details[0].tensor) == ("fail", "relu1", "relu1")


def test_a_gradient_that_is_swapped_in_place_is_found() -> None:
    def wrong(x: Tensor, **_: Any) -> Tensor:
        right = torch.nn.functional.avg_pool2d(x, 2)
        turned = torch.nn.functional.avg_pool2d(x.transpose(2, 3), 2)
        return turned + (right - turned).detach()

    found = outcome(with_wrong("AveragePool", wrong))
    assert (found.status, found.layer) == ("fail", "pool1")


def test_what_is_wrong_at_the_end_of_a_branch_is_found_there() -> None:
    text = """g (float[1, 8] x) => (float[1, 8] y)
        { a = MatMul(x, w) b = Sigmoid(a) c = Tanh(a) d = Relu(c) e = Add(b, d) y = Neg(e) }"""
    inspection = inspected(text, w=drawn(8, 8))
    names = tuple(inspection.tensors)
    network = lower(inspection.model, names, replacements={"Relu": Scaled.apply})
    vars(inspection)["lowered"] = Lowered(network, names, ())
    assert outcome(inspection).layer == "d"


@pytest.mark.parametrize(
    "body",
    [
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = MaxPool <kernel_shape = [3, 3]> (h)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = Clip(h, zero, six)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = Sigmoid(h)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = InstanceNormalization(h, s, b)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = Softmax <axis = 1> (h)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = Abs(h)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = Exp(h)",
        "h = Mul(x, x) y = Log(h)",
        "h = Mul(x, x) y = Sqrt(h)",
        "h = Conv <pads = [1, 1, 1, 1]> (x, w) y = ReduceMax(h)",
        "h = LayerNormalization <axis = -1> (x, l) y = Mul(h, h)",
    ],
)
def test_kinks_and_steep_places_raise_no_false_alarm(body: str) -> None:
    text = f"g (float[1, 3, 12, 12] x) => (float y) <float zero = {{0.0}}, float six = {{0.5}}> {{ {body} }}"
    text = text.replace("(float y)", "(float[a, b, c, d] y)")
    weights: dict[str, Any] = {"w": drawn(8, 3, 3, 3), "s": np.ones(8, np.float32), "b": np.zeros(8, np.float32)}
    found = outcome(inspected(text, **weights, l=np.ones(12, np.float32)))
    assert found.status == "pass"


def test_what_lies_behind_rounding_is_left_out_and_that_is_said() -> None:
    text = "g (float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) b = Round(a) y = Mul(b, b) }"
    found = outcome(inspected(text, w=drawn(8, 8)))
    assert found.status == "pass"
    assert found.text.startswith("1 tensors agree")
    assert found.text.endswith("left out: 2 behind rounding")


def test_what_lies_behind_a_cut_is_left_out() -> None:
    text = "g (float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) f = Floor(a) y = Sub(a, f) }"
    eligible = eligible_tensors(inspected(text, w=drawn(8, 8)))
    assert (eligible.tensors, eligible.rounded, eligible.cut) == (("a",), 0, 2)


def test_half_precision_is_skipped_with_its_reason() -> None:
    found = outcome(inspected("g (float16[1, 8] x) => (float16[1, 8] y) { y = Relu(x) }"))
    assert found.status == "skip"
    assert "half precision" in found.text


def test_a_model_of_integers_has_no_gradient() -> None:
    assert outcome(inspected("g (int64[3] x) => (float[3] y) { y = Cast <to = 1> (x) }")).status == "skip"


def test_a_model_of_which_nothing_can_be_lowered_has_no_gradient_to_compare() -> None:
    assert outcome(inspected("g (float[1, 8] x) => (int64[1, 1] y) { y = ArgMax <axis = 1> (x) }")).status == "skip"


def test_the_first_the_last_and_the_outputs_are_sampled() -> None:
    inspection = of(conv_net())
    names = [f"t{number}" for number in range(100)] + ["probabilities"]
    chosen = sampled(inspection, names)
    assert (chosen[0], chosen[-1]) == ("t0", "probabilities")
    assert 6 <= len(chosen) <= 10


def test_the_slope_of_a_linear_layer_is_its_weights() -> None:
    inspection = inspected("g (float[1, 8] x) => (float[1, 8] y) { y = MatMul(x, w) }", w=drawn(8, 8))
    slopes = Slopes(inspection, inspection.probes[0], ["x"], ["y"])
    for direction, slope in zip(slopes._directions, slopes.of("y"), strict=True):
        expected = float((direction["x"] @ drawn(8, 8).astype(np.float64)).ravel() @ slopes._weights[:8])
        assert slope.torch == pytest.approx(expected, rel=1e-4)
        assert slope.differences == pytest.approx([expected] * 3, rel=1e-2)
        assert slope.is_resolved


def test_a_slope_that_drowns_in_rounding_tells_nothing() -> None:
    faint = Slope(torch=1.0, differences=(0.9, 0.5, 5.0), scale=1.0, noise=(2.0, 20.0, 200.0))
    rough = Slope(torch=1.0, differences=(0.9, -5.0, 70.0), scale=1.0, noise=(0.0, 0.0, 0.0))
    clear = Slope(torch=1.0, differences=(0.9, 0.5, 0.5), scale=1.0, noise=(0.0, 0.0, 0.0))
    assert [slope.is_resolved for slope in (faint, rough, clear)] == [False, False, True]


@pytest.mark.parametrize("name", ["cls_mnist_cntk_opset8", "cls_cifar10_cnn_torch", "cls_mobilenetv2_050_128_st"])
def test_real_models_raise_no_false_alarm(name: str, shared_models: Path) -> None:
    assert outcome(of(str(shared_models / f"{name}.onnx"))).status == "pass"


def test_slopes_of_huge_numbers_do_not_overflow() -> None:
    text = "g (double[1, 4] x) => (double[1, 4] y) { y = Mul(x, k) }"
    assert outcome(inspected(text, k=np.array([1e200]))).status == "pass"


def test_a_slow_reference_is_run_few_times_and_the_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(inspection: Inspection) -> tuple[int, Outcome]:
        inspection.probes  # noqa: B018 - makes the first run
        count, run = [0], inspection.run

        def counted(feeds: Any) -> Any:
            count[0] += 1
            return run(feeds)

        vars(inspection)["run"] = counted
        found = outcome(inspection)
        return count[0], found

    ordinary, text = runs(of(conv_net()))
    assert "one direction" not in text.text
    monkeypatch.setattr(Inspection, "run_seconds", 2.5)
    few, text = runs(of(conv_net()))
    assert (few < ordinary / 2, text.status) == (True, "pass")
    assert text.text.endswith("one direction, as a run takes 2.5 s")
