"""Which input is which, at which sizes, and what both are fed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxvis.comparison.feeds import probes, smooth
from onnxvis.comparison.pairing import pair_inputs
from onnxvis.diff import diff
from onnxvis.errors import InputError, OnnxvisError, UnknownSizeError
from onnxvis.model import load
from tests.comparison import drawn, ints, net


def taking(*inputs: str) -> onnx.ModelProto:
    """A network of these inputs, of any types and shapes."""
    names = [text.split()[-1] for text in inputs]
    nodes = "\n".join(
        f"f{name} = Cast <to = 1> ({name})\n s{name} = ReduceMean <keepdims = 0> (f{name})" for name in names
    )
    joined = ", ".join(f"s{name}" for name in names)
    return net(f"g ({', '.join(inputs)}) => (float y) {{ {nodes}\n t = Sum ({joined})\n y = Relu (t) }}")


def paired(first: onnx.ModelProto, second: onnx.ModelProto, **given: Any) -> Any:
    return pair_inputs(load(first), load(second), **given)


def test_inputs_are_paired_by_name_before_anything_else() -> None:
    found = paired(taking("float[1, 8] a", "float[1, 8] b"), taking("float[1, 8] b", "float[1, 8] a"))
    assert sorted(found.names) == [("a", "a"), ("b", "b")]


def test_several_inputs_of_one_shape_without_common_names_are_paired_in_their_order() -> None:
    found = paired(taking("float[1, 8] a", "float[1, 8] b"), taking("float[1, 8] c", "float[1, 8] d"))
    assert sorted(found.names) == [("a", "c"), ("b", "d")]


def test_what_fits_by_shape_and_type_is_paired_across_other_names_and_orders() -> None:
    first = taking("float[1, 3, 8, 9] image", "int64[1, 5] tokens", "float[1, 7] state")
    second = taking("float[1, 7] h", "int64[1, 5] ids", "float[1, 8, 9, 3] pixels")
    found = paired(first, second)
    assert set(found.names) == {("image", "pixels"), ("tokens", "ids"), ("state", "h")}
    assert found.names[0] == ("image", "pixels")
    assert found.shapes[1]["pixels"] == (1, 8, 9, 3)


def test_the_same_name_with_shapes_that_cannot_agree_is_no_pair() -> None:
    with pytest.raises(InputError, match="x"):
        paired(taking("float[1, 3, 8, 8] x"), taking("float[1, 3, 9, 9] x"))
    with pytest.raises(InputError, match="x"):
        paired(taking("float[1, 3, 8, 8] x"), taking("int64[1, 3, 8, 8] x"))
    with pytest.raises(InputError, match="x"):
        paired(taking("float[1, 3, 8] x"), taking("float[1, 3, 8, 8] x"))


def test_what_one_file_leaves_open_is_as_in_the_other() -> None:
    found = paired(taking("float[n, 3, h, w] x"), taking("float[1, 12, 10, 3] x"))
    assert found.shapes == ({"x": (1, 3, 12, 10)}, {"x": (1, 12, 10, 3)})
    assert found.notes == ()
    found = paired(taking("float[n, 12, w, 3] x"), taking("float[m, 3, h, 10] x"))
    assert found.shapes == ({"x": (1, 12, 10, 3)}, {"x": (1, 3, 12, 10)})


def test_what_both_leave_open_is_taken_for_the_usual_and_said() -> None:
    found = paired(taking("float[n, 3, h, w] x"), taking("float[n, a, b, 3] x"))
    assert found.shapes == ({"x": (1, 3, 224, 224)}, {"x": (1, 224, 224, 3)})
    assert "224x224" in found.notes[0]
    found = paired(taking("float[n, 3, h, w] x"), taking("float[n, a, b, 3] x"), size=(12, 10))
    assert found.shapes == ({"x": (1, 3, 12, 10)}, {"x": (1, 12, 10, 3)})
    assert found.notes == ()


def test_shapes_may_be_given_by_the_name_of_either_file() -> None:
    first, second = taking("float[n, 3, h, w] x"), taking("float[n, 3, h, w] z")
    for given in ({"x": (2, 3, 5, 6)}, {"z": (2, 3, 5, 6)}):
        found = paired(first, second, given=given)
        assert found.shapes == ({"x": (2, 3, 5, 6)}, {"z": (2, 3, 5, 6)})


def test_an_open_batch_is_one_wherever_it_appears() -> None:
    model = taking("float[n, 8] x", "float[4, n, 6] state")
    found = paired(model, model)
    assert found.shapes[0] == {"x": (1, 8), "state": (4, 1, 6)}


def test_open_sizes_of_a_picture_without_a_batch_are_no_batch() -> None:
    found = paired(taking("float[h, w, 3] x"), taking("float[h, w, 3] x"), size=(12, 10))
    assert found.shapes[0] == {"x": (12, 10, 3)}


def test_an_input_of_unknown_rank_is_as_in_the_other_file_or_asked_for() -> None:
    bare = taking("float x")
    bare.graph.input[0].type.tensor_type.ClearField("shape")
    assert paired(bare, taking("float[1, 8] x")).shapes[0] == {"x": (1, 8)}
    with pytest.raises(UnknownSizeError, match="input_shapes"):
        paired(bare, bare)
    assert paired(bare, bare, given={"x": (1, 8)}).shapes[0] == {"x": (1, 8)}


def test_inputs_without_a_partner_are_named() -> None:
    found = paired(taking("float[1, 8] a", "float[1, 5] b"), taking("float[1, 8] a"))
    assert found.missing == (("b",), ())
    found = paired(taking("float[1, 8] a"), taking("float[1, 8] a", "float[1, 5] b"))
    assert found.missing == ((), ("b",))


@pytest.mark.parametrize("backward", [False, True])
def test_an_input_that_the_other_file_has_not_is_what_is_said(backward: bool) -> None:
    models = (taking("float[1, 8] a", "float[1, 5] extra"), taking("float[1, 8] a"))
    try:
        texts = [detail.text for detail in diff(*(reversed(models) if backward else models)).details]
    except OnnxvisError as error:
        texts = [error.message]
    assert "extra" in texts[0]
    assert "ONNXRuntimeError" not in texts[0]


def test_an_input_that_the_other_file_has_not_may_be_held() -> None:
    first, second = taking("float[1, 8] a", "float[1, 5] extra"), taking("float[1, 8] a")
    found = diff(first, second, inputs={"extra": np.zeros((1, 5), np.float32)})
    assert [detail.layer for detail in found.details][:1] == ["extra"]


STATE = """g (float[1, 3, 8, 8] x, float[1, 3] s) => (float[1, 3, 8, 8] y) {
    u = Reshape (s, shape)
    r = Add (x, u)
    y = Relu (r)
}"""


def test_an_input_is_held_at_an_array_or_a_number_that_fills_it() -> None:
    model = load(net(STATE, shape=ints(1, 3, 1, 1)))
    pairing = pair_inputs(model, model)
    fed = probes(model, pairing, overrides={}, held={"s": np.full((1, 3), 0.5)})
    assert all(np.array_equal(item["s"], np.full((1, 3), 0.5)) for item in fed)
    assert diff(model, model, inputs={"s": np.asarray(0.5)}).ok


@pytest.mark.parametrize(("name", "shape"), [("s", (1, 4)), ("s", (2, 3, 1)), ("nonsense", (1, 3))])
def test_what_cannot_be_held_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    model = load(net(STATE, shape=ints(1, 3, 1, 1)))
    with pytest.raises((InputError, OnnxvisError), match=name) as caught:
        diff(model, model, inputs={name: np.zeros(shape, np.float32)})
    assert "ONNXRuntimeError" not in str(caught.value)


CONV = "g (float[1, 3, 12, 12] x) => (float[1, 4, 10, 10] y) { c = Conv (x, w)\n y = Relu (c) }"


def test_every_probe_follows_the_preprocessing_that_is_given() -> None:
    model = load(net(CONV, w=drawn(4, 3, 3, 3)))
    fed = probes(model, pair_inputs(model, model), overrides={"range": (0.0, 255.0)}, held={})
    assert len(fed) == 4
    for item in fed:
        assert item["x"].min() >= 0
        assert item["x"].max() > 100


def test_a_layout_that_is_given_holds_for_all_probes() -> None:
    model = load(net("g (float[1, 3, 12, 3] x) => (float[1, 3, 12, 3] y) { y = Exp (x) }"))
    pairing = pair_inputs(model, model)
    mean = (10.0, 20.0, 30.0)
    fed = probes(model, pairing, overrides={"layout": "NHWC", "mean": mean}, held={})
    for item in fed:
        assert np.all(item["x"][..., 0] >= -10)
        assert np.all(item["x"][..., 2] <= -29)


def test_probes_are_drawn_from_the_seed_and_differ() -> None:
    model = load(net(CONV, w=drawn(4, 3, 3, 3)))
    pairing = pair_inputs(model, model)
    first, second, other = (probes(model, pairing, overrides={}, held={}, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one["x"], two["x"]) for one, two in zip(first, second, strict=True))
    assert not any(np.array_equal(one["x"], two["x"]) for one, two in zip(first, other, strict=True))
    assert len({item["x"].tobytes() for item in first}) == len(first)


def test_of_half_precision_both_files_get_the_very_same_numbers() -> None:
    model = load(net(CONV, w=drawn(4, 3, 3, 3)))
    for item in probes(model, pair_inputs(model, model), overrides={}, held={}, rounded=True):
        assert np.array_equal(item["x"], item["x"].astype(np.float16).astype(np.float32))


def test_photos_are_fed_as_the_model_wants_them(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (20, 20), (255, 0, 0)).save(path)
    text = "g (float[1, 3, 12, 12] x) => (float[1, 3, 12, 12] y) { y = Exp (x) }"
    model = load(net(text))
    fed = probes(model, pair_inputs(model, model), overrides={"preset": "unit"}, held={}, photos=[str(path)])
    assert len(fed) == 5
    picture = fed[-1]["x"]
    assert np.allclose(picture[0, 0], 1)
    assert np.allclose(picture[0, 1:], 0)


def test_photos_leave_features_beside_the_picture_alone(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (20, 20), (255, 0, 0)).save(path)
    model = load(net(STATE, shape=ints(1, 3, 1, 1)))
    fed = probes(model, pair_inputs(model, model), overrides={}, held={}, photos=[str(path)])
    assert fed[-1]["s"].shape == (1, 3)


@pytest.mark.parametrize("shape", [(3, 17, 24), (1, 64), (2, 5, 6, 7), (1, 1, 1)])
def test_smooth_noise_is_a_picture_whose_contrast_is_kept(shape: tuple[int, ...]) -> None:
    image = smooth(shape, np.random.default_rng(0), 1.0)
    assert image.shape == shape
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    harsh = smooth(shape, np.random.default_rng(0), 3.0)
    assert harsh.std() >= image.std()


def test_smooth_noise_has_the_spectrum_of_natural_images() -> None:
    image = smooth((1, 128, 128), np.random.default_rng(0), 0.5)[0]
    power = np.abs(np.fft.fft2(image - image.mean()))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij"))
    low, high = (power[(frequency > band) & (frequency < 1.25 * band)].mean() for band in (0.04, 0.32))
    assert low / high == pytest.approx(8, rel=0.25)
