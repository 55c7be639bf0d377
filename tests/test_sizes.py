from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import pytest

from onnxvis.errors import InputError, UnknownSizeError
from onnxvis.model import Model, load
from onnxvis.sizes import image_shapes, input_shapes


def model(**inputs: str) -> Model:
    """A model of nothing but inputs; "?" is an open size without a name."""
    sizes = {name: f"[{dims.replace('?', 'open_')}]" if dims else "" for name, dims in inputs.items()}
    listed = ", ".join(f"float{size} {name}" for name, size in sizes.items())
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g ({listed}) => () {{ }}')
    for info in proto.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param == "open_":
                dim.ClearField("dim_param")
    return load(proto)


def test_what_the_file_says_holds() -> None:
    assert input_shapes(model(x="2, 3, 8, 8", y="5")) == {"x": (2, 3, 8, 8), "y": (5,)}


@pytest.mark.parametrize("batch", ["N", "?", "0"])
def test_an_open_batch_is_one(batch: str) -> None:
    assert input_shapes(model(x=f"{batch}, 3, 8, 8")) == {"x": (1, 3, 8, 8)}


def test_a_batch_is_one_wherever_its_name_is() -> None:
    assert input_shapes(model(x="batch, 8", state="2, batch, 4")) == {"x": (1, 8), "state": (2, 1, 4)}
    assert input_shapes(model(x="batch, 8", state="2, batch, 4"), {"x": (6, 8)}) == {"x": (6, 8), "state": (2, 6, 4)}


@pytest.mark.parametrize(
    ("dims", "described"),
    [
        ("N, 3, H, W", r"input 'x' \(1, 3, H, W\)"),
        ("N, 3, ?, 8", r"input 'x' \(1, 3, dimension 2, 8\)"),
        ("2, length", r"input 'x' \(2, length\)"),
        ("length", r"input 'x' \(length\)"),
        ("?", r"input 'x' \(dimension 0\)"),
    ],
)
def test_other_open_sizes_are_named(dims: str, described: str) -> None:
    with pytest.raises(UnknownSizeError, match=described) as caught:
        input_shapes(model(x=dims))
    assert caught.value.details["inputs"] == ["x"]


@pytest.mark.parametrize(("dims", "advised"), [("N, 3, H, W", True), ("1, length", False)])
def test_a_size_in_pixels_is_advised_only_for_images(dims: str, advised: bool) -> None:
    with pytest.raises(UnknownSizeError, match="input_shapes=") as caught:
        input_shapes(model(x=dims))
    assert ("--size 224" in caught.value.message) is advised


def test_all_inputs_with_open_sizes_are_named_and_no_others() -> None:
    several = model(a="1, H", b="1, 4", c="1, K")
    with pytest.raises(UnknownSizeError, match=r"'a' \(1, H\); input 'c' \(1, K\)"):
        input_shapes(several)
    with pytest.raises(UnknownSizeError) as caught:
        input_shapes(several, None, ["c", "b"])
    assert caught.value.details["inputs"] == ["c"]
    assert input_shapes(several, None, ["b"]) == {"b": (1, 4)}


def test_a_dimension_of_one_name_has_one_size() -> None:
    shared = model(x="N, 3, H, W", mask="N, 1, H, W")
    assert input_shapes(shared, {"x": (1, 3, 5, 6)}) == {"x": (1, 3, 5, 6), "mask": (1, 1, 5, 6)}


@pytest.mark.parametrize(
    ("inputs", "given", "reason"),
    [
        (
            {"x": "N, 3, H, W", "m": "N, 1, H, W"},
            {"x": (1, 3, 5, 6), "m": (1, 1, 5, 7)},
            "dimension 'W' is 6 elsewhere",
        ),
        ({"x": "N, S, S"}, {"x": (1, 5, 6)}, "dimension 'S' is 5 elsewhere"),
        ({"x": "N, 3, H, W"}, {"x": (1, 4, 5, 6)}, r"the file says input 'x' \(N, 3, H, W\)"),
        ({"x": "N, 3, H, W"}, {"x": (1, 3, 5)}, r"cannot have shape \(1, 3, 5\)"),
        ({"x": "N, 3, H, W"}, {"x": (1, 3, 0, 6)}, "cannot have shape"),
        ({"x": "N, 3, H, W"}, {"x": (1, 3, -1, 6)}, "cannot have shape"),
        ({"x": "N, 3"}, {"z": (1, 3)}, "no input 'z'. Its inputs: 'x'"),
        ({"x": "N, 3", "y": "N, 3"}, (1, 3), r"has 2 inputs \('x', 'y'\); give their shapes by name"),
        ({}, (1, 3), "has 0 inputs"),
    ],
)
def test_shapes_that_contradict_the_file_are_refused(
    inputs: dict[str, str], given: Mapping[str, Sequence[int]] | Sequence[int], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        input_shapes(model(**inputs), given)


def test_the_shape_of_a_single_input_needs_no_name() -> None:
    assert input_shapes(model(x="N, 3, H, W"), [2, 3, 4, 5]) == {"x": (2, 3, 4, 5)}


def test_a_fixed_batch_may_be_another() -> None:
    assert input_shapes(model(x="1, 3"), {"x": (16, 3)}) == {"x": (16, 3)}


def test_a_scalar_input_has_no_sizes() -> None:
    assert input_shapes(model(x="1, 3", rate="")) == {"x": (1, 3), "rate": ()}


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        ("N, 3, H, W", (1, 3, 20, 30)),
        ("?, ?, ?, 3", (1, 20, 30, 3)),
        ("2, H, W, 1", (2, 20, 30, 1)),
        ("N, H, W, 6", (1, 20, 30, 6)),
        ("N, 6, H, W", (1, 6, 20, 30)),
        ("N, 3, H, 30", (1, 3, 20, 30)),
        ("1, 3, 7, 7", (1, 3, 20, 30)),
    ],
)
def test_a_size_is_height_and_width_of_the_image(dims: str, shape: tuple[int, ...]) -> None:
    assert image_shapes(model(x=dims), (20, 30), ["x"]) == {"x": shape}


def test_a_size_is_for_the_images_whose_size_is_open() -> None:
    several = model(fixed="1, 3, 8, 8", a="N, 3, H, W", b="N, 1, H, W", rate="N")
    assert image_shapes(several, (4, 5), ["fixed", "a", "b", "rate"]) == {"a": (1, 3, 4, 5), "b": (1, 1, 4, 5)}
    assert image_shapes(several, (4, 5), ["fixed", "a", "b"], "b") == {"b": (1, 1, 4, 5)}
    assert image_shapes(several, (4, 5), ["fixed", "rate"]) == {"fixed": (1, 3, 4, 5)}


def test_a_size_needs_an_image() -> None:
    with pytest.raises(InputError, match="Size 4x5 fits no input"):
        image_shapes(model(x="N, 10"), (4, 5), ["x"])


@pytest.mark.parametrize("dims", ["N, C, H, W", "?, ?, ?, ?"])
def test_an_open_number_of_channels_is_asked_for(dims: str) -> None:
    with pytest.raises(UnknownSizeError, match=r"number of channels.*\(1, 3, 4, 5\)"):
        image_shapes(model(x=dims), (4, 5), ["x"])
