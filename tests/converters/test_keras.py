from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import onnxvis
from tests.converters.environments import CONVERTERS, complaint, run

SCRIPT = "from_keras.py"
OWN = Path(__file__).with_name("own_layers.py")


def converted(python: Path, source: Path, output: Path, *options: str | Path) -> onnx.ModelProto:
    """Convert, and require what every converter owes: exit code 0, a comparison, and nothing on stderr."""
    finished = run(python, CONVERTERS / SCRIPT, source, output, *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "largest difference from onnxruntime: " in finished.stdout
    return onnx.load(output)


def check(path: Path, **shapes: tuple[int, ...]) -> None:
    """Require that torch computes what onnxruntime does at every float tensor, and a gradient that is not zero."""
    model = onnxvis.load(path)
    report = onnxvis.verify(model, input_shapes=shapes or None)
    assert report.ok, report
    assert not report.skipped
    network = onnxvis.to_torch(model, input_shapes=shapes or None)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.rand(node.meta["shape"], generator=generator, requires_grad=True)
        for node in network.graph.nodes
        if node.op == "placeholder"
    ]
    outputs = network(*inputs)
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    # Squares, because probabilities sum to 1 whatever the input is.
    (gradient, *_) = torch.autograd.grad(first.square().sum(), inputs)
    assert 0 < float(gradient.abs().max()) < np.inf


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_classifier_is_the_same_in_torch_and_bears_its_layers_names(
    tensorflow: Path, tensorflow_models: Path, tmp_path: Path, suffix: str
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\n")
    path = tmp_path / "out.onnx"
    source = tensorflow_models / f"classifier{suffix}"
    proto = converted(tensorflow, source, path, "--preprocess", "caffe", "--labels", labels)
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["image", "predictions"]
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert told["onnxvis.layout"] == "NHWC"
    assert json.loads(told["onnxvis.mean"]) == [103.939, 116.779, 123.68]
    assert {"conv2d", "conv2d_1", "conv2d_2", "shared", "grouped"} == {
        node.name.split("/")[1] for node in proto.graph.node if node.op_type == "Conv"
    }
    assert "classifier/sum/Add" in {node.name for node in proto.graph.node}
    assert onnxvis.load(path).labels == ("one", "two", "three", "four")
    check(path)
    known = np.load(tensorflow_models / "classifier.npz")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": known["images"]})
    assert found == pytest.approx(known["predictions"], abs=1e-6)


def test_settings_of_keras_2_do_not_matter(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    before = (tensorflow_models / "keras_2.h5").read_bytes()
    converted(tensorflow, tensorflow_models / "keras_2.h5", tmp_path / "out.onnx")
    assert (tensorflow_models / "keras_2.h5").read_bytes() == before
    check(tmp_path / "out.onnx")


def test_captured_constants_become_weights_and_no_inputs(
    tensorflow: Path, tensorflow_models: Path, tmp_path: Path
) -> None:
    proto = converted(tensorflow, tensorflow_models / "normalized.keras", tmp_path / "out.onnx")
    assert [value.name for value in proto.graph.input] == ["image"]
    check(tmp_path / "out.onnx")


def test_several_inputs_and_outputs_keep_their_names(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    proto = converted(tensorflow, tensorflow_models / "several.keras", tmp_path / "out.onnx")
    assert {value.name for value in proto.graph.input} == {"signal", "picked"}
    assert {value.name for value in proto.graph.output} == {"zeta", "alpha"}
    assert not proto.metadata_props
    check(tmp_path / "out.onnx")


def test_a_gru_becomes_a_loop_and_has_a_gradient(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    proto = converted(tensorflow, tensorflow_models / "recurrent.keras", tmp_path / "out.onnx", "--opset", "13")
    assert "Loop" in {node.op_type for node in proto.graph.node}
    assert next(entry.version for entry in proto.opset_import if not entry.domain) == 13
    check(tmp_path / "out.onnx")


def test_tokens_have_no_layout(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    proto = converted(tensorflow, tensorflow_models / "text.keras", tmp_path / "out.onnx")
    assert not proto.metadata_props
    report = onnxvis.verify(onnxvis.load(tmp_path / "out.onnx"))
    assert report.ok, report


def test_open_sizes_are_compared_where_asked(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    source, path = tensorflow_models / "open.keras", tmp_path / "out.onnx"
    assert complaint(tensorflow, SCRIPT, source, path)[1].endswith(
        "input 'image' leaves sizes open: ?,?,?,3. Give some to compare at, --shape image=..."
    )
    assert not path.exists()
    converted(tensorflow, source, path, "--shape", "1,20,24,3")
    check(path, image=(1, 20, 24, 3))


def test_code_in_the_file_runs_only_when_asked(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    source, path = tensorflow_models / "lambdas.keras", tmp_path / "out.onnx"
    code, line = complaint(tensorflow, SCRIPT, source, path)
    assert code == 1
    assert "--run-lambdas" in line
    assert not path.exists()
    converted(tensorflow, source, path, "--run-lambdas")
    check(path)


def test_classes_of_ones_own_are_read_from_a_file(tensorflow: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    source, path = tensorflow_models / "own.keras", tmp_path / "out.onnx"
    code, line = complaint(tensorflow, SCRIPT, source, path)
    assert code == 1
    assert "--custom" in line
    converted(tensorflow, source, path, "--custom", OWN)
    check(path)


def test_a_subclassed_model_is_sent_to_the_other_script(
    tensorflow: Path, tensorflow_models: Path, tmp_path: Path
) -> None:
    source = tensorflow_models / "subclassed.keras"
    code, line = complaint(tensorflow, SCRIPT, source, tmp_path / "out.onnx", "--custom", OWN)
    assert code == 1
    assert line.endswith("write it with model.export(FOLDER) and convert that with from_tensorflow.py")


def test_a_large_difference_is_an_error_that_leaves_the_file(
    tensorflow: Path, tensorflow_models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.onnx"
    code, line = complaint(tensorflow, SCRIPT, tensorflow_models / "classifier.keras", path, "--tolerance", "-1")
    assert code == 1
    assert "is written and kept, but do not trust it" in line
    assert path.exists()


@pytest.mark.parametrize(
    ("source", "options", "code", "reason"),
    [
        ("absent.keras", [], 1, "there is no"),
        ("text.txt", [], 1, "Keras cannot read"),
        ("broken.keras", [], 1, "Keras cannot read"),
        ("broken.h5", [], 1, "Keras cannot read"),
        ("broken.keras", ["--opset", "21"], 1, "tf2onnx writes the opsets 9 to 18, not 21"),
        ("broken.keras", ["--preprocess", "tensorflow"], 2, "invalid choice: 'tensorflow'"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    tensorflow: Path, tmp_path: Path, source: str, options: list[str], code: int, reason: str
) -> None:
    for name in ("text.txt", "broken.keras", "broken.h5"):
        (tmp_path / name).write_text("not a model")
    found, line = complaint(tensorflow, SCRIPT, tmp_path / source, tmp_path / "out.onnx", *options)
    assert found == code
    assert reason in line
    assert not (tmp_path / "out.onnx").exists()
