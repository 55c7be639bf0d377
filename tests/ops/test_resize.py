from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis import to_torch, verify
from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import resize
from onnxvis.ops.resampling import Axis, Method, weight_matrix
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=(2, 3, 7)).astype(np.float32)
IMAGE = RNG.normal(size=(1, 2, 7, 6)).astype(np.float32)
VOLUME = RNG.normal(size=(1, 2, 4, 5, 6)).astype(np.float32)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SCALES = [(1, 1, 2, 2), (1, 1, 3, 1), (1, 1, 0.6, 1.7), (1, 1, 0.3, 0.5), (1, 1, 2.5, 4)]
SIZES = [(1, 2, 14, 12), (1, 2, 5, 9), (1, 2, 3, 1), (1, 2, 1, 13)]
ROI = np.array([0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2], np.float32)


def floats(values: Any) -> Array:
    return np.array(values, np.float32)


def ints(values: Any) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", [11, 18, 26])
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_by_scales_agrees(mode: str, coordinates: str, scales: Any, opset: int) -> None:
    roi = floats([]) if opset == 11 else None
    inputs = [IMAGE, roi, floats(scales)]
    assert_agrees("Resize", inputs, opset, mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_to_sizes_agrees(mode: str, coordinates: str, sizes: Any) -> None:
    inputs = [IMAGE, None, None, ints(sizes)]
    assert_agrees("Resize", inputs, 19, mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coordinates", [*COORDINATES, "tf_crop_and_resize"])
@pytest.mark.parametrize("nearest_mode", NEAREST)
def test_resize_rounds_as_asked(nearest_mode: str, coordinates: str, scales: Any) -> None:
    attributes: dict[str, Any] = {"nearest_mode": nearest_mode, "coordinate_transformation_mode": coordinates}
    assert_agrees("Resize", [IMAGE, ROI, floats(scales)], 19, **attributes)


@pytest.mark.parametrize("nearest_mode", NEAREST)
@pytest.mark.parametrize("scales", SCALES)
def test_resize_of_opset_11_knows_tensorflows_nearest(scales: Any, nearest_mode: str) -> None:
    attributes: dict[str, Any] = {
        "nearest_mode": nearest_mode,
        "coordinate_transformation_mode": "tf_half_pixel_for_nn",
    }
    assert_agrees("Resize", [IMAGE, floats([]), floats(scales)], 11, **attributes)


@pytest.mark.parametrize("size", [10, 12, 33, 100])
def test_resize_of_many_sizes_takes_onnxruntimes_elements(size: int) -> None:
    ramp = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    for resized in range(1, 3 * size, 7):
        for coordinates in COORDINATES:
            inputs = [ramp, None, None, ints([1, 1, 1, resized])]
            assert_agrees("Resize", inputs, 13, coordinate_transformation_mode=coordinates, nearest_mode="floor")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("opset", [11, 19])
def test_resize_crops_and_extrapolates(opset: int, scales: Any, mode: str) -> None:
    attributes: dict[str, Any] = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
    assert_agrees("Resize", [IMAGE, ROI, floats(scales)], opset, mode=mode, **attributes)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("scales", SCALES)
def test_cubic_resize_takes_its_coefficient(scales: Any, exclude_outside: int, coordinates: str) -> None:
    attributes: dict[str, Any] = {"cubic_coeff_a": -0.5, "exclude_outside": exclude_outside}
    inputs = [IMAGE, None, floats(scales)]
    assert_agrees("Resize", inputs, 13, mode="cubic", coordinate_transformation_mode=coordinates, **attributes)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resize_with_antialiasing_agrees(mode: str, scales: Any, exclude_outside: int, coordinates: str) -> None:
    attributes: dict[str, Any] = {
        "antialias": 1,
        "exclude_outside": exclude_outside,
        "coordinate_transformation_mode": coordinates,
    }
    assert_agrees("Resize", [IMAGE, None, floats(scales)], 18, mode=mode, **attributes)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2]])
@pytest.mark.parametrize("sizes", [(10, 13), (5, 3), (3, 9), (6, 4)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_keeps_the_aspect_ratio(mode: str, sizes: Any, axes: list[int], policy: str) -> None:
    attributes: dict[str, Any] = {"axes": axes, "keep_aspect_ratio_policy": policy, "mode": mode}
    assert_agrees("Resize", [IMAGE, None, None, ints(sizes)], 18, **attributes)


def test_resize_keeps_the_aspect_ratio_along_axes_counted_from_the_end() -> None:
    # Neither onnxruntime nor the reference does, with negative axes.
    inputs = [IMAGE, None, None, ints([10, 13])]
    (found,) = computed("Resize", inputs, 18, axes=[-2, -1], keep_aspect_ratio_policy="not_larger")
    (wanted,) = computed("Resize", inputs, 18, axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("axes", [[2, 3], [3], [-1, -2]])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_takes_axes_with_scales(mode: str, axes: list[int]) -> None:
    assert_agrees("Resize", [IMAGE, None, floats([2.5, 1.5][: len(axes)])], 19, mode=mode, axes=axes)


@pytest.mark.parametrize("x", [SIGNAL, VOLUME], ids=["1-D", "3-D"])
@pytest.mark.parametrize("factor", [2, 1.6, 0.7])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_signals_and_volumes_agrees(mode: str, factor: float, x: Array) -> None:
    scales = floats([1, 1, *[factor] * (x.ndim - 2)])
    # Along one axis onnxruntime does not interpolate linearly.
    assert_agrees("Resize", [x, None, scales], 19, mode=mode, reference=x.ndim == 3 and mode == "linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_channels_last_agrees(mode: str) -> None:
    scales = floats([1, 2, 1.5, 1])
    assert_agrees("Resize", [RNG.normal(size=(1, 5, 4, 3)).astype(np.float32), None, scales], 13, mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
def test_resize_of_the_newest_opset_agrees_with_the_reference(coordinates: str, mode: str) -> None:
    inputs = [IMAGE, None, None, ints([1, 2, 9, 12])]
    assert_agrees("Resize", inputs, 28, mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_opset_10_agrees(mode: str, scales: Any) -> None:
    assert_agrees("Resize", [IMAGE, floats(scales)], 10, mode=mode)


@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 3, 1), (1, 1, 1.3, 2.7)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_agrees(mode: str, scales: Any) -> None:
    assert_agrees("Upsample", [IMAGE], 7, mode=mode, scales=[float(scale) for scale in scales])
    assert_agrees("Upsample", [IMAGE, floats(scales)], 9, mode=mode)


@pytest.mark.parametrize(("first", "mode"), [("nearest", "nearest"), ("bilinear", "linear")])
def test_the_first_upsample_has_a_scale_for_height_and_width(first: str, mode: str) -> None:
    (found,) = computed("Upsample", [IMAGE], 1, mode=first, height_scale=2.0, width_scale=1.5)
    (wanted,) = computed("Upsample", [IMAGE, floats([1, 1, 2, 1.5])], 9, mode=mode)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("sizes", [(150, 300), (37, 75), (100, 200)])
def test_large_images_agree_too(sizes: Any, coordinates: str) -> None:
    large = RNG.normal(size=(1, 2, 75, 150)).astype(np.float32)
    inputs = [large, None, None, ints([1, 2, *sizes])]
    assert_agrees("Resize", inputs, 13, mode="linear", coordinate_transformation_mode=coordinates, tolerance=2e-5)


@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners"])
def test_large_images_by_any_factor_agree_too(coordinates: str) -> None:
    large = RNG.normal(size=(1, 2, 15, 150)).astype(np.float32)
    inputs = [large, None, floats([1, 1, 2, 1.373])]
    assert_agrees("Resize", inputs, 13, mode="linear", coordinate_transformation_mode=coordinates, tolerance=2e-5)


@pytest.mark.parametrize("factor", [0.7, 0.1, 1.1])
def test_resize_computes_sizes_in_float32(factor: float) -> None:
    assert_agrees(
        "Resize", [RNG.normal(size=(1, 1, 10, 30)).astype(np.float32), None, floats([1, 1, factor, factor])], 13
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_bytes_keeps_the_type(mode: str) -> None:
    image = RNG.integers(0, 256, (1, 2, 5, 4)).astype(np.uint8)
    inputs = [image, None, floats([1, 1, 2, 2])]
    # With these factors every weighted sum of bytes is exact, whichever way it is rounded off.
    assert_agrees("Resize", inputs, 13, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_an_axis_may_shrink_to_nothing(mode: str) -> None:
    scales = np.array([1, 1, 0.1, 2], np.float32)
    assert_agrees("Resize", [IMAGE, None, scales], 19, mode=mode, coordinate_transformation_mode="half_pixel")


def test_an_unknown_coordinate_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="'polar'"):
        computed("Resize", [IMAGE, None, floats([1, 1, 2, 2])], 13, coordinate_transformation_mode="polar")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("factor", [2.0, 0.6])
def test_resize_has_the_gradient_of_finite_differences(factor: float, mode: str) -> None:
    X = torch.from_numpy(RNG.normal(size=(1, 1, 4, 5))).requires_grad_()
    assert gradcheck(lambda x: resize.resize(x, None, (1.0, 1.0, factor, factor), mode=mode), X)


def test_what_was_prepared_in_inference_mode_serves_a_backward_pass() -> None:
    scales = (1.0, 1.0, 1.9, 1.9)
    with torch.inference_mode():
        resize.resize(torch.from_numpy(IMAGE), None, scales, mode="linear")
    X = torch.from_numpy(IMAGE).requires_grad_()
    (slope,) = torch.autograd.grad(resize.resize(X, None, scales, mode="linear").sum(), X)
    torch.testing.assert_close(slope.sum(), torch.tensor(2.0 * 13 * 11))


def test_what_was_prepared_for_fake_tensors_is_not_kept() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415 - no public name

    for mode in ("nearest", "linear"):
        scales = (1.0, 1.0, 1.7, 1.7)
        with FakeTensorMode() as fake:
            assert resize.resize(fake.from_tensor(torch.from_numpy(IMAGE)), None, scales, mode=mode).shape[2:] == (
                11,
                10,
            )
        assert type(resize.resize(torch.from_numpy(IMAGE), None, scales, mode=mode)) is torch.Tensor


def test_weights_of_a_constant_image_add_up_to_one() -> None:
    like = torch.zeros((), dtype=torch.float64)
    for mode in ("linear", "cubic"):
        for antialias in (False, True):
            method = Method(mode, "half_pixel", antialias=antialias)
            matrix = weight_matrix(Axis(13, 8, 8 / 13), method, like)
            torch.testing.assert_close(matrix.sum(1), torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [2.0, 1.7])
def test_resize_compiles_without_a_break(factor: float, mode: str) -> None:
    graph = torch.fx.Graph()
    arguments = (graph.placeholder("x"), None, (1.0, 1.0, factor, factor))
    graph.output(graph.call_function(resize.resize, arguments, {"mode": mode}))
    network = torch.fx.GraphModule(torch.nn.Module(), graph)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    X = torch.from_numpy(IMAGE)
    torch.testing.assert_close(compiled(X), network(X), rtol=0, atol=0)


def test_resized_quantized_integers_stay_integers_and_pass_the_gradient() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 4, 8, 8] x) => (float[1, 4, N, M] y)
    <float step = {0.0123}, uint8 zero = {0}, float[4] scales = {1.0, 1.0, 1.7, 1.7}>
    {
        fine = QuantizeLinear (x, step, zero)
        large = Resize <mode = "linear"> (fine, , scales)
        y = DequantizeLinear (large, step, zero)
    }
    """
    model = onnx.parser.parse_model(text)
    assert verify(model).ok
    image = torch.rand(1, 4, 8, 8, requires_grad=True)
    to_torch(model)(image).sum().backward()
    assert image.grad is not None
    assert bool((image.grad > 0).all())
