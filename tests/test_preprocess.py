from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from onnxvis.errors import InputError, SettingError
from onnxvis.image_input import ImageInput, find_image_input
from onnxvis.model import load
from onnxvis.preprocess import PRESETS, Preprocess, canonical
from tests.models import parsed

Array = np.ndarray[Any, Any]
CONVENTIONS = {
    "imagenet": lambda rgb: (rgb - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    "caffe": lambda rgb: rgb[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68]),
    "tf": lambda rgb: rgb * 2 - 1,
    "unit": lambda rgb: rgb,
    "raw255": lambda rgb: rgb * 255,
    "none": lambda rgb: rgb,
}
"""What the frameworks do with pictures (..., H, W, RGB) in [0, 1]."""
FORMATS = {"NCHW": "nhwc->nchw", "NHWC": "nhwc->nhwc", "CHW": "nhwc->chw", "HWC": "nhwc->hwc"}


def arranged(pictures: Array, layout: str) -> Array:
    axes = [0, 3, 1, 2] if layout in ("NCHW", "CHW") else [0, 1, 2, 3]
    moved = pictures.transpose(axes)
    return moved if layout.startswith("N") else moved[0]


def image_input(
    shape: tuple[int, ...],
    nodes: str = "y = Relu (x)",
    *,
    preset: str | None = None,
    producer: str = "",
    metadata: Mapping[str, str] | None = None,
    weights: Mapping[str, Array] | None = None,
    **overrides: Any,
) -> ImageInput:
    """Ask how the input x of a model is made."""
    dims = ", ".join(map(str, shape))
    text = f"""<ir_version: 8, opset_import: ["": 17, "my": 1]> g (float[{dims}] x) => (float[1] z)
    {{ {nodes}  z = my.Sink (y) }}"""
    proto = parsed(text, **(weights or {}))
    proto.producer_name = producer
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value)
    return find_image_input(load(proto), {"x": shape}, preset=preset, overrides=overrides)


def preprocess(*args: Any, **kwargs: Any) -> Preprocess:
    return image_input(*args, **kwargs).preprocess


RGB = (1, 3, 32, 32)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_its_frameworks_formula(preset: str, layout: str) -> None:
    pictures = np.random.default_rng(0).random((1 if len(layout) == 3 else 2, 5, 7, 3))
    images = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
    fed = dataclasses.replace(PRESETS[preset], layout=layout).to_input(images)
    assert fed.dtype == torch.float32
    wanted = arranged(CONVENTIONS[preset](pictures), layout)
    np.testing.assert_allclose(fed.numpy(), wanted, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_flow_to_every_pixel(preset: str, layout: str) -> None:
    images = torch.rand(1, 3, 4, 5, requires_grad=True)
    dataclasses.replace(PRESETS[preset], layout=layout).to_input(images).sum().backward()  # type: ignore[no-untyped-call] # torch does not annotate it
    assert images.grad is not None
    assert bool((images.grad > 0).all())


def test_alpha_stays_last_in_bgr() -> None:
    images = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert Preprocess(bgr=True).to_input(images).flatten().tolist() == [2, 1, 0, 3]


def test_one_mean_serves_all_channels_and_one_each_the_models_order() -> None:
    images = torch.ones(1, 3, 1, 1)
    assert Preprocess(range=(0, 2), mean=(1,), std=(4,)).to_input(images).flatten().tolist() == [0.25] * 3
    assert Preprocess(mean=(0, 0.5, 1), std=(2,), bgr=True).to_input(images).flatten().tolist() == [0.5, 0.25, 0]


@pytest.mark.parametrize(
    ("shape", "nodes", "layout"),
    [
        ((1, 3, 32, 32), "y = Relu (x)", "NCHW"),
        ((1, 32, 32, 3), "y = Relu (x)", "NHWC"),
        ((1, 1, 32, 32), "y = Relu (x)", "NCHW"),
        ((1, 32, 32, 1), "y = Relu (x)", "NHWC"),
        ((1, 3, 32, 3), "y = Relu (x)", "NCHW"),
        ((1, 3, 32, 3), "y = Transpose <perm = [0, 3, 1, 2]> (x)", "NHWC"),
        ((1, 8, 32, 3), "y = MaxPool <kernel_shape = [1, 1]> (x)", "NCHW"),
        ((1, 8, 8, 8), "y = Relu (x)", "NCHW"),
        ((3, 32, 32), "y = Relu (x)", "CHW"),
        ((32, 32, 3), "y = Relu (x)", "HWC"),
        ((1, 32, 32), "y = Relu (x)", "CHW"),
        ((1, 512, 1, 1), "y = Relu (x)", "NCHW"),
        ((1, 32, 4, 4), "y = Relu (x)", "NCHW"),
    ],
)
def test_the_layout_is_told_from_the_graph_and_the_shape(shape: tuple[int, ...], nodes: str, layout: str) -> None:
    found = image_input(shape, nodes, preset="unit")
    sizes = dict(zip(layout, shape, strict=True))
    assert found.preprocess.layout == layout
    assert (found.channels, found.size) == (sizes["C"], (sizes["H"], sizes["W"]))
    assert found.image_shape == (sizes["C"], sizes["H"], sizes["W"])
    assert found.copies == sizes.get("N", 1)


@pytest.mark.parametrize(
    ("shape", "layout", "reason"),
    [
        ((1, 32, 32, 3), "NCHW", r"32 channels of 32x3 pixels .* Is it NHWC\?"),
        ((1, 3, 32, 32), "NHWC", r"32 channels of 3x32 pixels .* Is it NCHW\?"),
        ((32, 32, 3), "CHW", r"Is it HWC\?"),
        ((3, 32, 32), "HWC", r"Is it CHW\?"),
    ],
)
def test_a_mistaken_layout_is_noticed(shape: tuple[int, ...], layout: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        image_input(shape, layout=layout)


@pytest.mark.parametrize("layout", ["ABCD", "NCHH", "nchw", "NCDH", ""])
def test_a_layout_that_does_not_exist_is_refused(layout: str) -> None:
    with pytest.raises(SettingError, match="axes in order: NCHW, NHWC, CHW, HWC"):
        image_input(RGB, layout=layout)


@pytest.mark.parametrize(
    ("shape", "nodes", "layout", "kind"),
    [
        ((1, 10), "y = Relu (x)", "NC", "features"),
        ((10,), "y = Relu (x)", "C", "features"),
        ((1, 16000), "y = Unsqueeze (x, axes)", "NW", "signal"),
        ((1, 16000), "y = MatMul (x, w)", "NC", "features"),
        ((1, 2, 100), "y = Relu (x)", "NCW", "signal"),
        ((1, 100, 2), "y = Relu (x)", "NWC", "signal"),
        ((1, 100, 20), "y = Transpose <perm = [0, 2, 1]> (x)", "NWC", "signal"),
        ((1, 100, 20), "y = MaxPool <kernel_shape = [1]> (x)", "NCW", "signal"),
        ((1, 3, 8, 8, 8), "y = Relu (x)", "NCDHW", "volume"),
        ((1, 8, 8, 8, 3), "y = Transpose <perm = [0, 4, 1, 2, 3]> (x)", "NDHWC", "volume"),
        ((1, 257, 1, 2), "y = Relu (x)", "NHWC", "picture"),
        ((2, 1, 3, 4, 5, 6), "y = Relu (x)", "FLAT", "features"),
    ],
)
def test_any_float_input_has_a_layout(shape: tuple[int, ...], nodes: str, layout: str, kind: str) -> None:
    weights = {"axes": np.array([1]), "w": np.zeros((16000, 2), np.float32)}
    found = image_input(shape, nodes, weights={name: weights[name] for name in weights if name in nodes})
    assert (found.preprocess.layout, found.kind) == (layout, kind)
    assert "assumed" in found.preprocess.source
    images = torch.rand(found.copies, *found.image_shape)
    fed = found.feed(images)
    assert fed.shape == shape
    torch.testing.assert_close(found.preprocess.to_images(fed, found.channels), images)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "NCWH", "WNC", "NW", "W", "HW", "DNHCW", "C", "NC"])
@pytest.mark.parametrize("bgr", [False, True])
def test_any_order_of_axes_can_be_fed_and_read_back(layout: str, bgr: bool) -> None:
    sizes = {"N": 1, "C": 3 if "C" in layout else 1, "D": 4, "H": 5, "W": 6}
    names = canonical(layout)
    images = torch.rand([sizes[name] for name in names])
    wanted = Preprocess("", (-1, 3), (0.5,), (0.2,), bgr=bgr and "C" in layout, layout=layout)
    fed = wanted.to_input(images)
    assert fed.shape == tuple(sizes[name] for name in layout)
    torch.testing.assert_close(wanted.to_images(fed, sizes["C"]), images)
    kept = "".join(name.lower() for name in names if name in layout)
    plain = dataclasses.replace(wanted, bgr=False).to_input(images)
    arranged_ = torch.einsum(f"{kept}->{layout.lower()}", images.reshape([sizes[name.upper()] for name in kept]))
    torch.testing.assert_close(plain, (-1 + arranged_ * 4 - 0.5) / 0.2)


def test_a_layout_of_another_rank_is_refused() -> None:
    model = load(
        parsed('<ir_version: 8, opset_import: ["": 17]> g (float[1, 9] v) => (float[1, 9] y) { y = Relu (v) }')
    )
    with pytest.raises(InputError, match=r"Layout NCHW has 4 axes, but input 'v' is \(1, 9\)"):
        find_image_input(model, {"v": (1, 9)}, wrt="v", overrides={"layout": "NCHW"})


def test_the_picture_is_the_first_image_or_the_one_that_is_named() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 9] v, float[1, 3, 8, 8] a, float[1, 1, 8, 8] b, int64[1, 3, 8, 8] i) => (float[1, 9] y)
    { y = Relu (v) }"""
    model = load(parsed(text))
    shapes = {spec.name: tuple(int(dim or 0) for dim in spec.shape or ()) for spec in model.inputs}
    assert find_image_input(model, shapes).name == "a"
    assert find_image_input(model, shapes, wrt="b").name == "b"
    with pytest.raises(InputError, match="holds integers"):
        find_image_input(model, shapes, wrt="i")
    with pytest.raises(InputError, match="depends on no input 'c'; it depends on 'v', 'a', 'b', 'i'"):
        find_image_input(model, shapes, wrt="c")
    assert find_image_input(model, shapes, overrides={"layout": "NC"}).name == "v"
    with pytest.raises(InputError, match=r"no input of layout NCDHW: 'v' \(1, 9\)"):
        find_image_input(model, shapes, overrides={"layout": "NCDHW"})


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("Image.NominalPixelRange", "NominalRange_0_255", "range", (0, 255)),
        ("Image.NominalPixelRange", "Normalized_0_1", "range", (0, 1)),
        ("Image.NominalPixelRange", "Normalized_1_1", "range", (-1, 1)),
        ("Image.NominalPixelRange", "NominalRange_16_235", "range", (16, 235)),
        ("onnxvis.range", "[0, 255]", "range", (0, 255)),
        ("onnxvis.range", "-1, 1", "range", (-1, 1)),
        ("onnxvis.mean", "[0.1, 0.2, 0.3]", "mean", (0.1, 0.2, 0.3)),
        ("onnxvis.std", "0.5", "std", (0.5,)),
        ("onnxvis.preprocess", "TF", "range", (-1, 1)),
        ("onnxvis.preprocess", "caffe", "bgr", True),
    ],
)
def test_what_the_file_records_is_used(key: str, value: str, field: str, expected: object) -> None:
    found = preprocess(RGB, metadata={key: value})
    assert getattr(found, field) == expected
    assert found.source == "from the file's metadata"


def test_the_projects_keys_win_over_onnxs_and_complete_one_another() -> None:
    found = preprocess(
        RGB,
        metadata={
            "Image.NominalPixelRange": "NominalRange_0_255",
            "Image.BitmapPixelFormat": "Bgr8",
            "onnxvis.range": "0,1",
            "onnxvis.mean": "0.5",
            "onnxvis.preprocess": "imagenet",
        },
    )
    assert (found.range, found.bgr, found.mean) == ((0, 1), True, (0.5,))
    assert found.std == (0.225, 0.224, 0.229)


def test_a_recorded_layout_is_used_also_with_a_preset() -> None:
    found = image_input((1, 5, 5, 5), preset="tf", metadata={"onnxvis.layout": "nhwc", "onnxvis.range": "0,9"})
    assert (found.preprocess.layout, found.preprocess.range) == ("NHWC", (-1, 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("range", "0"),
        ("range", "low,high"),
        ("range", "[0, 1, 2]"),
        ("range", "[0,"),
        ("mean", "[[1]]"),
        ("mean", ""),
        ("std", "a"),
        ("bgr", "perhaps"),
        ("layout", "NCXH"),
        ("preprocess", "vgg"),
    ],
)
def test_a_malformed_record_is_named_with_the_remedy(key: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"onnxvis.{key} holds .*--{key}"):
        preprocess(RGB, metadata={f"onnxvis.{key}": value})


@pytest.mark.parametrize("value", ["", "Normalized", "NominalRange_0_1023"])
def test_an_unknown_pixel_range_of_onnx_is_no_record(value: str) -> None:
    found = preprocess(RGB, metadata={"Image.NominalPixelRange": value, "Image.BitmapPixelFormat": "Rgb8"})
    assert found.source.startswith("assumed")


def test_a_recorded_channel_order_leaves_the_rest_assumed() -> None:
    found = preprocess(RGB, metadata={"Image.BitmapPixelFormat": "Bgr8"})
    assert (found.bgr, found.mean, found.std) == (True, (0.406, 0.456, 0.485), (0.225, 0.224, 0.229))
    assert found.source.startswith("assumed")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"range": (0, 255)}, Preprocess("custom", (0, 255), source="range given")),
        (
            {"mean": (0.5,), "std": (0.5,)},
            Preprocess("custom", (0, 1), (0.5,), (0.5,), source="mean, std given"),
        ),
        (
            {"preset": "imagenet", "bgr": True},
            Preprocess("imagenet", (0, 1), (0.406, 0.456, 0.485), (0.225, 0.224, 0.229), bgr=True, source="bgr given"),
        ),
        (
            {"preset": "caffe", "bgr": False, "std": (2.0,)},
            Preprocess("caffe", (0, 255), (123.68, 116.779, 103.939), (2,), source="bgr, std given"),
        ),
        ({"preset": "tf"}, PRESETS["tf"]),
    ],
)
def test_what_is_given_wins(overrides: dict[str, Any], expected: Preprocess) -> None:
    assert preprocess(RGB, **overrides) == expected
    if "preset" in overrides:
        assert preprocess(RGB, metadata={"onnxvis.range": "0,7"}, **overrides) == expected


def test_what_is_given_wins_over_what_is_recorded_and_both_are_told() -> None:
    found = preprocess(RGB, metadata={"onnxvis.range": "0,255", "onnxvis.mean": "9"}, mean=(1.0,))
    assert (found.range, found.mean) == ((0, 255), (1.0,))
    assert found.source == "mean given, the rest from the file's metadata"


def test_an_assumption_is_told_also_when_something_is_given() -> None:
    assert "bgr given, the rest assumed: an RGB model" in preprocess(RGB, bgr=True).source
    assert "assumed" in preprocess(RGB, layout="NCHW").source
    assert "BGR" in str(preprocess(RGB, bgr=True))


@pytest.mark.parametrize(
    ("shape", "producer", "name", "reason"),
    [
        (RGB, "pytorch", "imagenet", "an RGB model of unknown training"),
        (RGB, "tf2onnx", "tf", "exported by tf2onnx"),
        (RGB, "keras2onnx", "tf", "exported by keras2onnx"),
        (RGB, "Caffe2ONNX", "caffe", "exported by Caffe2ONNX"),
        (RGB, "CNTK", "raw255", "exported by CNTK"),
        (RGB, "onnxmltools", "raw255", "exported by onnxmltools"),
        ((1, 1, 28, 28), "pytorch", "unit", "1 channel;"),
        ((1, 1, 28, 28), "caffe", "unit", "1 channel;"),
        ((1, 4, 28, 28), "", "unit", "4 channels;"),
    ],
)
def test_an_assumption_says_so_and_why(shape: tuple[int, ...], producer: str, name: str, reason: str) -> None:
    found = preprocess(shape, producer=producer)
    assert found.name == name
    assert found.source.startswith("assumed: ")
    assert reason in found.source + ";"
    assert found.source in str(found)


@pytest.mark.parametrize(
    ("nodes", "constant", "name"),
    [
        ("y = Div (x, k)", 255.0, "raw255"),
        ("y = Mul (x, k)", 1 / 255, "raw255"),
        ("y = Sub (x, k)", [103.9, 116.8, 123.7], "raw255"),
        ("y = Sub (x, k)", [0.485, 0.456, 0.406], "unit"),
        ("c = Cast <to = 1> (x)  t = Transpose <perm = [0, 2, 3, 1]> (c)  y = Div (t, k)", 0.225, "unit"),
        ("y = Mul (x, k)", 2.0, "unit"),
        ("y = ImageScaler <scale = 1.0, bias = [1.0, 1.0, 1.0]> (x)", 0.0, "raw255"),
        ("y = Relu (x)", 255.0, "imagenet"),
        ("y = Add (x, k)", np.ones((3, 32, 32)), "imagenet"),
        ("y = Mul (x, k)", np.ones(0), "imagenet"),
    ],
)
def test_a_normalization_in_the_graph_tells_the_range(nodes: str, constant: Any, name: str) -> None:
    values = np.asarray(constant, np.float32)
    k = values.reshape(3, 1, 1) if values.shape == (3,) else values
    assert preprocess(RGB, nodes, weights={"k": k}).name == name


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"preset": "vgg"}, "No preprocessing 'vgg'. There are imagenet, caffe"),
        ({"range": (1, 0)}, "must rise"),
        ({"range": (0, float("inf"))}, "must rise"),
        ({"range": (float("nan"), 1)}, "must rise"),
        ({"mean": (1, 2)}, "mean has 2 numbers, but input 'x' has 3 channels: give 1 or 3"),
        ({"std": (1, 2, 3, 4)}, "std has 4 numbers"),
        ({"std": (0.0,)}, "std positive"),
        ({"std": (-1.0,)}, "std positive"),
        ({"mean": (float("nan"),)}, "must be finite"),
    ],
)
def test_settings_that_cannot_be_are_refused(overrides: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        preprocess(RGB, **overrides)


@pytest.mark.parametrize("settings", [{"preset": "caffe"}, {"preset": "imagenet"}, {"bgr": True}])
def test_grey_models_take_no_colors(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="'x' has 1"):
        preprocess((1, 1, 32, 32), **settings)


def test_models_of_four_channels_may_be_bgra() -> None:
    found = preprocess((1, 4, 32, 32), metadata={"Image.BitmapPixelFormat": "Bgra8", "onnxvis.range": "0,255"})
    assert (found.bgr, found.range) == (True, (0, 255))
    with pytest.raises(SettingError, match=r"BGR needs 3 channels.*--rgb"):
        preprocess((1, 5, 32, 32), bgr=True)
