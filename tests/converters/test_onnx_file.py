from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import onnxvis
from onnxvis import metadata, preprocess
from tests.converters.environments import CONVERTERS

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
scaled (float[N, 2, 3] x) => (float[N, 2, 3] y) <float[3] weight = {1.0, 2.0, 3.0}> { y = Mul(x, weight) }
"""
WEIGHT = np.array([1, 2, 3], np.float32)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module as the scripts beside it do."""
    monkeypatch.syspath_prepend(CONVERTERS)
    return importlib.import_module


@pytest.fixture
def onnx_file(shared: Callable[[str], Any]) -> Any:
    return shared("onnx_file")


@pytest.fixture
def comparison(shared: Callable[[str], Any]) -> Any:
    return shared("comparison")


@pytest.fixture
def meaning(shared: Callable[[str], Any]) -> Any:
    return shared("meaning")


@pytest.fixture
def refused(shared: Callable[[str], Any]) -> Any:
    """The error that becomes one line."""
    return shared("refusal").ConversionError


def model(text: str = MODEL) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def parsed(onnx_file: Any, *arguments: str | Path) -> argparse.Namespace:
    parser = onnx_file.options("Converts.", source="anything", opset=17)
    found: argparse.Namespace = parser.parse_args(["source", *map(str, arguments)])
    return found


def told(onnx_file: Any, meaning: Any, *options: str | Path) -> dict[str, Any]:
    """Read, as onnxvis reads it, what options make a converter write."""
    return metadata.recorded(meaning.meaning(parsed(onnx_file, "out.onnx", *options)).metadata())


@pytest.mark.parametrize("name", ["caffe", "tf", "torch", "imagenet", "unit", "raw255"])
def test_a_preset_says_the_numbers_of_onnxvis(onnx_file: Any, meaning: Any, name: str) -> None:
    wanted = preprocess.PRESETS["imagenet" if name == "torch" else name]
    found = preprocess.Preprocess(**told(onnx_file, meaning, "--preprocess", name))
    assert (found.range, found.mean, found.bgr) == (wanted.range, wanted.mean, wanted.bgr)
    assert found.std == wanted.std


def test_every_preset_is_tested_here(meaning: Any) -> None:
    assert set(meaning.PRESETS) == {"caffe", "tf", "torch", "imagenet", "unit", "raw255"}


def test_an_option_wins_over_the_preset(onnx_file: Any, meaning: Any) -> None:
    found = told(onnx_file, meaning, "--preprocess", "caffe", "--mean", "1,2,3", "--no-bgr")
    assert found == {"range": (0.0, 255.0), "mean": (1.0, 2.0, 3.0), "bgr": False}


def test_what_nobody_says_is_not_written(onnx_file: Any, meaning: Any) -> None:
    assert told(onnx_file, meaning) == {}


def test_the_layouts_are_those_of_onnxvis(meaning: Any) -> None:
    assert meaning.LAYOUTS == preprocess.LAYOUTS


def test_a_given_layout_wins_over_the_framework(onnx_file: Any, meaning: Any) -> None:
    arguments = parsed(onnx_file, "out.onnx", "--layout", "nchw")
    assert meaning.meaning(arguments, "NHWC").metadata() == {"onnxvis.layout": "NCHW"}


@pytest.mark.parametrize(
    "options", [("--range", "1"), ("--range", "2,2"), ("--range", "0,1,2"), ("--std", "1,0,1"), ("--mean", "")]
)
def test_numbers_that_make_no_sense_are_refused(
    onnx_file: Any, meaning: Any, refused: Any, options: Sequence[str]
) -> None:
    with pytest.raises(refused, match=options[0]):
        told(onnx_file, meaning, *options)


@pytest.mark.parametrize(
    "text",
    [
        "tench\nhouse finch\nöl\n",
        '["tench", "house finch", "öl"]',
        '{"2": ["n03", "öl"], "0": ["n01", "tench"], "1": ["n02", "house finch"]}',
    ],
    ids=["lines", "list", "by index"],
)
def test_labels_are_read_in_three_forms(meaning: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8-sig")
    assert meaning.read_labels(path) == ("tench", "house finch", "öl")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"1": "a"}', '["a"', None])
def test_labels_that_cannot_be_read_are_refused(meaning: Any, refused: Any, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "labels"
    if text is not None:
        path.write_text(text)
    with pytest.raises(refused, match="labels"):
        meaning.read_labels(path)


def test_labels_must_fit_an_output(onnx_file: Any, refused: Any) -> None:
    onnx_file.check_labels(model(), ["a", "b", "c"])
    with pytest.raises(refused, match="4 names, but the outputs have the sizes"):
        onnx_file.check_labels(model(), list("abcd"))
    onnx_file.check_labels(model(MODEL.replace("2, 3] y", "2, C] y")), list("abcd"))


@pytest.mark.parametrize(
    ("expected", "found", "absolute", "relative"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0, 0),
        ([1.0, -4.0], [1.5, -4.0], 0.5, 0.125),
        ([0.0, 0.0], [0.0, 0.0], 0, 0),
        ([np.nan, np.inf, 1], [np.nan, np.inf, 1], 0, 0),
        ([np.nan, 1], [2, 1], np.inf, np.inf),
        ([np.inf, 1], [-np.inf, 1], np.inf, np.inf),
        ([True, False], [True, True], 1, 1),
        ([], [], 0, 0),
    ],
)
def test_a_difference_is_a_part_of_the_largest_value(
    comparison: Any, expected: Sequence[Any], found: Sequence[Any], absolute: float, relative: float
) -> None:
    gap = comparison.difference(np.array(expected), np.array(found))
    assert (gap.absolute, gap.relative) == (absolute, relative)


def test_other_shapes_are_no_difference_but_an_error(comparison: Any, refused: Any) -> None:
    with pytest.raises(refused, match=r"\(2,\).*\(2, 1\)"):
        comparison.difference(np.zeros(2), np.zeros((2, 1)))


def test_the_input_of_the_comparison_is_always_the_same_noise_in_its_range(comparison: Any, meaning: Any) -> None:
    said = meaning.Meaning(range=(0.0, 255.0), mean=(100.0,), std=(50.0,))
    first, second = (comparison.draw_inputs(model(), said, {"x": (50, 2, 3)})["x"] for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert -2.0 <= first.min() < -1.9
    assert 3.0 < first.max() <= 3.1
    unsaid = comparison.draw_inputs(model(), meaning.Meaning(), {"x": (50, 2, 3)})["x"]
    assert -1.0 <= unsaid.min() < -0.9


@pytest.mark.parametrize(("kind", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("int64", 0, 1)])
def test_integers_are_bytes_or_flags(comparison: Any, meaning: Any, kind: str, low: int, high: int) -> None:
    text = MODEL.replace("float[N, 2, 3] x", f"{kind}[N, 2, 3] x")
    drawn = comparison.draw_inputs(model(text), meaning.Meaning(), {"x": (500, 2, 3)})["x"]
    assert drawn.dtype == kind
    assert (drawn.min(), drawn.max()) == (low, high)


def test_a_scalar_input_is_an_array_too(comparison: Any, meaning: Any) -> None:
    scalar = model(MODEL.replace("float[N, 2, 3] x", "float x"))
    assert isinstance(comparison.draw_inputs(scalar, meaning.Meaning(), {"x": ()})["x"], np.ndarray)


def test_an_open_batch_is_compared_at_two(comparison: Any) -> None:
    assert comparison.compared_shapes(model(), [], {}) == {"x": (2, 2, 3)}
    assert comparison.compared_shapes(model(), [(None, (1, 2, 3))], {"x": (5, 2, 3)}) == {"x": (1, 2, 3)}
    assert comparison.compared_shapes(model(), [], {"x": (5, 2, 3)}) == {"x": (5, 2, 3)}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([("z", (1, 2, 3))], "no input is called 'z', there is x"),
        ([("x", (1, 2, 4))], r"--shape 1,2,4 does not fit the input 'x': \?,2,3"),
        ([("x", (1, 2))], r"--shape 1,2 does not fit"),
    ],
)
def test_a_shape_that_the_file_contradicts_is_refused(comparison: Any, refused: Any, asked: Any, reason: str) -> None:
    with pytest.raises(refused, match=reason):
        comparison.compared_shapes(model(), asked, {})


def test_sizes_that_nobody_gave_are_asked_for(comparison: Any, refused: Any) -> None:
    with pytest.raises(refused, match=r"'x' leaves sizes open: \?,\?,3.*--shape x="):
        comparison.compared_shapes(model(MODEL.replace("N, 2, 3] x", "N, M, 3] x")), [], {})


def test_a_delivered_file_says_what_it_means_and_what_was_compared(
    onnx_file: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.onnx"
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc")
    proto = model()
    onnx.helper.set_model_props(proto, {"kept": "yes"})
    arguments = parsed(onnx_file, path, "--preprocess", "tf", "--labels", labels)
    onnx_file.deliver(proto, arguments, lambda feeds: [feeds["x"] * WEIGHT], layout="NCW")
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(found["onnxvis.range"]) == [-1, 1]
    assert onnxvis.load(path).labels == ("a", "b", "c")
    assert (found["kept"], found["onnxvis.layout"]) == ("yes", "NCW")
    assert [path.name for path in tmp_path.iterdir()].count("out.onnx") == len(list(tmp_path.iterdir())) - 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "metadata: layout NCW, range -1 1, 3 labels"
    assert lines[2] == "largest difference from onnxruntime: 0.0e+00 absolute, 0.0e+00 relative"


def test_a_difference_is_an_error_that_leaves_the_file(onnx_file: Any, refused: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    arguments = parsed(onnx_file, path)
    with pytest.raises(refused, match=r"out\.onnx is written and kept.*1\.0e-02 relative, more than"):
        onnx_file.deliver(model(), arguments, lambda feeds: [feeds["x"] * WEIGHT / 1.01])
    assert path.exists()
    with pytest.raises(refused, match="1 outputs, the framework's model 2"):
        onnx_file.deliver(model(), arguments, lambda feeds: [feeds["x"] * WEIGHT] * 2)


def test_an_output_that_is_not_a_number_is_an_error(onnx_file: Any, refused: Any, tmp_path: Path) -> None:
    with pytest.raises(refused, match="inf relative"):
        onnx_file.deliver(model(), parsed(onnx_file, tmp_path / "out.onnx"), lambda feeds: [feeds["x"] * np.nan])


def test_an_invalid_model_leaves_the_old_file(onnx_file: Any, refused: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_text("old")
    with pytest.raises(refused, match=r"the exporter made an invalid model, nothing is written.*Erfc"):
        onnx_file.write(model(MODEL.replace("Mul(x, weight)", "Erfc(x)")), path)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("out.onnx", "old")]


def test_a_folder_that_is_not_there_is_one_line(onnx_file: Any, refused: Any, tmp_path: Path) -> None:
    with pytest.raises(refused, match=r"cannot write .*missing.out\.onnx"):
        onnx_file.write(model(), tmp_path / "missing" / "out.onnx")


def test_weights_that_fit_into_no_file_go_beside_it(
    onnx_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_ONE_FILE", 1000)
    weight = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    proto = model(MODEL.replace("2, 3] x", "2, 3] x").replace("2, 3] y", "2, 500] y").replace("Mul", "MatMul"))
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))
    path = tmp_path / "out.onnx"
    onnx_file.deliver(proto, parsed(onnx_file, path), lambda feeds: [feeds["x"] @ weight])
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out.onnx", "out.onnx.data"]
    assert path.stat().st_size < 1000
    assert onnxvis.verify(onnxvis.load(path)).ok


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--range", "a"], "'a' is not a list of numbers"),
        (["--shape", "1,x"], "'1,x' is not a shape"),
        (["--shape", "0,2"], "'0,2' is not a shape"),
        (["--layout", "NZ"], "invalid choice: 'NZ'"),
        (["--oops"], "unrecognized arguments: --oops"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    onnx_file: Any, capsys: pytest.CaptureFixture[str], options: Sequence[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(onnx_file, "out.onnx", *options)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_shapes_are_read_with_and_without_a_name(onnx_file: Any) -> None:
    arguments = parsed(onnx_file, "out.onnx", "--shape", "1,2", "--shape", "a=b=3")
    assert arguments.shape == [(None, (1, 2)), ("a=b", (3,))]


def ran(onnx_file: Any, monkeypatch: pytest.MonkeyPatch, convert: Callable[[argparse.Namespace], None]) -> Any:
    monkeypatch.setattr("sys.argv", ["from_x.py", "source", "out.onnx"])
    with pytest.raises(SystemExit) as caught:
        onnx_file.run(convert, onnx_file.options("Converts.", source="anything", opset=17))
    return caught.value.code


def test_a_converter_ends_with_0_or_with_one_line(onnx_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: argparse.Namespace) -> None:
        with onnx_file.refusing("X cannot read it"):
            message = "first line\nsecond"
            raise ValueError(message)

    assert ran(onnx_file, monkeypatch, lambda _: None) == 0
    assert str(ran(onnx_file, monkeypatch, fail)).endswith(": X cannot read it: ValueError: first line")


def test_the_reason_of_a_traced_function_is_its_last_line(onnx_file: Any, refused: Any) -> None:
    message = "in user code:\n  File x\n\n    ValueError: too small\n"
    with pytest.raises(refused, match=r"^Y: ValueError: too small$"), onnx_file.refusing("Y"):
        raise ValueError(message)


def test_a_framework_that_is_missing_is_one_line(onnx_file: Any, refused: Any) -> None:
    with pytest.raises(refused, match=r"cannot import no_such_framework .*uv run"):
        onnx_file.framework("no_such_framework")


def test_a_source_that_is_missing_is_one_line(onnx_file: Any, refused: Any, tmp_path: Path) -> None:
    with pytest.raises(refused, match=r"there is no .*absent"):
        onnx_file.existing(str(tmp_path / "absent"))
