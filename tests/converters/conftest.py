"""What the tests of the TensorFlow side share: an interpreter, and a folder of small models made by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.converters.environments import python_with, run

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tensorflow() -> Path:
    """The interpreter of an environment with TensorFlow, Keras and tf2onnx."""
    return python_with("tensorflow")


@pytest.fixture(scope="session")
def tensorflow_models(tensorflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models of Keras, TensorFlow and TensorFlow Lite."""
    folder = tmp_path_factory.mktemp("tensorflow_models")
    finished = run(tensorflow, HERE / "tensorflow_models.py", folder)
    assert finished.returncode == 0, finished.stderr
    return folder
