from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.converters.environments import python_with
from tests.converters.running import convert, make, require_converted, require_one_line

SAVE = """
import joblib, pickle
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

features = np.random.default_rng(0).normal(0.5, 0.3, (60, 6))
names = np.array(["ash", "oak", "yew"])[np.arange(60) % 3]
classifier = dict(hidden_layer_sizes=(8, 7), max_iter=30, random_state=0)
models = {
    "standard": (make_pipeline(StandardScaler(), MLPClassifier(**classifier)), names),
    "bare": (MLPClassifier(activation="tanh", **classifier), np.arange(60) % 2),
    "scaled": (make_pipeline(MinMaxScaler(clip=True), RobustScaler(), PCA(4), MLPClassifier(**classifier)), names),
    "one": (make_pipeline(StandardScaler(), MLPRegressor(activation="logistic", **classifier)), features[:, 0]),
    "two": (make_pipeline(StandardScaler(), MLPRegressor(**classifier)), features[:, :2]),
    "norm": (make_pipeline(StandardScaler(), Normalizer("max"), MLPClassifier(**classifier)), names),
    "forest": (RandomForestClassifier(3), names),
    "function": (make_pipeline(FunctionTransformer(np.sin), MLPClassifier(**classifier)), names),
}
for name, (model, wanted) in models.items():
    joblib.dump(model.fit(features, wanted), name + ".joblib")
with open("pickled.pkl", "wb") as file:
    pickle.dump(models["standard"][0], file)
joblib.dump(MLPClassifier(), "unfitted.joblib")
joblib.dump({"a": 1}, "other.joblib")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("sklearn")


@pytest.fixture(scope="module")
def folder(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sklearn")
    make(SAVE, folder=made, python=python)
    return made


@pytest.mark.parametrize(
    ("source", "labels", "columns"),
    [
        ("standard.joblib", ["ash", "oak", "yew"], 3),
        ("pickled.pkl", ["ash", "oak", "yew"], 3),
        ("bare.joblib", ["0", "1"], 2),
        ("scaled.joblib", ["ash", "oak", "yew"], 3),
        ("one.joblib", None, 1),
        ("two.joblib", None, 2),
    ],
)
def test_a_network_is_converted_with_its_scalers_and_classes_into_plain_operators(
    source: str, labels: list[str] | None, columns: int, python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"

    ended = convert("from_sklearn.py", source, str(path), "--unsafe-pickle", folder=folder, python=python)

    metadata = require_converted(ended, path)
    assert metadata["onnxvis.layout"] == "NC"
    assert (json.loads(metadata["onnxvis.labels"]) if "onnxvis.labels" in metadata else None) == labels
    model = onnx.load(path)
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert output.type.tensor_type.shape.dim[1].dim_value == columns
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {node.domain for node in model.graph.node} == {""}


def test_a_norm_that_skl2onnx_gets_wrong_fails_the_comparison(python: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"

    ended = convert("from_sklearn.py", "norm.joblib", str(path), "--unsafe-pickle", folder=folder, python=python)

    require_one_line(ended, "do not trust", "more than --tolerance")
    assert "note: these are not ONNX's own operators: ai.onnx.ml.Normalizer" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("standard.joblib",), ("can run any code", "--unsafe-pickle")),
        (("nobody.joblib", "--unsafe-pickle"), ("there is no nobody.joblib",)),
        (("forest.joblib", "--unsafe-pickle"), ("RandomForestClassifier", "MLPClassifier")),
        (("unfitted.joblib", "--unsafe-pickle"), ("MLPClassifier", "not fitted")),
        (("other.joblib", "--unsafe-pickle"), ("holds a dict",)),
        (("function.joblib", "--unsafe-pickle"), ("skl2onnx fails", "FunctionTransformer")),
        (("standard.joblib", "--unsafe-pickle", "--opset", "99"), ("skl2onnx fails", "99")),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_no_file(
    arguments: tuple[str, ...], words: tuple[str, ...], python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"

    ended = convert("from_sklearn.py", arguments[0], str(path), *arguments[1:], folder=folder, python=python)

    require_one_line(ended, *words)
    assert list(tmp_path.iterdir()) == []
