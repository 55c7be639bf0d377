from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.converters.environments import CONVERTERS, complaint, run
from tests.converters.test_keras import check

SCRIPT = "from_tflite.py"


@pytest.mark.parametrize("kind", ["float", "quantized"])
def test_a_model_is_the_same_in_torch(tensorflow: Path, tensorflow_models: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.onnx"
    options = ["--range", "0,1", "--tolerance", "0.02"]
    finished = run(tensorflow, CONVERTERS / SCRIPT, tensorflow_models / f"{kind}.tflite", path, *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "largest difference from onnxruntime: " in finished.stdout
    proto = onnx.load(path)
    assert ("QuantizeLinear" in {node.op_type for node in proto.graph.node}) == (kind == "quantized")
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert told == {"onnxvis.layout": "NHWC", "onnxvis.range": "[0.0, 1.0]"}
    check(path)


@pytest.mark.parametrize(
    ("source", "reason"), [("absent.tflite", "there is no"), ("broken.tflite", "TensorFlow Lite cannot read")]
)
def test_what_cannot_be_converted_is_one_line(tensorflow: Path, tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "broken.tflite").write_text("not a model, though long enough for an identifier")
    code, line = complaint(tensorflow, SCRIPT, tmp_path / source, tmp_path / "out.onnx")
    assert code == 1
    assert reason in line
    assert not (tmp_path / "out.onnx").exists()
