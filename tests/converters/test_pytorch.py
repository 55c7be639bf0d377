from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch

import onnxvis
from tests.converters.running import convert, make, require_converted, require_one_line

pytest.importorskip("onnxscript", reason="needs onnxscript, which torch's dynamo exporter writes with")

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout()
        self.head = nn.Linear(4, 5)

    def forward(self, image):
        features = torch.relu(self.norm(self.conv1(image)))
        return self.head(self.dropout(features.mean((2, 3)))).softmax(1)


class Captioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.embedding = nn.Embedding(10, 4)

    def forward(self, tokens=None, mask=None, image=None):
        return self.conv(image).mean((2, 3)) * self.embedding(tokens).sum(1), self.embedding(tokens)


class Branching(nn.Module):
    def forward(self, x):
        if x.min() < 0:
            return -x
        return x


def make():
    return Net()


def broken():
    raise ValueError("no weights here")


def number():
    return 3
"""
SAVE = """
import nets, torch
torch.manual_seed(7)
net = nets.make().eval()
example = (torch.rand(1, 3, 16, 16),)
torch.export.save(torch.export.export(net, example), "net.pt2")
torch.jit.script(net).save("script.pt")
torch.save(net, "pickled.pt")
torch.save(net.state_dict(), "weights.pt")
torch.save([example[0], net(example[0]).detach()], "expected.pt")
"""
SHAPE = ("--shape", "1,3,16,16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pytorch")
    (made / "nets.py").write_text(NETS)
    make(SAVE, folder=made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exporter", "opset"), [("dynamo", 20), ("dynamo", 23), ("torchscript", 11), ("torchscript", 20)]
)
def test_both_exporters_write_a_factorys_model_with_what_its_input_means(
    exporter: str, opset: int, folder: Path
) -> None:
    labels = folder / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    path = folder / f"{exporter}{opset}.onnx"
    chosen = ("--exporter", exporter, "--opset", str(opset), "--preprocess", "torch", "--labels", str(labels))

    metadata = require_converted(
        convert("from_pytorch.py", "nets:make", str(path), *SHAPE, *chosen, folder=folder), path
    )

    assert onnx.load(path).opset_import[0].version == opset
    assert metadata["onnxvis.layout"] == "NCHW"
    assert json.loads(metadata["onnxvis.range"]) == [0, 1]
    assert json.loads(metadata["onnxvis.mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(metadata["onnxvis.std"]) == [0.229, 0.224, 0.225]
    assert json.loads(metadata["onnxvis.labels"]) == ["a", "b", "c", "d", "e"]
    assert onnxvis.load(path).names.find("conv1", source="").name is not None


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_dynamic_batch_is_left_open_and_compared_at_more_than_one(exporter: str, folder: Path) -> None:
    path = folder / f"open_{exporter}.onnx"
    chosen = ("--exporter", exporter, "--dynamic-batch")

    require_converted(convert("from_pytorch.py", "nets.py:make", str(path), *SHAPE, *chosen, folder=folder), path)

    (image,) = onnx.load(path).graph.input
    assert image.name == "image"
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == ["batch", 3, 16, 16]


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_inputs_are_given_by_name_and_one_between_them_is_left_out(exporter: str, folder: Path) -> None:
    path = folder / f"captioned_{exporter}.onnx"
    shapes = ("--shape", "image=1,3,8,8", "--shape", "tokens=1,6", "--integers", "tokens", "--exporter", exporter)

    require_converted(convert("from_pytorch.py", "nets:Captioned", str(path), *shapes, folder=folder), path)

    assert [value.name for value in onnx.load(path).graph.input] == ["tokens", "image"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("net.pt2", ()),
        ("script.pt", SHAPE),
        ("pickled.pt", (*SHAPE, "--unsafe-pickle")),
        ("nets:make", (*SHAPE, "--weights", "weights.pt")),
    ],
)
def test_what_was_saved_is_converted_with_its_weights(source: str, arguments: tuple[str, ...], folder: Path) -> None:
    path = folder / f"from_{source.partition(':')[0]}.onnx"

    metadata = require_converted(convert("from_pytorch.py", source, str(path), *arguments, folder=folder), path)

    image, expected = torch.load(folder / "expected.pt")
    torch.testing.assert_close(onnxvis.to_torch(path)(image), expected)
    assert metadata["onnxvis.layout"] == "NCHW"


def test_a_branch_that_tracing_fixed_is_noted_and_fails_the_comparison(folder: Path) -> None:
    arguments = ("nets:Branching", "branching.onnx", "--shape", "4,4", "--exporter", "torchscript")

    ended = convert("from_pytorch.py", *arguments, folder=folder)

    require_one_line(ended, "do not trust", "more than --tolerance")
    assert "note: " in ended.stdout
    assert "nets.py" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nets:nobody",), ("nets has no 'nobody'", "make")),
        (("nobody:make",), ("cannot import nobody",)),
        (("nobody.py:make",), ("there is no nobody.py",)),
        (("nobody.pt",), ("there is no nobody.pt",)),
        (("nets:broken", *SHAPE), ("nets:broken", "no weights here")),
        (("nets:number", *SHAPE), ("gives a int", "torch.nn.Module")),
        (("nets:make",), ("image", "--shape")),
        (("nets:make", "--shape", "picture=1,3,8,8"), ("missing a required argument", "(image)")),
        (("nets:make", "--shape", "1,4,16,16"), ("cannot run on inputs of these shapes",)),
        (("nets:make", *SHAPE, "--integers", "tokens"), ("--integers tokens", "image")),
        (("nets:make", *SHAPE, "--exporter", "torchscript", "--opset", "99"), ("torchscript exporter", "99")),
        (("nets:Branching", "--shape", "4,4"), ("dynamo exporter", "--exporter torchscript")),
        (("nets:Captioned", "--shape", "1,6", "--integers", "tokens", "--weights", "weights.pt"), ("does not fit",)),
        (("script.pt", *SHAPE, "--exporter", "dynamo"), ("TorchScript", "--exporter torchscript")),
        (("net.pt2", "--exporter", "torchscript"), ("torch.export program", "--exporter dynamo")),
        (("pickled.pt", *SHAPE), ("can run any code", "--unsafe-pickle")),
        (("weights.pt", *SHAPE, "--unsafe-pickle"), ("state dict", "--weights")),
        (("nets.py", "--unsafe-pickle"), ("torch cannot read nets.py",)),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_a_file_that_was_there_stays(
    arguments: tuple[str, ...], words: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "kept.onnx"
    path.write_bytes(b"as it was")

    ended = convert("from_pytorch.py", arguments[0], str(path), *arguments[1:], folder=folder)

    require_one_line(ended, *words)
    assert path.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [path]
