from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxvis.baseline import Baseline, record
from onnxvis.baseline_check import compare
from onnxvis.config import CheckSettings
from onnxvis.errors import InputError, OnnxvisError, OutputError
from onnxvis.fingerprints import likeness
from onnxvis.model import load
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


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of a document are; of lists, in the first two items."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*place, key))


WRONG: tuple[Any, ...] = (None, "x", True, [], {}, [{}], math.nan, math.inf)


def with_value(document: str, place: tuple[Any, ...], value: Any) -> str:
    """Return a document with another value at a place."""
    changed = json.loads(document)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(changed)


def refusal(path: Path) -> str | None:
    try:
        Baseline.load(path)
    except InputError as error:
        return error.message
    return None


def test_whatever_is_damaged_in_a_baseline_is_one_line_or_nothing(small: Path, tmp_path: Path) -> None:
    text = small.read_text(encoding="utf-8")
    path = tmp_path / "damaged.json"
    messages = []
    for place in [place for place in places(json.loads(text)) if place]:
        for wrong in WRONG:
            path.write_text(with_value(text, place, wrong), encoding="utf-8")
            message = refusal(path)
            assert message is not None or not isinstance(wrong, float), place
            messages += [] if message is None else [message]
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
    assert all("onnxvis baseline" in message for message in messages)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("seed",), "0"),
        (("seed",), -1),
        (("model", "arithmetic"), "x"),
        (("model", "opset"), 17.5),
        (("inputs", 0, "image_shape"), []),
        (("inputs", 0, "image_shape"), [3, 0, 8]),
        (("inputs", 0, "preprocess", "range"), [0]),
        (("inputs", 0, "preprocess", "bgr"), 1),
        (("units",), {}),
        (("units", 0, "activation"), "1.5"),
        (("units", 0, "recipe", "inputs"), "x"),
        (("units", 0, "recipe", "losses"), []),
        (("units", 0, "recipe", "parameterization", "Fourier", "decay"), "x"),
        (("tensors", 0, "mean"), "0"),
        (("tensors", 0, "zeros"), 1.5),
    ],
)
def test_a_value_of_another_kind_is_named(small: Path, tmp_path: Path, place: tuple[Any, ...], wrong: Any) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(with_value(small.read_text(encoding="utf-8"), place, wrong), encoding="utf-8")
    with pytest.raises(InputError, match=f"damaged.*{place[-1]}"):
        Baseline.load(path)


def test_held_inputs_are_found_wherever_baseline_and_arrays_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 8, 8] image, float[1, 3, 8, 8] mask) => (float[1, 3, 8, 8] y) { y = Mul (image, mask) }
    """
    (tmp_path / "before" / "arrays").mkdir(parents=True)
    np.save(tmp_path / "before" / "arrays" / "mask.npy", np.ones((1, 3, 8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    settings = CheckSettings(inputs={"mask": "before/arrays/mask.npy"})
    path = record(parsed(text), [(None, None)], settings=settings).save("before/baseline.json")
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["held"] == {"mask": "arrays/mask.npy"}
    (tmp_path / "before").rename(tmp_path / "after")
    monkeypatch.chdir("/")
    baseline = Baseline.load(tmp_path / "after" / "baseline.json")
    assert compare(tmp_path / "after" / "baseline.json", load(parsed(text))).status == "pass"
    assert baseline.held == {"mask": str(tmp_path / "after" / "arrays" / "mask.npy")}


COPIES = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 12, 12] image) => (float[1, 4, 10, 10] y, int64[1, 10, 10] best) {
  c = Conv (image, w)
  r = Relu (c)
  i = Identity (r)
  d = Identity (i)
  e = Add (d, zero)
  y = Identity (e)
  best = ArgMax <axis = 1, keepdims = 0> (e)
}
"""


def test_copies_of_a_unit_have_one_picture() -> None:
    zero = np.zeros((4, 1, 1), np.float32)
    units = record(parsed(COPIES, zero=zero, **random_weights({"w": (4, 3, 3, 3)}))).units
    pairs = [(a, b) for number, a in enumerate(units) for b in units[:number]]
    assert units
    assert all(likeness(a.picture, b.picture) < 0.99 for a, b in pairs)


def test_a_missing_baseline_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No baseline"):
        Baseline.load(tmp_path / "none.json")


def test_a_baseline_is_a_json_file(small: Path) -> None:
    with pytest.raises(OutputError, match=r"json"):
        Baseline.load(small).save(small.with_suffix(".txt"))
