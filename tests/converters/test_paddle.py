from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.converters.environments import python_with
from tests.converters.running import convert, make, require_converted, require_one_line

SAVE = """
import os
import sys
import paddle
from paddle import nn

class Svd(nn.Layer):
    def forward(self, x):
        return paddle.linalg.svd(self.linear(x))[0]

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

paddle.seed(0)
net = nn.Sequential(
    nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.ReLU(), nn.MaxPool2D(2, 2),
    nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, 5), nn.Softmax(),
)
net.eval()
image = paddle.static.InputSpec([None, 3, 16, 16], "float32", name="image")
paddle.jit.save(net, FOLDER + "/net", input_spec=[image])
if FOLDER == "new":
    matrix = paddle.static.InputSpec([3, 3], "float32", name="x")
    paddle.jit.save(Svd(), "svd/net", input_spec=[matrix])
    paddle.save(net.state_dict(), "weights.pdparams")
    os.makedirs("lone")
    with open("lone/net.json", "w") as file:
        file.write("{}")
"""
OLD = 'import os\nos.environ["FLAGS_enable_pir_api"] = "0"\nos.makedirs("old")\n'  # for .pdmodel, as Paddle 2 writes it


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("paddle")


@pytest.fixture(scope="module")
def folder(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("paddle")
    make(f"FOLDER = 'new'\n{SAVE}", folder=made, python=python)
    make(f"{OLD}FOLDER = 'old'\n{SAVE}", folder=made, python=python)
    return made


@pytest.mark.parametrize("source", ["new/net.json", "new", "old/net.pdmodel"])
@pytest.mark.parametrize("opset", [11, 17])
def test_an_inference_model_is_converted_with_what_its_input_means(
    source: str, opset: int, python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    told = ("--preprocess", "torch", "--opset", str(opset))

    metadata = require_converted(
        convert("from_paddle.py", source, str(path), *told, folder=folder, python=python), path
    )

    assert metadata["onnxvis.layout"] == "NCHW"
    assert json.loads(metadata["onnxvis.mean"]) == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody.json",), ("there is no nobody.json",)),
        (("weights.pdparams",), (".json or .pdmodel", "paddle.jit.save")),
        ((".",), ("holds 0 files",)),
        (("lone",), ("there is no lone/net.pdiparams",)),
        (("svd",), ("paddle2onnx fails", "unsupported operators", "svd")),
        (("new", "--opset", "99"), ("paddle2onnx fails", "between 7 and 21")),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_no_file(
    arguments: tuple[str, ...], words: tuple[str, ...], python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"

    ended = convert("from_paddle.py", arguments[0], str(path), *arguments[1:], folder=folder, python=python)

    require_one_line(ended, *words)
    assert list(tmp_path.iterdir()) == []
