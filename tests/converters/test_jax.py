from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.converters.environments import python_with
from tests.converters.running import convert, require_converted, require_one_line

NETS = """
import jax
import jax.numpy as jnp


def network(parameters, image):
    kernel, weights = parameters
    order = ("NHWC", "HWIO", "NHWC")
    features = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=order)
    return jax.nn.softmax(jax.nn.gelu(features).mean((1, 2)) @ weights)


def make():
    key = jax.random.PRNGKey(0)
    return network, (jax.random.normal(key, (3, 3, 3, 4)) * 0.2, jax.random.normal(key, (4, 5)))


def closed():
    function, parameters = make()
    return jax.jit(lambda image: function(parameters, image))


def tokens():
    table = jax.random.normal(jax.random.PRNGKey(0), (10, 4))
    return lambda ids, scale: (table[ids] * scale[:, None, None]).sum(1)


def flax():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs, use_running_average=True)
            self.head = nnx.Linear(4, 5, rngs=rngs)

        def __call__(self, image):
            return self.head(nnx.relu(self.norm(self.conv(image))).mean((1, 2)))

    return Net(nnx.Rngs(0))


def loop():
    return lambda x: jax.lax.fori_loop(0, 3, lambda index, carried: jnp.tanh(carried) * 1.5, x)


def unknown():
    return lambda x: jnp.linalg.eigh(x @ x.T)[1]


def number():
    return 3
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("jax")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("jax")
    (made / "nets.py").write_text(NETS)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "arguments", "layout"),
    [
        ("make", ("--shape", "1,8,8,3"), "NHWC"),
        ("closed", ("--shape", "1,8,8,3", "--opset", "17"), "NHWC"),
        ("make", ("--shape", "image=1,8,8,3", "--dynamic-batch"), "NHWC"),
        ("flax", ("--shape", "1,8,8,3"), "NHWC"),
        ("tokens", ("--shape", "1,5", "--shape", "1", "--integers", "ids"), None),
        ("loop", ("--shape", "1,4"), "NC"),
    ],
)
def test_a_function_is_converted_with_its_parameters(
    factory: str, arguments: tuple[str, ...], layout: str | None, python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    told = ("--preprocess", "unit")

    ended = convert("from_jax.py", f"nets:{factory}", str(path), *arguments, *told, folder=folder, python=python)

    metadata = require_converted(ended, path)
    assert metadata.get("onnxvis.layout") == layout
    assert json.loads(metadata["onnxvis.range"]) == [0, 1]


@pytest.mark.slow
def test_inputs_bear_the_names_of_the_functions_parameters(python: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    shapes = ("--shape", "scale=2", "--shape", "ids=2,5", "--integers", "ids", "--dynamic-batch")

    require_converted(convert("from_jax.py", "nets.py:tokens", str(path), *shapes, folder=folder, python=python), path)

    ids, scale = onnx.load(path).graph.input
    assert (ids.name, scale.name) == ("ids", "scale")
    assert [dim.dim_param or dim.dim_value for dim in ids.type.tensor_type.shape.dim] == ["batch", 5]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("net.onnx",), ("module:callable",)),
        (("nets:nobody",), ("nets has no 'nobody'", "make")),
        (("nets:number", "--shape", "1"), ("gives a int", "(function, parameters)")),
        (("nets:make",), ("image", "--shape")),
        (("nets:make", "--shape", "1,8,8,4"), ("cannot run on inputs of these shapes",)),
        (("nets:make", "--shape", "1,8,8,3", "--opset", "99"), ("--opset 99", "newest")),
        (("nets:unknown", "--shape", "3,3"), ("jax2onnx fails", "eigh")),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_no_file(
    arguments: tuple[str, ...], words: tuple[str, ...], python: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"

    ended = convert("from_jax.py", arguments[0], str(path), *arguments[1:], folder=folder, python=python)

    require_one_line(ended, *words)
    assert list(tmp_path.iterdir()) == []
