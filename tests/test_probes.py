from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxvis import load
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, UnknownSizeError
from onnxvis.model import Model
from onnxvis.probes import MOST_PHOTOS, TRIED_SIZES, Probe, make_probes, placements, shapes_text
from onnxvis.spectrum import spectrum
from tests.models import conv_net, parsed

SHAPES = {"image": (1, 3, 16, 16)}


def net(inputs: str, body: str = "y = Identity(x)", output: str = "float[N] y") -> Model:
    return load(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => ({output}) {{ {body} }}')
    )


def named(probes: tuple[Probe, ...], name: str) -> Probe:
    return next(probe for probe in probes if probe.name == name)


def unit_probes(**settings: object) -> tuple[Probe, ...]:
    return make_probes(load(conv_net()), CheckSettings(preprocess="unit", **settings), SHAPES)  # type: ignore[arg-type]


def test_probes_are_noise_first_and_edges_then() -> None:
    kinds = [probe.kind for probe in unit_probes()]
    assert kinds == sorted(kinds, reverse=True)
    assert kinds.count("noise") >= 4
    assert kinds.count("edge") >= 4


def test_probes_are_in_the_range_that_is_given_and_reach_both_of_its_ends() -> None:
    model = load(conv_net())
    probes = make_probes(model, CheckSettings(range=(-2.0, 5.0)), SHAPES)
    arrays = [probe.feeds["image"] for probe in probes]
    assert all(array.shape == (1, 3, 16, 16) and array.min() >= -2 and array.max() <= 5 for array in arrays)
    assert (named(probes, "lowest").feeds["image"] == -2).all()
    assert (named(probes, "highest").feeds["image"] == 5).all()
    assert (named(probes, "middle").feeds["image"] == 1.5).all()


def test_mean_and_deviation_are_those_that_are_given() -> None:
    settings = CheckSettings(range=(0.0, 1.0), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    lowest = named(make_probes(load(conv_net()), settings, SHAPES), "lowest").feeds["image"]
    assert np.allclose(lowest[0, :, 0, 0], [-0.2, -0.8, -2.4])


def test_the_same_seed_gives_the_same_probes_and_another_seed_others() -> None:
    first, again, other = unit_probes(), unit_probes(), unit_probes(seed=5)
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one.feeds["image"], two.feeds["image"])
        assert np.array_equal(one.feeds["image"], three.feeds["image"]) == (one.kind == "edge")


def test_no_two_probes_are_the_same() -> None:
    probes = unit_probes()
    contents = {probe.feeds["image"].tobytes() for probe in probes}
    assert len(contents) == len({probe.name for probe in probes}) == len(probes)


def test_natural_noise_has_the_spectrum_of_natural_images() -> None:
    model = net("float[1, 3, 128, 128] x", output="float[1, 3, 128, 128] y")
    probes = make_probes(model, CheckSettings(preprocess="unit"), {"x": (1, 3, 128, 128)})
    found = {probe.name: spectrum(probe.feeds["x"][0]) for probe in probes if probe.kind == "noise"}
    slopes = {name: item.slope for name, item in found.items() if item is not None and item.slope is not None}
    assert all(slope < -1.4 for name, slope in slopes.items() if name.startswith("natural"))
    assert all(abs(slope) < 0.3 for name, slope in slopes.items() if not name.startswith("natural"))
    assert len(slopes) == 5


def test_a_checkerboard_alternates_at_every_pixel() -> None:
    board = named(unit_probes(), "checkerboard").feeds["image"][0]
    assert (board[:, :-1] != board[:, 1:]).all()
    assert (board[..., :-1] != board[..., 1:]).all()
    assert (board == board[:1]).all()


def test_integers_are_zero_unless_a_number_is_given_and_masks_are_one() -> None:
    model = net("float[1, 4] x, int64[1] k, int64[2] attention_mask", "y = Identity(x)", "float[1, 4] y")
    shapes = {"x": (1, 4), "k": (1,), "attention_mask": (2,)}
    for probe in make_probes(model, CheckSettings(), shapes):
        assert probe.feeds["k"].tolist() == [0]
        assert probe.feeds["attention_mask"].tolist() == [1, 1]
    assert make_probes(model, CheckSettings(inputs={"k": 7}), shapes)[0].feeds["k"].tolist() == [7]


def test_an_input_that_is_held_is_the_same_on_all_probes() -> None:
    model = net("float[1, 4] x, float[1, 4] z", "y = Add(x, z)", "float[1, 4] y")
    probes = make_probes(model, CheckSettings(inputs={"z": 0.5}), {"x": (1, 4), "z": (1, 4)})
    assert all((probe.feeds["z"] == 0.5).all() for probe in probes)
    assert len({probe.feeds["x"].tobytes() for probe in probes}) > 5


def test_all_float_inputs_are_varied_also_a_single_number() -> None:
    model = net("float[1, 3, 8, 8] x, float gain, float[1, 5] state", "y = Mul(x, gain)", "float[1, 3, 8, 8] y")
    probes = make_probes(model, CheckSettings(), {"x": (1, 3, 8, 8), "gain": (), "state": (1, 5)})
    assert all(probe.feeds["gain"].shape == () for probe in probes)
    assert len({float(probe.feeds["gain"]) for probe in probes}) > 3
    assert len({probe.feeds["state"].tobytes() for probe in probes}) == len(probes)


def test_a_picture_of_bytes_gets_bytes() -> None:
    model = net("uint8[1, 8, 8, 3] x", "y = Cast <to = 1> (x)", "float[1, 8, 8, 3] y")
    probes = make_probes(model, CheckSettings(), {"x": (1, 8, 8, 3)})
    assert {probe.feeds["x"].dtype for probe in probes} == {np.dtype(np.uint8)}
    assert named(probes, "highest").feeds["x"].min() == 255
    assert np.ptp(probes[0].feeds["x"]) > 200


def test_a_model_of_tokens_has_a_single_probe() -> None:
    model = net("int64[1, 4] x", "y = Cast <to = 1> (x)", "float[1, 4] y")
    assert len(make_probes(model, CheckSettings(), {"x": (1, 4)})) == 1


def test_half_precision_gets_numbers_that_it_can_hold() -> None:
    model = net("float16[1, 3, 8, 8] x", output="float16[1, 3, 8, 8] y")
    for probe in make_probes(model, CheckSettings(), {"x": (1, 3, 8, 8)}):
        assert np.array_equal(probe.feeds["x"], probe.feeds["x"].astype(np.float16))


def test_photos_are_fed_in_the_order_of_their_names_up_to_a_limit(tmp_path: Path) -> None:
    for number in range(MOST_PHOTOS + 3):
        Image.new("RGB", (20, 10), (number, 0, 255)).save(tmp_path / f"{number:02}.png")
    photos = [probe for probe in unit_probes(images=str(tmp_path)) if probe.kind == "photo"]
    assert [probe.name for probe in photos] == [f"{number:02}.png" for number in range(MOST_PHOTOS)]
    assert np.allclose(photos[3].feeds["image"][0, :, 0, 0], [3 / 255, 0, 1])


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No picture in the folder"):
        unit_probes(images=str(tmp_path))


def test_a_fixed_size_is_the_only_one_and_nothing_is_assumed() -> None:
    assert list(placements(load(conv_net()), CheckSettings())) == [(SHAPES, None)]


def test_open_sizes_of_a_picture_are_tried_and_the_choice_is_noted() -> None:
    model = net("float[1, 3, h, w] image", "y = Relu(image)", "float[1, 3, h, w] y")
    found = list(placements(model, CheckSettings()))
    assert [shapes["image"] for shapes, _ in found] == [(1, 3, size, size) for size in TRIED_SIZES]
    assert found[0][1] == "Sizes of 'image' are open; checked at 1x3x224x224: --size changes it."


def test_a_given_size_wins_over_those_that_are_tried() -> None:
    model = net("float[1, 3, h, w] image", "y = Relu(image)", "float[1, 3, h, w] y")
    assert list(placements(model, CheckSettings(size=(8, 9)))) == [({"image": (1, 3, 8, 9)}, None)]
    shapes = {"image": (2, 3, 4, 5)}
    assert list(placements(model, CheckSettings(input_shapes=shapes))) == [(shapes, None)]


def test_sizes_that_no_picture_has_must_be_given() -> None:
    model = net("int64[a, b, c] x", "y = Cast <to = 1> (x)", "float[a, b, c] y")
    with pytest.raises(UnknownSizeError, match="leaves sizes open"):
        list(placements(model, CheckSettings()))


def test_shapes_are_written_as_a_person_does() -> None:
    assert shapes_text({"x": (1, 3, 8, 8)}) == "1x3x8x8"
    assert shapes_text({"x": (1, 3), "rate": ()}) == "x 1x3, rate one number"


def test_a_model_whose_weights_are_inputs_feeds_none_of_them() -> None:
    proto = parsed(
        '<ir_version: 3, opset_import: ["": 8]>'
        "g (float[1, 3] x, float[3, 2] w) => (float[1, 2] y) { y = MatMul(x, w) }",
        w=np.ones((3, 2), np.float32),
    )
    assert set(make_probes(load(proto), CheckSettings(), {"x": (1, 3)})[0].feeds) == {"x"}


def test_tokens_are_drawn_from_the_rows_of_their_table() -> None:
    text = "g (int64[1, 400] x) => (float[1, 400, 2] y) { y = Gather(t, x) }"
    model = load(parsed(f'<ir_version: 8, opset_import: ["": 17]> {text}', t=np.zeros((50, 2), np.float32)))
    probes = make_probes(model, CheckSettings(), {"x": (1, 400)})
    assert {probe.feeds["x"].dtype for probe in probes} == {np.dtype(np.int64)}
    assert set(probes[0].feeds["x"].reshape(-1).tolist()) == set(range(50))
    assert (named(probes, "lowest").feeds["x"] == 0).all()
    assert (named(probes, "highest").feeds["x"] == 49).all()
    held = make_probes(model, CheckSettings(inputs={"x": 3}), {"x": (1, 400)})
    assert [probe.feeds["x"].max() for probe in held] == [3]
