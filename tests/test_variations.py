import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxvis import Result, Variation, visualize, visualize_variations
from onnxvis.errors import SettingError
from onnxvis.replay import replay
from tests.models import conv_net

QUICK: dict[str, Any] = {"steps": 12}


def made(variation: Variation, *wanted: Any, **settings: Any) -> list[Result]:
    """Make all pictures of a group."""
    found = visualize_variations(conv_net(), variation, *wanted, **{**QUICK, **settings})
    results = [result for result in found if result is not None]
    assert len(results) == variation.count
    return results


def test_seeds_are_the_pictures_that_each_seed_makes_alone() -> None:
    results = made(Variation("seeds", 3), "relu2", 1, seed=5)
    assert [result.recipe.seed for result in results] == [5, 6, 7]
    alone = visualize(conv_net(), "relu2", 1, seed=6, **QUICK)
    np.testing.assert_allclose(results[1].parts[0].values, alone.parts[0].values, atol=2 / 255)


def test_seeds_say_how_much_they_agree() -> None:
    first, *_ = made(Variation("seeds", 3), "relu2", 1)
    assert first.agreement is not None
    assert first.agreement.count == 3
    assert -1 <= first.agreement.least <= first.agreement.mean <= 1
    assert first.to_dict()["agreement"]["count"] == 3


def test_diverse_pictures_differ_more_than_those_of_other_seeds() -> None:
    def likeness(results: list[Result]) -> float:
        features = [np.maximum(result.array, -9).reshape(3, -1) for result in results]
        grams = [(item @ item.T).ravel() for item in features]
        grams = [gram / np.linalg.norm(gram) for gram in grams]
        return float(np.mean([grams[i] @ grams[j] for i in range(3) for j in range(i)]))

    plain = made(Variation("seeds", 3), "relu2", 1, steps=60)
    diverse = made(Variation("diversity", 3), "relu2", 1, steps=60, diversity_weight=10.0)
    assert likeness(diverse) < likeness(plain)


def test_an_interpolation_goes_from_one_filter_to_the_other() -> None:
    results = made(Variation("interpolation", 5), "relu2", (1, 3), steps=40)
    first, second = zip(*[result.measurement.by_filter for result in results], strict=True)
    assert first[0] > first[-1]
    assert second[-1] > second[0]
    assert results[0].scores["interpolation"][1] == pytest.approx(first[0], rel=1e-3)
    assert results[-1].scores["interpolation"][1] == pytest.approx(second[-1], rel=1e-3)


def test_a_tuning_curve_reaches_each_of_its_values() -> None:
    low, high = (visualize(conv_net(), "logits", 1, goal=goal, steps=60) for goal in ("minimize", "maximize"))
    values = tuple(low.activation + part * (high.activation - low.activation) for part in (0.3, 0.7))
    results = made(Variation("tuning", 2, values), "logits", 1, steps=120)
    assert [result.activation for result in results] == pytest.approx(values, abs=0.01)


@pytest.mark.parametrize("variation", [Variation("diversity", 2), Variation("seeds", 2)])
def test_a_picture_of_a_group_can_be_made_again(variation: Variation, tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    found = visualize_variations(tmp_path / "net.onnx", variation, "relu2", 1, **QUICK)
    assert found[1] is not None
    found[1].save(tmp_path / "one.png")
    assert replay(tmp_path / "one.png", tmp_path / "net.onnx").same


def test_a_tuning_curve_of_one_neuron_measures_that_neuron() -> None:
    results = made(Variation("tuning", 2, (0.1, 0.15)), "relu2", 1, neuron="center", steps=160)
    assert [result.activation for result in results] == pytest.approx((0.1, 0.15), abs=0.02)


def test_groups_keep_what_regularizes_and_refuse_another_objective() -> None:
    results = made(Variation("interpolation", 2), "relu2", (1, 3), tv_weight=0.1)
    assert list(results[0].history[0]) == ["interpolation", "alignment", "total variation"]
    for settings in ({"goal": "minimize"}, {"objective": "deepdream"}):
        with pytest.raises(SettingError, match="an objective of their own"):
            made(Variation("interpolation", 2), "relu2", (1, 3), **settings)
    with pytest.raises(SettingError, match="No variation 'more'"):
        Variation("more", 2)  # type: ignore[arg-type] # what a user may write
    with pytest.raises(SettingError, match="one value for each picture"):
        Variation("tuning", 3, (1.0, 2.0))


def test_groups_of_one_and_interpolations_of_one_filter_are_refused() -> None:
    with pytest.raises(SettingError, match="2 to 256 pictures, not 1"):
        Variation("seeds", 1)
    with pytest.raises(SettingError, match="name two, not 1"):
        made(Variation("interpolation", 3), "relu2", 1)


def test_a_photo_is_needed_to_compare_with() -> None:
    with pytest.raises(SettingError, match="give one with --from"):
        visualize(conv_net(), "relu2", objective="caricature", **QUICK)
    with pytest.raises(SettingError, match="give one with --from"):
        visualize(conv_net(), "relu2", 1, near="conv1", **QUICK)


def test_a_caricature_strengthens_what_a_layer_sees_in_the_photo(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).random((16, 16, 3), np.float32)
    result = visualize(conv_net(), "relu2", objective="caricature", seed_image=photo, transforms=(), **QUICK)
    before, after = result.scores["caricature"]
    assert before == pytest.approx(1.0, abs=1e-2)  # the photo is rounded
    assert after > before
    path = tmp_path / "photo.png"
    Image.fromarray((photo * 255).astype(np.uint8)).save(path)
    written = visualize(conv_net(), "relu2", objective="caricature", seed_image=path, **QUICK)
    assert json.dumps(written.to_dict()["measured"]["scores"])


def test_what_is_held_near_a_photo_stays_nearer_to_it() -> None:
    photo = np.random.default_rng(0).random((16, 16, 3), np.float32)

    def distance(**settings: Any) -> float:
        result = visualize(conv_net(), "relu2", 1, seed_image=photo, steps=60, **settings)
        return float(np.abs(result.parts[0].values - photo.transpose(2, 0, 1)).mean())

    assert distance(near="conv1", near_weight=100.0) < distance()


def test_a_direction_is_measured_along_its_vector(tmp_path: Path) -> None:
    vector = np.array([1, 0, -1, 0, 0, 2], np.float32)
    np.save(tmp_path / "v.npy", vector)
    result = visualize(conv_net(), "relu2", direction=str(tmp_path / "v.npy"), **QUICK)
    means = visualize(conv_net(), "relu2", 0, steps=0).array
    assert means.shape == result.array.shape
    before, after = result.scores["direction"]
    assert after > before
    assert str(tmp_path / "v.npy") in result.sources
