"""The samples: what each file says about itself, and whether it still knows what it was trained on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
VALIDATION_SEED = 1_000_003
DRAWN = 256


@dataclass(frozen=True)
class Sample:
    """What `samples/README.md` says of a file; the accuracy is lower by what 256 drawings may miss by chance."""

    name: str
    drawings: str
    draw: str
    layout: str
    range: tuple[int, int]
    input_shape: tuple[int, ...]
    accuracy: float
    bytes: int

    @property
    def path(self) -> Path:
        """The file."""
        return SAMPLES / f"{self.name}.onnx"


CLASSIFIERS = [
    Sample("textures", "textures", "draw_batch", "NCHW", (0, 1), (3, 64, 64), 0.99, 700_000),
    Sample("textures_int8", "textures", "draw_batch", "NCHW", (0, 1), (3, 64, 64), 0.97, 200_000),
    Sample("grey", "textures", "draw_grey_batch", "NCHW", (0, 1), (1, 64, 64), 0.94, 600_000),
    Sample("keras_nhwc", "textures", "draw_batch", "NHWC", (0, 255), (64, 64, 3), 0.99, 600_000),
    Sample("signals", "signals", "draw_batch", "NCW", (-1, 1), (1, 256), 0.99, 250_000),
    Sample("volumes", "volumes", "draw_batch", "NCDHW", (0, 1), (1, 20, 20, 20), 0.94, 300_000),
]
BLOBS = Sample("blobs", "blobs", "draw_batch", "NCHW", (0, 1), (1, 64, 64), 0.0, 200_000)
EVERY = [*CLASSIFIERS, BLOBS]


def named(sample: Sample) -> str:
    return sample.name


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sample], tuple[Any, Any]]:
    """Make new drawings as the training scripts do: values as `onnxvis.range` says, channels first; and the answers."""
    monkeypatch.syspath_prepend(SAMPLES)

    def drawn(sample: Sample) -> tuple[Any, Any]:
        module = importlib.import_module(sample.drawings)
        return getattr(module, sample.draw)(np.random.default_rng([VALIDATION_SEED, 7]), DRAWN)  # type: ignore[no-any-return] # untyped by its nature

    return drawn


def metadata(sample: Sample) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(sample.path).metadata_props}


def answers(sample: Sample, drawings: Any) -> Any:
    """Run a file on drawings, prepared as its own metadata say."""
    told = metadata(sample)
    mean, std = (np.float32(json.loads(told[f"onnxvis.{key}"])[0]) for key in ("mean", "std"))
    high = json.loads(told["onnxvis.range"])[1]
    inputs = (drawings * np.float32(high) - mean) / std
    if told["onnxvis.layout"] == "NHWC":
        inputs = inputs.transpose(0, 2, 3, 1)
    session = onnxruntime.InferenceSession(sample.path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: inputs})
    return output


@pytest.mark.parametrize("sample", EVERY, ids=named)
def test_a_sample_is_a_valid_small_model_whose_batch_is_open(sample: Sample) -> None:
    model = onnx.load(sample.path)
    onnx.checker.check_model(model, full_check=True)
    (entry,) = model.graph.input
    batch, *sizes = entry.type.tensor_type.shape.dim
    assert batch.dim_param
    assert tuple(size.dim_value for size in sizes) == sample.input_shape
    assert sample.path.stat().st_size < sample.bytes


def test_the_relatives_of_the_first_sample_are_below_two_megabytes_together() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.onnx") if path.stem != "textures") < 2_000_000


def test_every_file_beside_the_scripts_is_tested_here() -> None:
    assert {path.stem for path in SAMPLES.glob("*.onnx")} == {sample.name for sample in EVERY}


@pytest.mark.parametrize("sample", EVERY, ids=named)
def test_a_sample_says_what_its_input_means(sample: Sample) -> None:
    told = metadata(sample)
    assert told["onnxvis.layout"] == sample.layout
    assert tuple(json.loads(told["onnxvis.range"])) == sample.range
    assert told["model_license"] == "MIT"


@pytest.mark.parametrize("sample", EVERY, ids=named)
def test_the_labels_are_as_many_as_the_outputs(sample: Sample) -> None:
    (output,) = onnx.load(sample.path).graph.output
    assert len(json.loads(metadata(sample)["onnxvis.labels"])) == output.type.tensor_type.shape.dim[1].dim_value


@pytest.mark.parametrize("sample", CLASSIFIERS, ids=named)
def test_a_classifier_knows_new_drawings(sample: Sample, draw: Callable[[Sample], tuple[Any, Any]]) -> None:
    drawings, classes = draw(sample)
    probabilities = answers(sample, drawings)
    # Eight bits do not add up to more than some steps.
    assert probabilities.sum(1) == pytest.approx(np.ones(DRAWN), abs=0.05 if sample.name.endswith("int8") else 1e-5)
    assert (probabilities.argmax(1) == classes).mean() >= sample.accuracy


def test_the_counter_counts_new_drawings(draw: Callable[[Sample], tuple[Any, Any]]) -> None:
    drawings, numbers = draw(BLOBS)
    counts = answers(BLOBS, drawings)
    assert np.abs(counts - numbers).mean() < 0.4
    assert np.abs(counts[numbers == 0]).mean() < 0.4


def test_a_file_from_keras_bears_the_names_of_its_layers() -> None:
    names = {node.name for node in onnx.load(SAMPLES / "keras_nhwc.onnx").graph.node}
    layers = [f"conv{number}/Relu" for number in range(1, 6)]
    assert names.issuperset([*layers, "predictions/Softmax"])
