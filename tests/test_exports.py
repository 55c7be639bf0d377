"""Networks as torch's two exporters write them: onnxruntime's numbers, a gradient, names, and axes of channels."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from onnxvis.api import to_torch
from onnxvis.model import Model, load
from onnxvis.verify import verify

Exporter = Literal["torchscript", "dynamo"]
Export = Callable[[nn.Module, tuple[int, ...], Exporter, int], Model]

needs_onnxscript = pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="needs onnxscript, by which torch's dynamo exporter writes"
)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers, whose networks are exported"
)
EXPORTERS = [
    pytest.param("torchscript", 11),
    pytest.param("torchscript", 20),
    pytest.param("dynamo", 18, marks=needs_onnxscript),
    pytest.param("dynamo", 23, marks=needs_onnxscript),
]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Export a network in eval mode with random weights."""

    def exported(network: nn.Module, shape: tuple[int, ...], exporter: Exporter, opset: int) -> Model:
        path = tmp_path / f"{exporter}_{opset}.onnx"
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        with quiet():
            torch.onnx.export(
                network.eval(), (x,), path, dynamo=exporter == "dynamo", opset_version=opset, verbose=False
            )
        return load(path)

    return exported


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let exporters warn of what they deprecate, and log what they skip."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def checked(model: Model) -> Model:
    """All tensors agree with onnxruntime's, and a gradient arrives at the input; return the model with all shapes."""
    report = verify(model)
    assert report.ok, report
    assert not report.skipped
    assert len(report.comparisons) == len(model.activations)
    network = to_torch(model)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(tuple(int(size or 1) for size in model.inputs[0].shape or ()), generator=generator)
    results = network(x.requires_grad_())
    # Random weights: the sum over what a layer normalization returns has no gradient.
    outputs = results if isinstance(results, tuple) else (results,)
    weighted = [(torch.randn(y.shape, generator=generator) * y).sum() for y in outputs]
    (gradient,) = torch.autograd.grad(torch.stack(weighted).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-4
    return model.at({item.tensor: item.shape for item in report.comparisons})


def axes_of(model: Model, layers: Iterable[str]) -> dict[str, int | None]:
    """Find layers by the names that they have in torch, and the axes of their channels."""
    return {layer: model.channel_axes.get(str(model.names.find(layer).name)) for layer in layers}


class Block(nn.Module):
    """Convolution, batch normalization, squeeze and excitation, and a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding="same", groups=2)
        self.norm = nn.BatchNorm2d(channels)
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = nn.functional.silu(self.norm(self.conv(x)))
        return x + y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))


class Pyramid(nn.Module):
    """A detector in small: two scales, joined as boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.down = nn.MaxPool2d(3, stride=2, padding=1)
        self.head = nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, boxes, 6)."""
        fine = self.blocks[0](nn.functional.hardswish(self.stem(x)))
        coarse = self.blocks[1](self.down(fine))
        fine = fine + nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return torch.cat([self.head(y).flatten(2) for y in (fine, coarse)], 2).transpose(1, 2)


class Encoder(nn.Module):
    """Patches, attention, and a multilayer perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, stride=4)
        self.norm = nn.LayerNorm(12)
        self.qkv = nn.Linear(12, 36)
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
        self.classes = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 5)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).reshape(len(x), -1, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 2, -1)
        tokens = tokens + (weights @ v).transpose(1, 2).flatten(2)
        logits: Tensor = self.classes((tokens + self.mlp(tokens)).mean(1))
        return logits


class Recurrent(nn.Module):
    """A convolution over time, a GRU in both directions, and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5, padding=2)
        self.norm = nn.GroupNorm(2, 6)
        self.gru = nn.GRU(6, 4, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(8, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 5)."""
        y = nn.functional.elu(self.norm(self.conv(x))).transpose(1, 2)
        hidden: Tensor = self.lstm(self.gru(y)[0])[0]
        return hidden.amax(1)


@pytest.mark.parametrize(("exporter", "opset"), EXPORTERS)
@pytest.mark.parametrize(
    ("network", "shape", "axes"),
    [
        (Pyramid, (1, 3, 16, 16), {"stem": 1, "blocks.0.conv": 1, "blocks.1.gate": 1, "head": 1}),
        (Encoder, (1, 3, 16, 16), {"patches": 1, "norm": 2, "qkv": 2, "mlp.0": 2, "mlp": 2, "classes": 1}),
        (Recurrent, (1, 2, 12), {"conv": 1, "norm": 1}),
    ],
)
def test_torch_networks_are_the_same_in_torch_again(
    export: Export,
    network: Callable[[], nn.Module],
    shape: tuple[int, ...],
    axes: dict[str, int],
    exporter: Exporter,
    opset: int,
) -> None:
    torch.manual_seed(0)
    model = checked(export(network(), shape, exporter, opset))
    assert axes_of(model, axes) == axes


@pytest.fixture(scope="session")
def build(root: Path) -> Callable[..., tuple[nn.Module, Tensor]]:
    """The benchmark's function that builds a tiny network of transformers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "benchmarks")
        with quiet():
            module: Any = importlib.import_module("export_models")
    return module.build  # type: ignore[no-any-return] # a script, untyped from here


@needs_transformers
@pytest.mark.parametrize(("exporter", "opset"), [EXPORTERS[1], EXPORTERS[3]])
@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("vit", {"layers.0.attention.q_proj": 2, "layers.1.mlp.fc1": 2, "projection": 1}),
        ("convnextv2", {"stages.1.layers.0.dwconv": 1, "stages.1.layers.0.pwconv1": 3}),
        ("swin", {"encoder.layers.0.blocks.1.attention.q_proj": 2}),
        ("detr", {"class_labels_classifier": 2}),
        ("wav2vec2", {"feature_projection": 2}),
    ],
)
def test_networks_of_transformers_are_the_same_in_torch_again(
    export: Export,
    build: Callable[..., tuple[nn.Module, Tensor]],
    name: str,
    axes: dict[str, int],
    exporter: Exporter,
    opset: int,
) -> None:
    with quiet():
        network, x = build(name)
    model = checked(export(network, tuple(x.shape), exporter, opset))
    assert axes_of(model, axes) == axes
