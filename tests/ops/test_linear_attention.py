from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.linear_attention import causal_conv_with_state, linear_attention
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
N, LENGTH, SIZE, VALUE_SIZE = 2, 5, 3, 4
RULES = ["linear", "gated", "delta", "gated_delta"]


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def sequence(rule: str, heads: int, kv_heads: int, *, past: bool, wide_decay: bool = False) -> list[Array | None]:
    decay = -np.abs(draw(N, LENGTH, kv_heads * (SIZE if wide_decay else 1))) if "gated" in rule else None
    beta = RNG.uniform(size=(N, LENGTH, 1 if wide_decay else kv_heads)).astype(np.float32) if "delta" in rule else None
    state = draw(N, kv_heads, SIZE, VALUE_SIZE) if past else None
    tokens = [draw(N, LENGTH, heads * SIZE), draw(N, LENGTH, kv_heads * SIZE), draw(N, LENGTH, kv_heads * VALUE_SIZE)]
    inputs = [*tokens, state, decay, beta]
    while inputs[-1] is None:
        inputs.pop()
    return inputs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("wide_decay", [False, True])
def test_linear_attention_agrees(wide_decay: bool, past: bool, kv_heads: int, rule: str) -> None:
    inputs = sequence(rule, 4, kv_heads, past=past, wide_decay=wide_decay)
    attributes: dict[str, Any] = {"q_num_heads": 4, "kv_num_heads": kv_heads, "update_rule": rule}
    assert_agrees("LinearAttention", inputs, 27, outputs=2, **attributes)
    assert_agrees("LinearAttention", inputs, 27, outputs=2, scale=0.3, chunk_size=2, **attributes)


def test_a_sequence_in_two_parts_is_the_sequence() -> None:
    tokens = [torch.from_numpy(x) for x in sequence("gated_delta", 2, 2, past=False) if x is not None]

    def attend(part: list[torch.Tensor], state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value, decay, beta = part
        return linear_attention(query, key, value, state, decay, beta, q_num_heads=2, kv_num_heads=2)

    whole, last = attend(tokens, None)
    first, state = attend([x[:, :2] for x in tokens], None)
    second, end = attend([x[:, 2:] for x in tokens], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


def test_half_precision_is_accumulated_in_single_precision() -> None:
    rule: dict[str, Any] = {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": "linear", "scale": 1.0}
    ones = torch.ones(1, 300, 1, dtype=torch.bfloat16)
    output, state = linear_attention(ones, ones, ones, **rule)
    assert output.dtype == state.dtype == torch.bfloat16
    assert output[0, -1, 0] == 300


@pytest.mark.parametrize("rule", RULES)
def test_linear_attention_has_the_gradient_of_finite_differences(rule: str) -> None:
    given = [None if x is None else torch.from_numpy(x).double() for x in sequence(rule, 2, 1, past=True)]
    tokens = [x[:1, :3] if x is not None and x.ndim == 3 else x for x in given]
    state = given[3]
    assert state is not None
    tokens[3] = state[:1]
    free = [x.requires_grad_() for x in tokens if x is not None]

    def function(*values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        remaining = iter(values)
        inputs: list[Any] = [None if x is None else next(remaining) for x in tokens]
        return linear_attention(*inputs, q_num_heads=2, kv_num_heads=1, update_rule=rule)

    assert gradcheck(function, free)


def test_an_update_rule_without_its_inputs_is_refused() -> None:
    tokens = sequence("linear", 1, 1, past=False)
    heads: dict[str, Any] = {"q_num_heads": 1, "kv_num_heads": 1}
    with pytest.raises(UnsupportedOpError, match="'gated' lacks its input decay"):
        computed("LinearAttention", tokens, 27, outputs=2, update_rule="gated", **heads)
    with pytest.raises(UnsupportedOpError, match="update_rule 'other' is not implemented"):
        computed("LinearAttention", tokens, 27, outputs=2, update_rule="other", **heads)


@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("given", ["nothing", "bias", "state", "both"])
def test_causal_conv_with_state_agrees(given: str, length: int, kernel: int, activation: str) -> None:
    bias = draw(3) if given in {"bias", "both"} else None
    state = [draw(2, 3, kernel - 1)] if given in {"state", "both"} else []
    inputs = [draw(2, 3, length), draw(3, 1, kernel), bias, *state]
    assert_agrees("CausalConvWithState", inputs, 27, outputs=2, activation=activation)


def test_causal_conv_with_state_has_the_gradient_of_finite_differences() -> None:
    shapes = ((1, 2, 4), (2, 1, 3), (2,), (1, 2, 2))
    inputs = [torch.from_numpy(draw(*shape)).double().requires_grad_() for shape in shapes]
    assert gradcheck(lambda *x: causal_conv_with_state(*x, activation="silu"), inputs)


def test_another_activation_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="'relu' is not implemented"):
        computed("CausalConvWithState", [draw(1, 2, 4), draw(2, 1, 3)], 27, outputs=2, activation="relu")
