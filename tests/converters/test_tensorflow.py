from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.converters.environments import CONVERTERS, complaint, run
from tests.converters.test_keras import check

SCRIPT = "from_tensorflow.py"


def converted(python: Path, source: Path, output: Path, *options: str) -> onnx.ModelProto:
    finished = run(python, CONVERTERS / SCRIPT, source, output, *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "largest difference from onnxruntime: " in finished.stdout
    return onnx.load(output)


def test_a_function_is_chosen_by_its_signature(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    options = ["--signature", "filtered", "--layout", "NHWC"]
    proto = converted(tensorflow, tensorflow_models / "functions", tmp_path / "out.onnx", *options)
    assert {value.name for value in proto.graph.input} == {"image", "gain"}
    assert {value.name for value in proto.graph.output} == {"filtered", "tail"}
    assert {entry.key: entry.value for entry in proto.metadata_props} == {"onnxvis.layout": "NHWC"}
    check(tmp_path / "out.onnx")


def test_a_subclassed_keras_model_goes_this_way(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    proto = converted(tensorflow, tensorflow_models / "subclassed", tmp_path / "out.onnx")
    assert len(proto.graph.input) == 1
    check(tmp_path / "out.onnx")


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("absent", [], "there is no"),
        (".", [], "TensorFlow cannot read"),
        ("classifier.keras", [], "TensorFlow cannot read"),
        ("functions", [], "no signature 'serving_default' (--signature), there is filtered, unknown"),
        ("functions", ["--signature", "unknown"], "tf2onnx has no conversion for BesselI0 in"),
        ("empty", [], "there is none: save it with"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    tensorflow: Path, tensorflow_models: Path, tmp_path: Path, source: str, options: list[str], reason: str
) -> None:
    path = tmp_path / "out.onnx"
    code, line = complaint(tensorflow, SCRIPT, tensorflow_models / source, path, *options)
    assert code == 1
    assert reason in line
    assert not path.exists()
