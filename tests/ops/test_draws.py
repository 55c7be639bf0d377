from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from onnxvis.ops import draws
from tests.ops.oracle import computed, expected, node_model

ROWS = np.zeros((200, 300), np.float32)
CHANCES = np.full((200, 300), 0.3, np.float32)
CASES: list[tuple[str, list[np.ndarray], dict[str, Any]]] = [
    ("RandomNormal", [], {"shape": [200, 300], "mean": 2.0, "scale": 3.0}),
    ("RandomNormal", [], {"shape": [200, 300], "dtype": TensorProto.DOUBLE}),
    ("RandomNormalLike", [ROWS], {"mean": -1.0}),
    ("RandomNormalLike", [ROWS], {"dtype": TensorProto.DOUBLE}),
    ("RandomUniform", [], {"shape": [200, 300], "low": -2.0, "high": 3.0}),
    ("RandomUniformLike", [ROWS], {"low": 4.0, "high": 5.0}),
    ("Multinomial", [np.log(np.tile([0.2, 0.7, 0.1], (50, 1))).astype(np.float32)], {"sample_size": 1200}),
    ("Multinomial", [np.ones((50, 4), np.float32)], {"sample_size": 1200, "dtype": TensorProto.INT64}),
]


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), CASES)
def test_draws_are_distributed_as_in_onnxruntime(
    op_type: str, inputs: list[np.ndarray], attributes: dict[str, Any]
) -> None:
    (found,) = computed(op_type, inputs, 22, seed=3.0, **attributes)
    (wanted,) = expected(node_model(op_type, inputs, 15, seed=3.0, **attributes), inputs)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    shares = (0.01, 0.3, 0.6, 0.8, 0.99)
    spread = max(float(wanted.std()), 1e-12)
    np.testing.assert_allclose(np.quantile(found, shares), np.quantile(wanted, shares), atol=0.06 * spread)
    np.testing.assert_allclose(found.mean(), wanted.mean(), atol=0.02 * spread)


def test_bernoulli_draws_one_with_the_probability_that_the_input_says() -> None:
    # onnxruntime 1.31 draws zero with that probability, as the function body in the schema does, against its text.
    (found,) = computed("Bernoulli", [CHANCES], 15, seed=3.0)
    (integers,) = computed("Bernoulli", [CHANCES], 15, seed=3.0, dtype=TensorProto.INT64)
    assert found.dtype == np.float32
    assert integers.dtype == np.int64
    np.testing.assert_array_equal(found, integers)
    assert set(np.unique(found)) == {0, 1}
    assert abs(found.mean() - 0.3) < 0.01
    np.testing.assert_array_equal(computed("Bernoulli", [np.eye(3, dtype=np.float32)], 22)[0], np.eye(3))


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), [*CASES, ("Bernoulli", [CHANCES], {})])
def test_the_seed_decides(op_type: str, inputs: list[np.ndarray], attributes: dict[str, Any]) -> None:
    seeds: list[dict[str, Any]] = [{"seed": 1.5}, {"seed": 1.5}, {"seed": 1.6}, {}]
    one, again, other, none = (computed(op_type, inputs, 15, **attributes, **seed)[0] for seed in seeds)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(none, computed(op_type, inputs, 15, **attributes)[0])


def test_each_image_of_a_batch_gets_the_same_draws() -> None:
    images = torch.zeros(3, 4, 5)
    for draw in (draws.random_normal_like, draws.random_uniform_like, draws.bernoulli, draws.multinomial):
        together = torch.func.vmap(draw)(images)
        assert (together == draw(images[0])).all()
