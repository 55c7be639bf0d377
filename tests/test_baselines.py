from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxvis.baselines import _noise, answers_to_folder, answers_to_noise
from onnxvis.errors import InputError
from onnxvis.render import read_photo
from onnxvis.spectrum import spectrum
from tests.meters import metered
from tests.models import conv_net, parsed

SEEN = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 64, 64] x) => (float[1, 3, 64, 64] y)
{ y = Conv (x, w) }"""
SIGNAL = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 64] x) => (float[1, 2, 64] y) { y = Conv (x, w) }'
FEATURES = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x) => (float[1, 2] y) { y = MatMul (x, w) }'
TWO = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] a, float[1, 3, 16, 16] b)
=> (float[1, 3, 16, 16] y) { d = Sub (a, b)  y = Conv (d, w) }"""
EYE = np.eye(3, dtype=np.float32)[:, :, None, None]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("b/second.PNG", (40, 30)), ("a.jpg", (16, 16)), ("c.png", (10, 50))):
        levels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_noise_has_a_seed_for_each_image_and_full_contrast() -> None:
    meter, target = metered(parsed(SEEN, w=EYE), "y", 0)
    found = answers_to_noise(meter, target, count=8)
    assert found.values.shape == (8, 3)
    assert len(np.unique(found.values)) == 24
    np.testing.assert_array_equal(answers_to_noise(meter, target, count=3, seed=2).values, found.values[2:5])


def test_a_folder_is_read_like_seed_images_and_its_folders_too(photos: Path) -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    found = answers_to_folder(meter, target, photos)
    assert found.names == ("a.jpg", "b/second.PNG", "c.png")
    assert len(found) == 3
    alone = [{"image": read_photo(photos / name, 3, (16, 16))} for name in found.names]
    np.testing.assert_array_equal(found.values, meter.answers_to(alone, target))


def test_every_photo_goes_through_the_model_once_for_all_units(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    run, runs = meter.oracle.run, 0

    def counted(feeds: Any) -> Any:
        nonlocal runs
        runs += 1
        return run(feeds)

    monkeypatch.setattr(meter.oracle, "run", counted)
    assert answers_to_folder(meter, target, photos).values.shape == (3, 6)
    assert runs == 3


def test_signals_and_features_come_from_arrays(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((2, 64), np.float32)
    np.save(tmp_path / "one.npy", array)
    meter, target = metered(parsed(SIGNAL, w=np.eye(2, dtype=np.float32)[:, :, None]), "y", 1)
    np.testing.assert_allclose(answers_to_folder(meter, target, tmp_path).values, [array.mean(1)], rtol=1e-5)
    assert answers_to_noise(meter, target).values.shape == (16, 2)
    features, unit = metered(parsed(FEATURES, w=np.ones((4, 2), np.float32)), "y", 1)
    assert answers_to_noise(features, unit).values.std() > 0


def test_of_two_inputs_the_natural_image_is_the_first(photos: Path) -> None:
    meter, target = metered(parsed(TWO, w=EYE), "y", 1, wrt=("b", "a"))
    found = answers_to_folder(meter, target, photos)
    expected = [0.5 - read_photo(photos / name, 3, (16, 16)).mean((1, 2)).numpy() for name in found.names]
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_a_missing_folder_an_empty_one_and_a_broken_photo_are_one_line_each(tmp_path: Path) -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    with pytest.raises(InputError, match=r"No folder .*nowhere") as missing:
        answers_to_folder(meter, target, tmp_path / "nowhere")
    with pytest.raises(InputError, match="No picture in the folder") as empty:
        answers_to_folder(meter, target, tmp_path)
    (tmp_path / "x.jpg").write_bytes(b"no picture at all")
    with pytest.raises(InputError, match=r"Cannot use 'x\.jpg' in the folder .*Repair it, or take it out") as broken:
        answers_to_folder(meter, target, tmp_path)
    signal, unit = metered(parsed(SIGNAL, w=np.eye(2, dtype=np.float32)[:, :, None]), "y", 1)
    with pytest.raises(InputError, match=r"No \.npy file .*natural signal, of the shape \(1, 2, 64\)") as none:
        answers_to_folder(signal, unit, tmp_path)
    assert not any("\n" in str(error.value) for error in (missing, empty, broken, none))


def test_noise_for_pictures_falls_off_like_natural_images() -> None:
    meter, _ = metered(parsed(SEEN, w=EYE), "y", 0)
    for seed in range(4):
        image = _noise(meter.inputs["x"], seed)
        found = spectrum(image.numpy())
        assert found is not None
        assert found.slope == pytest.approx(-2, abs=0.6)
        assert 0.1 < float(image.std()) < 0.3
