"""Transformers: tokens x channels, from patches to logits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from onnxvis import load, to_torch, visualize
from onnxvis.cli import main
from onnxvis.errors import TargetError
from onnxvis.model import Model
from onnxvis.oracle import Oracle
from onnxvis.render import read_png
from tests.models import parsed, random_weights

TRANSFORMER = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 16, 16] image) => (float[N, 17, 8] mixed)
{
    patches = Conv <strides = [4, 4], kernel_shape = [4, 4]> (image, patch)
    flat_shape = Constant <value = int64[3] {0, 8, -1}> ()
    flat = Reshape (patches, flat_shape)
    rows = Transpose <perm = [0, 2, 1]> (flat)
    tokens = Concat <axis = 1> (cls, rows)
    normed = LayerNormalization <axis = -1> (tokens, scale, shift)
    q = MatMul (normed, wq)
    k = MatMul (normed, wk)
    v = MatMul (normed, wv)
    kt = Transpose <perm = [0, 2, 1]> (k)
    scores = MatMul (q, kt)
    weights = Softmax <axis = -1> (scores)
    attended = MatMul (weights, v)
    mixed = Add (tokens, attended)
}
"""
WEIGHTS = {
    "patch": (8, 3, 4, 4),
    "cls": (1, 1, 8),
    "scale": (8,),
    "shift": (8,),
    "wq": (8, 8),
    "wk": (8, 8),
    "wv": (8, 8),
}


@pytest.fixture(scope="module")
def file() -> bytes:
    """One layer of attention over sixteen patches and a class token."""
    return parsed(TRANSFORMER, **random_weights(WEIGHTS)).SerializeToString()


@pytest.fixture(scope="module")
def transformer(file: bytes) -> Model:
    """The same, loaded."""
    return load(file)


def test_the_channels_of_tokens_are_last(transformer: Model) -> None:
    axes = {node.tensor: node.channel_axis for node in transformer.nodes}
    assert {axes[name] for name in ("tokens", "normed", "q", "attended", "mixed")} == {2}
    assert axes["patches"] == 1


@pytest.mark.parametrize("token", [0, 5, -1])
def test_one_token_of_one_channel_is_maximized_and_measured(transformer: Model, token: int) -> None:
    result = visualize(transformer, node="attended", filters=3, neuron=token, steps=8, preprocess="unit")
    wanted = Oracle(transformer, ["attended"]).run({"image": result.parts[0].array})["attended"][0, token, 3]
    assert result.activation == pytest.approx(float(wanted), abs=1e-4)
    assert result.activation > result.seed_activation


def test_the_gradient_of_a_token_comes_from_all_patches_through_attention(transformer: Model) -> None:
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    to_torch(transformer, "attended")(image)[0, 0, 3].backward()
    assert image.grad is not None
    assert bool((image.grad.abs().amax(dim=1) > 0).all())


def test_the_command_line_takes_a_token(
    file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vit.onnx").write_bytes(file)
    monkeypatch.chdir(tmp_path)
    words = ["visualize", "vit.onnx", "--node", "mixed", "--filter", "2", "--steps", "2", "-o", "p.png"]
    for token, code in (("4", 0), ("17", 1)):
        monkeypatch.setattr(sys, "argv", ["onnxvis", *words, "--token", token])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == code
    assert read_png(tmp_path / "p.png")[1]["recipe"]["neuron"] == [4]
    assert "Neuron 17 is not one of the target's positions" in capsys.readouterr().err


def test_a_convolution_has_no_single_token(transformer: Model) -> None:
    with pytest.raises(TargetError, match="give 2 numbers"):
        visualize(transformer, node="patches", filters=3, neuron=4, steps=2)
