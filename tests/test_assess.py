from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onnxvis.assess import Assessment, Assessor, _percent
from onnxvis.baselines import Answers
from onnxvis.errors import SettingError
from onnxvis.judges import Guess, Judge, Verdict
from onnxvis.robustness import Disturbances, disturbed
from onnxvis.spectrum import Spectrum
from onnxvis.standing import Place, Standing
from tests.meters import metered
from tests.models import conv_net, parsed

FEATURES = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x) => (float[1, 3] y) { y = MatMul (x, w) }'
SIGNAL = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 64] x) => (float[1, 3, 60] y) { y = Conv (x, w) }'
VOLUME = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 1, 9, 9, 9] x) => (float[1, 3, 7, 7, 7] y)
{ y = Conv (x, w) }"""
TWO = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] a, float[1, 3, 16, 16] b)
=> (float[1, 4, 14, 14] y) { s = Add (a, b)  y = Conv (s, w) }"""


def weight(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) * 255).round() / 255


def assessed(proto: Any, node: str, filters: Any, image: torch.Tensor, name: str, **given: Any) -> Assessment:
    neuron = given.pop("neuron", None)
    meter, target = metered(proto, node, filters, neuron=neuron)
    return Assessor.of(meter, target).assess(target, {name: image}, **given)


def test_a_picture_has_every_number_but_those_of_photos_and_judges() -> None:
    found = assessed(conv_net(), "conv2", 1, picture(3, 16, 16), "image", seed_activation=-9.0, float_activation=0.0)
    empty = [field.name for field in dataclasses.fields(found) if getattr(found, field.name) is None]
    assert empty == ["place", "verdict"]
    assert list(found.survival) == ["shift", "turn", "blur", "jpeg"]
    assert None not in found.survival.values()


def test_survival_is_the_mean_over_the_copies_as_a_share_of_the_gain() -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    image, seed = picture(3, 16, 16), -3.0
    found = Assessor.of(meter, target).assess(target, {"image": image}, seed_activation=seed)
    own = meter.answers_to([{"image": image}], target)[0, 1]
    for name, copies in disturbed(image, meter.inputs["image"], Disturbances()).items():
        answers = [meter.measure(meter.observe(meter.feeds({"image": copy})), target).activation for copy in copies]
        assert found.survival[name] == pytest.approx((np.mean(answers) - seed) / (own - seed))


def test_eight_bits_keep_what_is_left_of_the_gain() -> None:
    image = picture(3, 16, 16)
    own = assessed(conv_net(), "conv2", 1, image, "image", seed_activation=0.0).activation
    found = assessed(
        conv_net(), "conv2", 1, image, "image", seed_activation=own - 9, float_activation=own + 1, goal="maximize"
    )
    assert found.kept_by_8_bits == pytest.approx(0.9)


def test_a_minimized_unit_loses_nothing_where_nothing_is_lost() -> None:
    image = picture(3, 16, 16)
    own = assessed(conv_net(), "conv2", 1, image, "image", seed_activation=0.0).activation
    given = {"seed_activation": own + 5, "float_activation": own}
    lowest = assessed(conv_net(), "conv2", 1, image, "image", **given, goal="minimize")
    raised = assessed(conv_net(), "conv2", 1, image, "image", **given, goal="maximize")
    either = assessed(conv_net(), "conv2", 1, image, "image", **given, goal=None)
    assert lowest.kept_by_8_bits == pytest.approx(1)
    assert raised.kept_by_8_bits is None
    assert either.kept_by_8_bits == lowest.kept_by_8_bits
    assert set(raised.survival.values()) == {None}
    assert either.survival == lowest.survival


def test_the_order_of_units_turns_around_where_little_is_wanted() -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    image = {"image": picture(3, 16, 16)}
    assessor = Assessor.of(meter, target)
    high = assessor.assess(target, image, seed_activation=0.0).standing
    low = assessor.assess(target, image, seed_activation=0.0, goal="minimize").standing
    answers = meter.answers_to([image], target)[0]
    assert high is not None
    assert low is not None
    assert high.rank == 1 + int((answers > answers[1]).sum())
    assert low.rank == 1 + int((answers < answers[1]).sum())


def test_the_standardized_standing_is_that_among_answers_in_units_of_the_baseline() -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    image, assessor = {"image": picture(3, 16, 16)}, Assessor.of(meter, target)
    baseline = assessor.baseline
    scaled = (meter.answers_to([image], target)[0] - baseline.mean(0)) / baseline.std(0, ddof=1)
    found = assessor.assess(target, image, seed_activation=0.0)
    assert found.standardized is not None
    assert found.standardized.margin == pytest.approx(scaled[1] - np.delete(scaled, 1).max())
    assert found.strength == pytest.approx(scaled[1])


@pytest.mark.parametrize("goal", ["maximize", "minimize", 0.5, None])
@pytest.mark.parametrize(
    ("node", "filters", "neuron"),
    [
        ("conv2", (0, 2), None),
        ("conv2", 1, "center"),
        ("conv2", None, None),
        ("relu1", None, (3, 4)),
        ("probabilities", 2, None),
        ("features", 5, None),
    ],
)
def test_all_targets_and_goals_are_assessed(node: str, filters: Any, neuron: Any, goal: Any) -> None:
    meter, target = metered(conv_net(), node, filters, neuron=neuron)
    image = {"image": picture(3, 16, 16)}
    found = Assessor.of(meter, target).assess(target, image, seed_activation=0.0, float_activation=0.1, goal=goal)
    measured = meter.measure(meter.observe(meter.feeds(image)), target).activation
    assert found.activation == pytest.approx(measured, rel=1e-6, abs=1e-9)
    assert (found.standing is None) == (filters is None)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["activation"] == found.activation


@pytest.mark.parametrize(
    ("proto", "image", "survival"),
    [
        (parsed(FEATURES, w=weight(4, 3)), picture(4), []),
        (parsed(SIGNAL, w=weight(3, 2, 5)), picture(2, 64), ["shift", "blur"]),
        (parsed(VOLUME, w=weight(3, 1, 3, 3, 3)), picture(1, 9, 9, 9), ["shift", "turn", "blur"]),
    ],
)
def test_other_inputs_have_the_numbers_that_mean_something(
    proto: Any, image: torch.Tensor, survival: list[str]
) -> None:
    found = assessed(proto, "y", 1, image, "x", seed_activation=-50.0)
    assert list(found.survival) == survival
    assert (found.float_activation, found.kept_by_8_bits, found.verdict) == (None, None, None)
    assert found.standing is not None
    assert (found.spectrum is None) == (image.ndim == 1)


def test_of_several_inputs_the_first_is_disturbed_and_the_others_stay() -> None:
    meter, target = metered(parsed(TWO, w=weight(4, 3, 3, 3)), "y", 1, wrt=("b", "a"))
    written = {"b": torch.full((3, 16, 16), 51 / 255), "a": picture(3, 16, 16)}
    found = Assessor.of(meter, target).assess(target, written, seed_activation=-9.0)
    # A disturbed constant is what it was.
    assert [found.survival[name] for name in ("shift", "turn", "blur", "jpeg")] == pytest.approx([1, 1, 1, 1], abs=1e-3)


def test_values_at_the_ends_are_clipped_and_some_more_are_near() -> None:
    image = torch.tensor([0, 255, 1, 5, 250, 254, 6, 249, 128, 100]).repeat(3, 10, 1) / 255
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 10, 10] x) => (float[1, 2, 8, 8] y)
    { y = Conv (x, w) }"""
    found = assessed(parsed(text, w=weight(2, 3, 3, 3)), "y", 0, image, "x", seed_activation=0.0)
    assert found.clipped == pytest.approx(0.2)
    assert found.near_clipped == pytest.approx(0.6)


def test_natural_images_give_a_place_and_widen_the_baseline(tmp_path: Path) -> None:
    for number in range(5):
        levels = (picture(16, 16, 3, seed=number) * 255).round().byte().numpy()
        Image.fromarray(levels).save(tmp_path / f"{number}.png")
    meter, target = metered(conv_net(), "conv2", 1)
    assessor = Assessor.of(meter, target, images=tmp_path)
    assert assessor.baseline.shape == (21, 6)
    found = assessor.assess(target, {"image": picture(3, 16, 16)}, seed_activation=0.0)
    assert assessor.natural is not None
    assert found.place is not None
    assert found.place.count == 5
    assert found.place.beyond == (assessor.natural.values[:, 1] < found.activation).mean()
    assert found.strength == pytest.approx(
        (found.activation - assessor.baseline[:, 1].mean()) / assessor.baseline[:, 1].std(ddof=1)
    )


def test_a_judge_is_asked_and_one_of_other_classes_refused_at_once() -> None:
    meter, target = metered(conv_net(), "probabilities", 2)
    judge = Judge.of(conv_net(), overrides={"range": (0.0, 1.0), "mean": (0.0,), "std": (1.0,)})
    found = Assessor.of(meter, target, judge=judge).assess(target, {"image": picture(3, 16, 16)}, seed_activation=0.0)
    assert found.verdict is not None
    assert found.standing is not None
    assert (found.verdict.wanted, found.verdict.rank) == (2, found.standing.rank)
    other, unit = metered(conv_net(), "conv2", 2)
    with pytest.raises(SettingError, match="no telling"):
        Assessor.of(other, unit, judge=judge)


def test_pictures_of_one_unit_are_compared_by_the_other_units() -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    assessor = Assessor.of(meter, target)
    same = assessor.agreement(target, [{"image": picture(3, 16, 16)}] * 3)
    other = assessor.agreement(target, [{"image": picture(3, 16, 16)}, {"image": 1 - picture(3, 16, 16)}])
    assert same is not None
    assert other is not None
    assert same.mean == pytest.approx(1)
    assert other.mean < 0.999


FULL = Assessment(
    activation=110.5,
    seed_activation=6.5,
    float_activation=110.9,
    kept_by_8_bits=0.9962,
    survival={"shift": 0.983, "turn": 1.05, "blur": None, "jpeg": 0.785},
    standing=Standing(1, 1000, 31.5, 29),
    standardized=Standing(9, 1000, -4.07, 327),
    strength=14.05,
    place=Place(1.0, 10, "goldfish.jpg", 42.95),
    clipped=0.031,
    near_clipped=0.05,
    spectrum=Spectrum(-2.74, 0.032),
    verdict=Verdict("other.onnx", 1000, 1, 1, 0.724, (Guess(1, "goldfish", 0.724),)),
)


def test_the_words_are_at_most_six_short_lines() -> None:
    assert FULL.lines() == (
        ("8 bits", "keep 99.6 % of the gain"),
        ("rank", "1 of 1000, margin 31.5 over filter 29, standardized 9, 14.1 sd above the baseline"),
        ("survives", "shift 98 %, turn 105 %, JPEG 78 %"),
        ("values", "3 % clipped, spectral slope -2.7, 3 % of the energy in fine detail"),
        ("photos", "beyond 100 % of 10 natural images; the best, goldfish.jpg, has 42.95"),
        ("judge", "other.onnx ranks it 1 of 1000 with 72.4 %; it says goldfish 72.4 %"),
    )


def test_what_does_not_apply_has_no_words() -> None:
    found = assessed(parsed(FEATURES, w=weight(4, 3)), "y", None, picture(4), "x", seed_activation=-50.0)
    assert [label for label, _ in found.lines()] == ["baseline", "values"]


def test_numbers_that_are_not_finite_are_none_in_json() -> None:
    odd = dataclasses.replace(FULL, strength=float("inf"), place=Place(1.0, 1, "x", float("nan")))
    plain = odd.to_dict()
    assert plain["strength"] is None
    assert plain["place"]["best_activation"] is None
    json.dumps(plain, allow_nan=False)


def test_a_baseline_of_one_value_gives_no_strength() -> None:
    meter, target = metered(conv_net(), "conv2", 1)
    assessor = Assessor(meter, Answers(("a", "b"), np.ones((2, 6))))
    found = assessor.assess(target, {"image": picture(3, 16, 16)}, seed_activation=0.0)
    assert (found.strength, found.standardized) == (None, None)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1, "100 %"),
        (0.9999, "99.9 %"),
        (0.991, "99.1 %"),
        (0.984, "98 %"),
        (0.0013, "0.1 %"),
        (0, "0 %"),
        (-0.2, "-20 %"),
    ],
)
def test_shares_are_written_so_that_all_is_all_and_nothing_is_nothing(share: float, text: str) -> None:
    assert _percent(share) == text


def test_a_rank_that_is_standardized_on_noise_alone_is_not_told() -> None:
    lines = dict(dataclasses.replace(FULL, place=None).lines())
    assert lines["rank"] == "1 of 1000, margin 31.5 over filter 29, 14.1 sd above the baseline"
