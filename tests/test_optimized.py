"""Whole models as onnxruntime's optimizers write them: the same values, the same gradients."""

from __future__ import annotations

import functools
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import onnxvis
from onnxvis.errors import UnsupportedOpError
from onnxvis.lower import lower
from onnxvis.model import load
from tests.models import parsed, random_weights

Array = npt.NDArray[Any]
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class SqueezeExcitation(nn.Module):
    """Scales each channel by what all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 2, 1)
        self.excite = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class ConvNet(nn.Module):
    """A residual block, squeeze and excitation, and every activation that is fused into a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.scale = SqueezeExcitation(8)
        self.clipped, self.gated = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)
        self.classify = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) -> (N, 5)."""
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.second(functional.leaky_relu(self.first(x), 0.1)))
        x = functional.relu6(self.clipped(self.scale(x)))
        x = functional.hardsigmoid(self.gated(x))
        return torch.tanh(self.classify(x.mean((2, 3))))


class Layer(nn.Module):
    """A transformer's layer as BERT has it, written so that the optimizers recognize it."""

    def __init__(self, activation: str, *, norm_first: bool, size: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.activation, self.norm_first, self.heads = activation, norm_first, heads
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.widen, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, C) -> (N, S, C)."""
        if self.norm_first:
            x = x + self.attend(self.norm1(x))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(self.attend(x) + x)
        return self.norm2(self.feed_forward(x) + x)  # type: ignore[no-any-return] # a module's call is untyped

    def attend(self, x: Tensor) -> Tensor:
        """Attention of all tokens to all."""
        query, key, value = (self.split(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), -1)
        joined = (weights @ value).permute(0, 2, 1, 3).contiguous()
        return self.out(joined.view(x.shape[0], x.shape[1], x.shape[2]))  # type: ignore[no-any-return] # as above

    def split(self, x: Tensor) -> Tensor:
        """(N, S, C) -> (N, H, S, D)."""
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).permute(0, 2, 1, 3)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Widen, bend and narrow each token."""
        wide = self.widen(x)
        if self.activation == "quick":
            return self.narrow(wide * torch.sigmoid(1.702 * wide))  # type: ignore[no-any-return] # as above
        return self.narrow(functional.gelu(wide, approximate=self.activation))  # type: ignore[no-any-return] # as above


class Encoder(nn.Module):
    """Two layers between a projection and a normalization."""

    def __init__(self, activation: str, *, norm_first: bool = False) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(12, 16), nn.LayerNorm(16)
        self.layers = nn.Sequential(*(Layer(activation, norm_first=norm_first) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, 12) -> (N, S, 16)."""
        return self.norm(self.layers(self.embed(x)))  # type: ignore[no-any-return] # as above


Build = Callable[[], nn.Module]
ENCODERS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "encoder": (functools.partial(Encoder, "none"), (1, 5, 12)),
    "encoder, norms first": (functools.partial(Encoder, "quick", norm_first=True), (1, 5, 12)),
    "encoder, approximate": (functools.partial(Encoder, "tanh"), (1, 5, 12)),
}
NETWORKS: dict[str, tuple[Build, tuple[int, ...]]] = {"convolutions": (ConvNet, (1, 3, 16, 16)), **ENCODERS}


@functools.cache
def exported(name: str, opset: int) -> bytes:
    """A network with random weights, norms included, as the TorchScript exporter writes it."""
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and its files are everywhere
        path = Path(folder) / "exported.onnx"
        torch.onnx.export(network, (torch.rand(shape),), path, opset_version=opset, dynamo=False)
        return path.read_bytes()


def optimized(model: bytes, level: str, folder: Path) -> Path:
    """What onnxruntime saves at a level."""
    path = folder / f"{level}.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return path


def fused(model: bytes, model_type: str, folder: Path) -> Path:
    """What onnxruntime's tool for transformers saves."""
    optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")
    source, path = folder / "source.onnx", folder / "fused.onnx"
    source.write_bytes(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer.optimize_model(str(source), model_type, num_heads=2, hidden_size=16, opt_level=0).save_model_to_file(
            str(path)
        )
    return path


def operators(path: Path) -> set[str]:
    """The operators of a file, those of the default domain left out."""
    return {node.op_type for node in onnx.load(path).graph.node if node.domain not in {"", "ai.onnx"}}


def gradient(model: bytes | Path) -> Array:
    """The gradient of a mixture of the outputs to the input, at a fixed input."""
    network = lower(load(model))
    (name,) = network.input_names
    shape = load(model).spec(load(model).values[name]).shape or ()
    generator = torch.Generator().manual_seed(1)
    x = torch.rand([int(str(size)) for size in shape], generator=generator).requires_grad_()
    output = network(x)
    (found,) = torch.autograd.grad((output * torch.rand(output.shape, generator=generator)).sum(), x)
    return found.numpy()


def assert_same_model(path: Path, original: bytes) -> None:
    """Every float tensor agrees with onnxruntime, and the gradient with that of the file before it was optimized."""
    report = onnxvis.verify(path)
    assert report.ok, str(report)
    assert not report.skipped
    found, wanted = gradient(path), gradient(original)
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("level", ["basic", "extended"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_export_optimized_by_onnxruntime_is_the_same_model(
    name: str, level: str, opset: int, tmp_path: Path
) -> None:
    original = exported(name, opset)
    path = optimized(original, level, tmp_path)
    assert bool(operators(path)) == (level == "extended")
    assert_same_model(path, original)


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("model_type", ["bert", "clip"])
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_fused_by_the_tool_for_transformers_is_the_same_model(
    name: str, model_type: str, opset: int, tmp_path: Path
) -> None:
    original = exported(name, opset)
    path = fused(original, model_type, tmp_path)
    assert {"SkipLayerNormalization"} < operators(path)
    assert_same_model(path, original)


def test_the_fused_operators_are_those_that_the_optimizers_are_known_for(tmp_path: Path) -> None:
    convolutions = operators(optimized(exported("convolutions", 17), "extended", tmp_path))
    assert convolutions == {"FusedConv", "FusedGemm"}
    encoder = operators(optimized(exported("encoder", 17), "extended", tmp_path))
    assert encoder == {"FusedMatMul", "Gelu", "SkipLayerNormalization"}
    assert operators(fused(exported("encoder", 17), "bert", tmp_path)) == {
        "Attention",
        "BiasGelu",
        "SkipLayerNormalization",
    }


SUMMED = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 9, 9] x) => (float[1, 4, 5, 5] y)
{
    left = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1, b1)
    right = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w2, b2)
    kept = Identity (right)
    total = Add (left, kept)
    y = Relu (total)
}
"""


def test_a_convolution_with_a_fused_sum_and_activation_is_the_same_model(tmp_path: Path) -> None:
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 3, 3, 3), "b2": (4,)}
    original = parsed(SUMMED, **random_weights(shapes)).SerializeToString()
    assert_same_model(optimized(original, "extended", tmp_path), original)


def test_a_file_in_the_blocked_layout_of_one_machine_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = optimized(exported("convolutions", 17), "all", tmp_path)
    if "ReorderOutput" not in operators(path):
        pytest.skip("onnxruntime has no blocked layout for this machine")
    with pytest.raises(UnsupportedOpError, match="ORT_ENABLE_EXTENDED"):
        lower(load(path))
