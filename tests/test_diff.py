"""Two files are the same network or not; what is said of it is right, and is said of any two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxvis.comparison.sides import Array
from onnxvis.config import DiffSettings
from onnxvis.diff import Difference, diff
from onnxvis.errors import InputError, OnnxvisError, UnknownNodeError
from tests.comparison import NET, ROW, drawn, floats, ints, net, net_weights, row_weights
from tests.twins.conversions import optimized_by_onnxruntime, rename_all
from tests.twins.edits import editing
from tests.twins.float16 import to_float16

SAMPLES = Path(__file__).parents[1] / "samples"
CLEAN = ("agrees", "unmatched")


def base(**changed: Array) -> onnx.ModelProto:
    return net(NET, **net_weights() | changed)


def valid(found: Difference) -> dict[str, Any]:
    """Return what is written, after it has been through a reader of JSON that knows no NaN."""
    return dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))


@pytest.mark.parametrize("name", ["blobs", "grey", "keras_nhwc", "signals", "textures", "textures_int8", "volumes"])
def test_every_sample_is_itself(name: str) -> None:
    path = SAMPLES / f"{name}.onnx"
    found = diff(path, path)
    assert (found.ok, found.status, found.details, found.first_divergence) == (True, "pass", (), None)
    assert {layer.verdict for layer in found.layers} == {"agrees"}
    assert found.agreeing == len(found.layers) > 3
    assert all(layer.relative_error == 0 for layer in found.layers)
    assert all(layer.first == layer.second for layer in found.layers)
    said = valid(found)
    assert said["ok"] is True
    assert said["format"] == "onnxvis-diff-1"
    assert len(said["layers"]) == len(found.layers)


def test_a_difference_is_one_from_both_sides() -> None:
    wrong = base(w2=drawn(10, 8, 3, 3, seed=9))
    for pair in ((base(), wrong), (wrong, base())):
        found = diff(*pair)
        assert (found.ok, found.status, found.first_divergence) == (False, "fail", "c2")
        verdicts = {layer.first: layer.verdict for layer in found.layers}
        assert (verdicts["c1"], verdicts["r1"], verdicts["c2"]) == ("agrees", "agrees", "differs")
        said = valid(found)
        assert (said["ok"], said["first_divergence"]) == (False, "c2")
        assert said["details"][0]["layer"] == "c2"


def test_all_names_may_be_others() -> None:
    rewritten = editing(rename_all)
    found = diff(base(), rewritten(base()))
    assert found.ok
    assert {layer.verdict for layer in found.layers} == {"agrees"}
    assert not diff(base(), rewritten(base(w2=drawn(10, 8, 3, 3, seed=9)))).ok


def half(model: onnx.ModelProto, *, keep_io: bool = False) -> onnx.ModelProto:
    return editing(to_float16(keep_io=keep_io))(model)


@pytest.mark.parametrize("keep_io", [False, True])
def test_half_precision_is_no_difference_and_faults_in_it_are(keep_io: bool) -> None:
    for pair in ((base(), half(base(), keep_io=keep_io)), (half(base(), keep_io=keep_io), base())):
        found = diff(*pair)
        assert found.ok, found.details
        assert found.details == ()
    wrong = half(base(w2=net_weights()["w2"][..., ::-1].copy()), keep_io=keep_io)
    found = diff(base(), wrong)
    assert found.first_divergence == "c2"
    assert "flipped in width" in found.details[0].text


def test_eight_bits_are_no_difference() -> None:
    found = diff(SAMPLES / "textures.onnx", SAMPLES / "textures_int8.onnx")
    assert found.ok
    assert "cosine" in found.limits
    valid(found)


@pytest.mark.parametrize("layer", ["conv1", "conv3"])
def test_a_kernel_that_is_flipped_in_eight_bits_is_found_where_it_is(layer: str) -> None:
    second = onnx.load(SAMPLES / "textures_int8.onnx")
    weight = next(item for item in second.graph.initializer if item.name == f"{layer}.weight_quantized")
    flipped = numpy_helper.to_array(weight)[..., ::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(flipped, weight.name))
    found = diff(SAMPLES / "textures.onnx", second)
    assert (found.ok, found.first_divergence) == (False, layer)


def test_the_tolerance_decides() -> None:
    near = base(w2=net_weights()["w2"] * np.float32(1.001))
    assert not diff(base(), near).ok
    assert diff(base(), near, settings=DiffSettings(tolerance=1e-2)).ok
    assert not diff(base(), near, settings=DiffSettings(tolerance=1e-5)).ok
    assert diff(base(), near, settings=DiffSettings(min_cosine=0.99)).ok
    assert not diff(base(), near, settings=DiffSettings(min_cosine=1.0)).ok
    assert not diff(base(), near, settings=DiffSettings(tolerance=1e-5, min_cosine=0.99)).ok
    assert diff(base(), base(), settings=DiffSettings(tolerance=0.0)).ok
    assert "0.01" in diff(base(), near, settings=DiffSettings(tolerance=1e-2)).limits


def test_a_tolerance_for_anything_matches_no_tensor_with_another_operator() -> None:
    found = diff(base(), base(), settings=DiffSettings(tolerance=10.0))
    assert found.ok
    assert all(layer.first == layer.second for layer in found.layers)


def test_from_which_status_on_it_is_not_good_is_a_setting() -> None:
    wrong = base(w2=drawn(10, 8, 3, 3, seed=9))
    assert diff(base(), wrong, settings=DiffSettings(fail_on="never")).ok
    assert diff(base(), wrong, settings=DiffSettings(fail_on="never")).status == "fail"


PERMUTED = [3, 0, 2, 1]


def test_permuted_filters_that_the_next_layer_undoes_are_a_note() -> None:
    weights = row_weights()
    second = weights | {"w1": weights["w1"][PERMUTED], "w2": weights["w2"][:, PERMUTED].copy()}
    found = diff(net(ROW, **weights), net(ROW, **second))
    assert (found.ok, found.details) == (True, ())
    assert {layer.first: layer.verdict for layer in found.layers} == {
        "a": "permuted",
        "ar": "permuted",
        **dict.fromkeys(("b", "br", "c", "y"), "agrees"),
    }
    assert "'a'" in found.notes[0]


def test_permuted_outputs_are_a_difference_until_accepted() -> None:
    weights = row_weights()
    second = net(ROW, **weights | {"w3": weights["w3"][PERMUTED]})
    found = diff(net(ROW, **weights), second)
    assert (found.ok, found.first_divergence) == (False, "c")
    assert "another order" in found.details[0].text
    accepted = diff(net(ROW, **weights), second, settings=DiffSettings(accept=("permutation",)))
    assert accepted.ok
    wrong = net(ROW, **weights | {"w3": drawn(4, 4, 3, 3, seed=99)})
    assert not diff(net(ROW, **weights), wrong, settings=DiffSettings(accept=("permutation",))).ok


POINTWISE = "g (float[1, 3, 8, 8] x) => (float[1, 6, 8, 8] y) { c = Conv (x, w)\n y = Relu (c) }"


def pointwise(scale: float = 1.0, first: float | None = None) -> onnx.ModelProto:
    weight = drawn(6, 3, 1, 1) * np.float32(scale)
    if first is not None:
        weight[0, 0] = first
    return net(POINTWISE, w=weight)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e15, 1e30, 3e38])
def test_zero_and_huge_numbers_are_compared_without_a_warning(scale: float) -> None:
    assert diff(pointwise(scale), pointwise(scale)).ok
    for pair in ((pointwise(), pointwise(scale)), (pointwise(scale), pointwise())):
        found = diff(*pair)
        assert not found.ok
        valid(found)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nan_and_infinity_are_compared_without_a_warning(number: float) -> None:
    wrong = pointwise(first=number)
    assert diff(wrong, wrong).ok
    for pair in ((pointwise(), wrong), (wrong, pointwise())):
        found = diff(*pair)
        assert (found.ok, found.first_divergence) == (False, "c")
        valid(found)


def test_doubles_beyond_single_precision_are_compared_without_a_warning() -> None:
    text = "g (double[1, 3, 8, 8] x) => (double[1, 3, 8, 8] y) { y = Mul (x, k) }"
    first, second = (net(text, k=np.array(number)) for number in (1e300, 2e300))
    assert diff(first, first).ok
    assert not diff(first, second).ok


def test_other_shapes_of_the_output_are_valid_json() -> None:
    first = net("g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Softplus (x) }")
    second = net("g (float[1, 3, 8, 8] x) => (float[1, 3, 7, 7] y) { y = MaxPool <kernel_shape = [2, 2]> (x) }")
    for pair in ((first, second), (second, first)):
        found = diff(*pair)
        assert not found.ok
        valid(found)


CONSTANT = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y, float[2] z) { y = Softplus (x)\n z = Identity (c) }"


def test_outputs_that_depend_on_nothing_are_compared_too() -> None:
    first, second = (net(CONSTANT, c=floats(1, number)) for number in (2, 3))
    assert diff(first, first).ok
    found = diff(first, second)
    assert (found.ok, found.first_divergence) == (False, "z")


def test_files_with_nothing_but_constant_outputs_are_compared_or_refused_in_a_line() -> None:
    text = "g (float[1, 3, 8, 8] x) => (float[2] z) { z = Identity (c) }"
    first, second = (net(text, c=floats(1, number)) for number in (2, 3))
    try:
        assert not diff(first, second).ok
    except OnnxvisError as error:
        assert "onnxruntime_src" not in error.message  # noqa: PT017 - either is right


VARYING = """g (float[1, 64] x) => (float[n] y) {
    r = Exp (x)
    b = Greater (r, z)
    f = Reshape (b, shape)
    v = Reshape (r, shape)
    y = Compress <axis = 0> (v, f)
}"""


def test_outputs_whose_size_depends_on_the_numbers_are_compared() -> None:
    first, second = (net(VARYING, z=number, shape=ints(-1)) for number in (1.0, 1.5))
    assert diff(first, first).ok
    assert not diff(first, second).ok


@pytest.mark.parametrize(
    "text",
    [
        "g (float[1, 4, 8] x) => (seq(float[1, 1, 8]) y) { r = Softplus (x)\n y = SplitToSequence <axis = 1> (r) }",
        "g (float[1, 4, 8] x) => (string[1, 4, 8] y) { r = Softplus (x)\n y = Cast <to = 8> (r) }",
        "g (float[1, 4, 8] x) => (int64[1, 8] y) { r = Softplus (x)\n y = ArgMax <axis = 1, keepdims = 0> (r) }",
        "g (float[1, 4, 8] x) => (bool[1, 4, 8] y) { r = Softplus (x)\n y = Greater (r, x) }",
    ],
    ids=["sequence", "string", "integer", "bool"],
)
def test_outputs_of_any_type_are_themselves_or_refused_in_a_line(text: str) -> None:
    try:
        found = diff(net(text), net(text))
    except OnnxvisError:
        return
    assert found.ok


TOKENS = "g (int64[1, n] ids) => (float[1, n, 4] y) { e = Gather (table, ids)\n t = Tanh (e)\n y = MatMul (t, w) }"


def test_files_that_take_nothing_but_integers_are_compared() -> None:
    given = {"table": drawn(10, 4), "w": drawn(4, 4)}
    first = net(TOKENS, **given)
    assert diff(first, first, settings=DiffSettings(size=(6,))).ok
    found = diff(first, net(TOKENS, **given | {"w": drawn(4, 4, seed=9)}))
    assert (found.ok, found.first_divergence) == (False, "y")


def test_a_scalar_a_vector_and_many_axes_are_compared() -> None:
    for shape in ("", "[12]", "[1, 12]", "[2, 3, 2, 3, 2, 3]"):
        texts = [
            f"g (float{shape} x) => (float{shape} y) {{ a = {name} (x)\n y = Mul (a, k) }}"
            for name in ("Softplus", "Tanh")
        ]
        first, second = (net(text, k=2.0) for text in texts)
        assert diff(first, first).ok
        assert diff(first, second).first_divergence == "a"


def test_outputs_that_only_one_file_has_are_named() -> None:
    one = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Softplus (x) }"
    two = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y, float[1, 3, 8, 8] z) { y = Softplus (x)\n z = Neg (x) }"
    for pair in ((net(one), net(two)), (net(two), net(one))):
        found = diff(*pair)
        assert not found.ok
        assert "'z'" in found.details[0].text


def test_outputs_without_a_common_name_are_paired_by_place() -> None:
    found = diff(base(), net(NET.replace("y", "logits"), **net_weights()))
    assert found.ok
    assert found.layers[-1].second == "logits"


def test_exchanged_outputs_are_a_difference() -> None:
    text = (
        "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] %s, float[1, 3, 8, 8] %s) {{ p = Softplus (x)\n q = Neg (x) }}"
    )
    text = text.replace("{{", "{").replace("}}", "}")
    same_names = text.replace("p = Softplus", "p = Neg").replace("q = Neg", "q = Softplus")
    assert not diff(net(text % ("p", "q")), net(same_names % ("p", "q"))).ok


def test_weights_in_a_file_of_their_own_are_read(tmp_path: Path) -> None:
    onnx.save(base(), tmp_path / "inside.onnx")
    onnx.save(base(), tmp_path / "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    found = diff(tmp_path / "inside.onnx", tmp_path / "outside.onnx")
    assert found.ok
    assert found.first.endswith("inside.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(OnnxvisError, match="outside"):
        diff(tmp_path / "inside.onnx", tmp_path / "outside.onnx")


def test_a_batch_that_is_open_is_no_difference() -> None:
    dynamic = net(
        NET.replace("float[1, 3, 16, 16]", "float[n, 3, 16, 16]").replace("float[1, 5]", "float[n, 5]"), **net_weights()
    )
    for pair in ((base(), dynamic), (dynamic, base())):
        found = diff(*pair)
        assert (found.ok, found.details) == (True, ())


@pytest.mark.parametrize("batch", [1, 2])
def test_the_twin_of_the_other_layout_is_no_difference(batch: int) -> None:
    first = f"""g (float[{batch}, 3, 8, 9] x) => (float[{batch}, 5] y) {{
        c = Conv (x, w)
        r = Relu (c)
        f = Flatten (r)
        y = Gemm (f, v)
    }}"""
    second = f"""g (float[{batch}, 8, 9, 3] x) => (float[{batch}, 5] y) {{
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        c = Conv (t, w)
        r = Relu (c)
        u = Transpose <perm = [0, 2, 3, 1]> (r)
        f = Flatten (u)
        y = Gemm (f, v)
    }}"""
    weight = drawn(168, 5)
    turned = weight.reshape(4, 6, 7, 5).transpose(1, 2, 0, 3).reshape(168, 5).copy()
    models = (net(first, w=drawn(4, 3, 3, 3), v=weight), net(second, w=drawn(4, 3, 3, 3), v=turned))
    for pair in (models, models[::-1]):
        found = diff(*pair)
        assert (found.ok, found.details) == (True, ())
        assert {layer.verdict for layer in found.layers} <= set(CLEAN)
        assert [layer.verdict for layer in found.layers if layer.first == "f"] == ["agrees"]


def test_open_sizes_of_the_other_layout_are_the_same_sizes() -> None:
    first = "g (float[n, 3, h, w] x) => (float[n, 4, i, j] y) { c = Conv (x, k)\n y = Relu (c) }"
    second = """g (float[n, a, b, 3] x) => (float[n, i, j, 4] y) {
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        c = Conv (t, k)
        r = Relu (c)
        y = Transpose <perm = [0, 2, 3, 1]> (r)
    }"""
    models = net(first, k=drawn(4, 3, 3, 3)), net(second, k=drawn(4, 3, 3, 3))
    for pair in (models, models[::-1]):
        found = diff(*pair, settings=DiffSettings(size=(12, 10)))
        assert (found.ok, found.details) == (True, ())
        assert (found.layers[0].shape[-2:] == (10, 8)) or (found.layers[0].shape == (1, 3, 12, 10))


def test_a_file_that_onnxruntime_has_optimized_is_no_difference() -> None:
    import onnxruntime as ort  # noqa: PLC0415 - only here

    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED):
        found = diff(base(), optimized_by_onnxruntime(level)(base()))
        assert (found.ok, found.details) == (True, ())


def test_other_networks_are_not_the_same() -> None:
    found = diff(
        base(), net(ROW.replace("1, 3, 8, 8", "1, 3, 16, 16").replace("1, 4, 8, 8", "1, 4, 16, 16"), **row_weights())
    )
    assert not found.ok
    valid(found)
    with pytest.raises(InputError, match="fits"):
        diff(base(), net(ROW, **row_weights()))


def test_wrong_paths_and_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    for path in (tmp_path / "none.onnx", tmp_path / "no.onnx", tmp_path):
        with pytest.raises(OnnxvisError) as caught:
            diff(base(), path)
        assert "\n" not in caught.value.message


def test_photos_are_shown_to_both(tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415 - only here

    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "red.png")
    assert diff(base(), base(), settings=DiffSettings(images=str(tmp_path))).ok
    with pytest.raises(OnnxvisError):
        diff(base(), base(), settings=DiffSettings(images=str(tmp_path / "none")))


def test_the_seed_draws_the_noise() -> None:
    near = base(w2=net_weights()["w2"] * np.float32(1.001))

    def errors(seed: int) -> list[float]:
        found = diff(base(), near, settings=DiffSettings(seed=seed))
        return [layer.relative_error for layer in found.layers]

    assert errors(0) == errors(0)
    assert errors(0) != errors(1)


def test_a_unit_that_is_nowhere_is_named() -> None:
    with pytest.raises(UnknownNodeError, match="nowhere"):
        diff(base(), base(), units=[("nowhere", 0)])


def test_files_may_be_called_anything() -> None:
    found = diff(base(), base().SerializeToString(), names=("one", "two"))
    assert (found.first, found.second) == ("one", "two")
    assert "of one agree with two" in str(found)


def test_what_is_no_tensor_of_the_second_is_alone() -> None:
    text = NET.replace("r1 = Relu (c1)", "i = Identity (c1)\n r1 = Relu (i)")
    found = diff(net(text, **net_weights()), base())
    assert found.ok
    assert all(layer.second is not None or layer.verdict == "unmatched" for layer in found.layers)


def test_a_saturated_softmax_does_not_hide_the_numbers_before_it() -> None:
    text = NET.replace("y =", "g =").replace("}", "    y = Softmax (g)\n}").replace("b3)", "b3)")
    weights = net_weights()
    large = weights | {"w3": weights["w3"] * np.float32(1e4)}
    wrong = large | {"w3": large["w3"] * np.float32(1.1)}
    assert diff(net(text, **large), net(text, **large)).ok
    assert not diff(net(text, **large), net(text, **wrong)).ok
