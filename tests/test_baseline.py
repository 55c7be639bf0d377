from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxvis.baseline import Baseline, record
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, OnnxvisError, OutputError
from tests.models import conv_net, parsed, random_weights

OPEN = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, H, W] image) => (float[N, 4, H, W] y) { y = Conv <pads = [1, 1, 1, 1]> (image, w) }
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of a small network."""
    units = [(None, 1), ("relu1", 2)]
    return record(conv_net(), units).save(tmp_path_factory.mktemp("baseline") / "small.json")


def test_a_baseline_comes_back_from_its_file(small: Path) -> None:
    baseline = Baseline.load(small)
    assert baseline.save(small.with_name("again.json")).read_text() == small.read_text()


def test_classes_and_filters_of_several_layers_are_chosen(root: Path) -> None:
    units = record(root / "samples" / "textures.onnx").units
    assert [unit.tensor for unit in units] == ["probabilities", "probabilities", "relu1", "relu2", "pool3"]
    assert all(unit.activation > unit.seed_activation for unit in units)


def test_the_file_is_small_and_has_short_lines_for_people(small: Path) -> None:
    text = small.read_text()
    assert len(text) < 100_000
    assert re.search(r'"shape": \[1, \d+, \d+, \d+\]', text)


def test_given_sizes_and_preprocessing_are_recorded() -> None:
    settings = CheckSettings(size=(24, 32), range=(0, 255), bgr=True)
    baseline = record(parsed(OPEN, **random_weights({"w": (4, 3, 3, 3)})), [(None, 0)], settings=settings)
    assert baseline.inputs[0].shape == (1, 3, 24, 32)
    assert (baseline.units[0].recipe.range, baseline.units[0].recipe.bgr) == ((0, 255), True)


def test_a_model_without_a_gradient_has_statistics_alone() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 8] x) => (float[1, 8] y) { y = Floor (x) }'
    baseline = record(parsed(text))
    assert (baseline.units, len(baseline.tensors)) == ((), 1)


def test_a_named_unit_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(OnnxvisError, match="99"):
        record(conv_net(), [("relu1", 99)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "Cannot read"),
        ("[1]", "no baseline"),
        ('{"format": "onnxvis-check-1"}', "no baseline"),
        ('{"format": "onnxvis-baseline-2"}', "of format onnxvis-baseline-2"),
        ('{"format": "onnxvis-baseline-1", "model": {}}', "damaged"),
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        Baseline.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_baseline_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No baseline"):
        Baseline.load(tmp_path / "none.json")


def test_a_baseline_is_a_json_file(small: Path) -> None:
    with pytest.raises(OutputError, match=r"json"):
        Baseline.load(small).save(small.with_suffix(".txt"))
