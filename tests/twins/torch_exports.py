"""A small network as torch's two exporters write it."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import torch
from onnx import ModelProto
from torch import nn


class Residual(nn.Module):
    """A small network with batch normalization, a residual connection and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.features = nn.Sequential(
            nn.SiLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(12, 20, 3), nn.GELU(), nn.Dropout(0.3)
        )
        self.scores = nn.Linear(20, 6)
        self.box = nn.Sequential(nn.LayerNorm(20), nn.Linear(20, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two outputs of images (N, 3, 32, 32): probabilities (N, 6) and numbers (N, 4)."""
        x = self.stem(x)
        x = self.features(x + self.pointwise(self.depthwise(x)))
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        return torch.softmax(self.scores(pooled), 1), self.box(pooled)


def residual() -> Residual:
    """The small network with seeded weights, statistics as after a training, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = Residual()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
                module.running_mean = torch.randn(module.num_features) * 0.3
                module.running_var = torch.rand(module.num_features) * 0.5 + 0.02
    return network.eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let exporters warn of what they deprecate, and print and log what they do."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@functools.cache
def exported(*, dynamo: bool, version: int, folded: bool = True) -> ModelProto:
    """The small network as one of the exporters writes it; without `folded`, its BatchNormalization stands alone."""
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "residual.onnx"
        torch.onnx.export(
            residual(),
            (images,),
            path,
            dynamo=dynamo,
            external_data=False,
            opset_version=version,
            input_names=["images"],
            output_names=["scores", "box"],
            training=mode,
            do_constant_folding=folded,
        )
        return onnx.load(path)


def exported_again(*, dynamo: bool, version: int, folded: bool = True) -> Callable[[ModelProto], ModelProto]:
    """Export the small network in another way, whatever the first file was."""

    def make(_: ModelProto) -> ModelProto:
        twin = ModelProto()
        twin.CopyFrom(exported(dynamo=dynamo, version=version, folded=folded))
        return twin

    return make
