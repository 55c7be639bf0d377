from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxvis import load, verify
from onnxvis.errors import InputError, UnsupportedOpError, VerificationError
from onnxvis.lower import lower
from onnxvis.ops import table
from onnxvis.oracle import Oracle, observed
from onnxvis.verify import compare, require
from tests.models import conv_net, parsed

SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "face_yunet_n_dynamic": {"input": (1, 3, 160, 192)},
    "ocr_ppocr_mobile_v1_1_det": {"image": (1, 3, 640, 640)},
    "pose_bodypix_mnv1_050_s16_dynamic": {"input": (1, 225, 257, 3)},
}
MODELS = [
    "audio_basic_pitch_nmp",
    "cls_cifar10_cnn_torch",
    "cls_mnist_cntk_opset8",
    "cls_mobilenetv2_050_128_st",
    "det_fastestdet",
    "face_mesh_landmark_nhwc",
    "face_ultraface_rfb_320_ort_optimised",
    "face_yunet_n_dynamic",
    "in_squeezenet1_1_fp16",
    "mobilenet_v1_1.0_224_trunk",
    "ocr_ppocr_mobile_v1_1_det",
    "pose_bodypix_mnv1_050_s16_dynamic",
    "seg_deeplabv3_mnv2_dm05",
    "shufflenet_v2_12_dequantized",
    "squeezenet1_1_fp32_upcast",
    "sr_subpixel_espcn_x3",
    "style_candy",
    "track_vittrack",
]


@pytest.mark.parametrize("name", MODELS)
def test_every_float_tensor_of_a_real_model_agrees_with_onnxruntime(name: str, shared_models: Path) -> None:
    model = load(shared_models / f"{name}.onnx")
    report = verify(model, input_shapes=SIZES.get(name))
    wrong = [item for item in report.comparisons if not item.max_rel_error <= report.tolerance]
    assert wrong == []
    assert report.ok
    assert report.tolerance == (1e-2 if "fp16" in name else 1e-4)
    assert report.skipped == ()
    assert {item.tensor for item in report.comparisons} == {value.name for value in model.activations}


def test_a_good_model_agrees_at_every_tensor() -> None:
    report = verify(conv_net())
    assert report.ok
    assert report.first_divergence is None
    assert [item.tensor for item in report.comparisons] == [
        *("conv1", "relu1", "pool1", "conv2", "relu2", "pooled", "features", "logits", "probabilities"),
    ]
    assert report.max_rel_error < 1e-6
    assert str(report).startswith("torch agrees with onnxruntime at 9 tensors")


def test_one_node_can_be_verified_alone() -> None:
    report = verify(conv_net(), "relu2")
    assert [item.tensor for item in report.comparisons] == ["relu2"]


def wrong_relu(X: Tensor) -> Tensor:
    return X.clamp(min=0.01)


def test_the_first_diverging_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = table.Operator("Relu", "", 1, wrong_relu, differentiable=True)
    monkeypatch.setitem(table._TABLE, ("", "Relu"), [entry])
    model = load(conv_net())
    report = verify(model)
    assert not report.ok
    assert report.first_divergence == "relu1"
    assert "first at 'relu1'" in str(report)
    with pytest.raises(VerificationError, match="first at 'relu1'"):
        require(model, verify(model, "logits"), None, {})


def test_nan_on_one_side_only_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    def nan_relu(X: Tensor) -> Tensor:
        return torch.where(X > 0, X, torch.nan)

    entry = table.Operator("Relu", "", 1, nan_relu, differentiable=True)
    monkeypatch.setitem(table._TABLE, ("", "Relu"), [entry])
    assert not verify(conv_net(), "relu1").ok


def test_nan_and_infinity_on_both_sides_agree() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[3] x) => (float[3] y) { l = Log (x)  y = Div (l, x) }'
    report = verify(parsed(text), inputs={"x": np.array([-1, 0, 1], np.float32)})
    assert report.ok


def one_more(X: Tensor) -> Tensor:
    return X.abs() + 1


def test_given_inputs_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] y) { y = Abs (x) }'
    monkeypatch.setitem(table._TABLE, ("", "Abs"), [table.Operator("Abs", "", 1, one_more, differentiable=True)])
    report = verify(parsed(text), inputs={"x": np.array([-3, 8], np.float32)})
    # The scale of the relative error is that of what was given.
    assert (report.max_abs_error, report.max_rel_error) == (1, 1 / 8)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"typo": np.zeros((1, 3, 16, 16))}, "no input 'typo'. Its inputs: 'image'"),
        ({"w1": np.zeros((4, 3, 3, 3))}, "no input 'w1'"),
        ({"image": np.zeros((3, 16, 16))}, r"'image' cannot have shape \(3, 16, 16\)"),
        ({"image": np.zeros((1, 1, 16, 16))}, r"'image' cannot have shape \(1, 1, 16, 16\)"),
    ],
)
@pytest.mark.parametrize("node", [None, "relu1"])
def test_arrays_for_no_input_or_of_a_wrong_shape_are_refused(
    inputs: dict[str, np.ndarray], message: str, node: str | None
) -> None:
    with pytest.raises(InputError, match=message):
        verify(conv_net(), node, inputs=inputs)


def test_given_inputs_settle_open_sizes() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[N, H] x, float[N, H] z) => (float[N, H] y) { y = Add (x, z) }
    """
    x = np.ones((2, 5), np.float32)
    assert verify(parsed(text), inputs={"x": x}).comparisons[0].shape == (2, 5)
    with pytest.raises(InputError, match=r"array of shape \(2, 5\), and its shape as \(1, 5\)"):
        verify(parsed(text), input_shapes={"x": (1, 5)}, inputs={"x": x})


def test_tensors_behind_an_unsupported_operator_are_reported_as_skipped() -> None:
    proto = conv_net()
    proto.graph.node.append(onnx.helper.make_node("Unknown", ["relu1"], ["extra"], domain="my.domain"))
    proto.graph.node.append(onnx.helper.make_node("Relu", ["extra"], ["behind"]))
    proto.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    report = verify(proto)
    assert report.ok
    assert report.skipped == ("extra", "behind")
    assert len(report.comparisons) == 9


def test_inputs_that_a_tensor_does_not_need_are_not_asked_for() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x, float[2] z) => (float[2] y, float[2] w)
    { y = Neg (x)  w = Exp (z) }
    """
    assert verify(parsed(text), "y").ok


def test_a_model_of_which_nothing_is_implemented_says_what_is_missing() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17, "my.domain": 1]> net (float[2] x) => (float[2] y)
    { y = my.domain.Warp (x) }
    """
    with pytest.raises(UnsupportedOpError, match=r"my\.domain\.Warp"):
        verify(parsed(text))


def test_an_opset_that_onnxruntime_does_not_know_is_still_verified() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 28]> net (float[3, 4] x) => (float[3, 4] y)
    { a = Relu (x)  y = Softmax (a) }
    """
    report = verify(parsed(text))
    assert report.ok
    assert report.engine == "onnxruntime"


def test_the_oracle_observes_any_tensor_of_the_original_model() -> None:
    model = load(conv_net())
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    found = Oracle(model, ["conv1", "logits"]).run({"image": image})
    assert list(found) == ["conv1", "logits"]
    assert found["conv1"].shape == (1, 4, 16, 16)
    assert [value.name for value in observed(model, ["conv1"])[0].graph.output] == ["conv1"]


def test_comparing_another_network_finds_the_difference() -> None:
    first, second = load(conv_net()), load(conv_net(b1=np.ones(4, np.float32)))
    feeds = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    assert compare(first, lower(first, ["conv1"]), ["conv1"], feeds).ok
    assert not compare(first, lower(second, ["conv1"]), ["conv1"], feeds).ok


def test_a_wrong_operator_behind_a_small_sigmoid_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(X: Tensor) -> Tensor:
        return 3 * torch.sigmoid(X)

    text = '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[4] y) { y = Sigmoid (x) }'
    inputs = {"x": np.array([-12, -11, -10, -9], np.float32)}
    assert verify(parsed(text), inputs=inputs).ok
    entry = table.Operator("Sigmoid", "", 1, wrong, differentiable=True)
    monkeypatch.setitem(table._TABLE, ("", "Sigmoid"), [entry])
    assert not verify(parsed(text), inputs=inputs).ok


def test_the_tolerance_is_looser_only_where_half_precision_is_on_the_way() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[2] x) => (float[2] y, float[2] w)
    { y = Tanh (x)  half = Cast <to = 10> (x)  v = Relu (half)  w = Cast <to = 1> (v) }
    """
    assert verify(parsed(text), "y").tolerance == 1e-4
    assert verify(parsed(text), "w").tolerance == 1e-2


def test_a_disagreement_is_reported_though_another_part_of_the_model_cannot_be_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[2] x, float[H, W] z) => (float[2] y, float[H, W] w, int64[1, N] n)
    { y = Relu (x)  w = Neg (z)  n = NonZero (x) }
    """
    monkeypatch.setitem(table._TABLE, ("", "Relu"), [table.Operator("Relu", "", 1, wrong_relu, differentiable=True)])
    report = verify(parsed(text), "y", inputs={"x": np.array([-1, 1], np.float32)})
    assert report.first_divergence == "y"
    with pytest.raises(VerificationError, match="'y'"):
        require(load(parsed(text)), report, None, {"x": np.array([-1, 1], np.float32)})


def test_tensors_whose_shape_depends_on_values_are_skipped() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[N] y, float[4] w)
    { positive = Relu (x)  where = NonZero (positive)  flat = Squeeze (where)  y = Gather (x, flat)  w = Exp (x) }
    """
    report = verify(parsed(text))
    assert report.ok
    assert report.skipped == ("y",)


def test_a_branch_that_cannot_be_lowered_is_skipped_as_a_whole() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[1, N] y, float[4] w)
    {
        yes = Constant <value = bool {1}> ()
        y = If (yes) <
            then_branch = a () => (float[1, N] found) { where = NonZero (x)  found = Cast <to = 1> (where) },
            else_branch = b () => (float[1, N] other)
            { axis = Constant <value = int64[1] {0}> ()  other = Unsqueeze (x, axis) }
        >
        w = Exp (x)
    }
    """
    report = verify(parsed(text))
    assert report.ok
    assert report.skipped == ("y",)


def test_what_onnxruntime_has_no_kernel_for_is_compared_with_the_reference() -> None:
    text = '<ir_version: 10, opset_import: ["": 28]> net (double[3] x) => (double[3] y) { y = Elu (x) }'
    report = verify(parsed(text))
    assert report.ok
    assert report.engine == "onnx.reference"
