"""Attention that is linear in the length of the sequence, with a state in place of the past, and its convolution.

The operators of opset 27: a state S (N, heads, key size, value size), or the last inputs of a convolution, is all that
one part of a sequence hands on to the next.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import operator

_RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
"""Whether an update rule has a decay, and whether it corrects what the state already says."""


@operator("LinearAttention", since=27)
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """Return o_t = scale S_t^T q_t for each token t, and the last state S_T.

    With v'_t = beta_t (v_t - S^T k_t) in the rules with "delta", else v_t, and S = exp(g_t) S_{t-1} in the gated ones,
    else S_{t-1}, the state becomes S_t = S + k_t v'_t^T. Yang et al., "Gated Delta Networks", 2024,
    https://arxiv.org/abs/2412.06464.

    Args:
        query: (N, T, q_num_heads * key size), the heads side by side.
        key: (N, T, kv_num_heads * key size).
        value: (N, T, kv_num_heads * value size).
        past_state: (N, kv_num_heads, key size, value size); zeros where omitted.
        decay: g_t, (N, T, kv_num_heads), or for each element of a key (N, T, kv_num_heads * key size).
        beta: (N, T, kv_num_heads) or (N, T, 1).
        chunk_size: How the steps may be grouped; they are not.
        kv_num_heads: The heads of key and value; each serves as many successive heads of the query.
        q_num_heads: The heads of the query.
        scale: Factor of the output; 0 is 1 / sqrt(key size).
        update_rule: "linear", "gated", "delta" or "gated_delta".

    Raises:
        UnsupportedOpError: The update rule is another one, or one of its inputs is missing.
    """
    del chunk_size
    gate, rate = _needed(update_rule, decay, beta)
    q, k, v = _steps(query, q_num_heads), _steps(key, kv_num_heads), _steps(value, kv_num_heads)
    factors = None if gate is None else _steps(gate, kv_num_heads)
    rates = None if rate is None else _steps(rate, rate.shape[-1])
    state = _first_state(past_state, q[0], v[0], kv_num_heads)
    read = []
    for t, (q_t, k_t, v_t) in enumerate(zip(q, k, v, strict=True)):
        decayed = state if factors is None else factors[t].exp().unsqueeze(-1) * state
        written = v_t if rates is None else rates[t] * (v_t - _product(k_t, decayed))
        state = decayed + k_t.unsqueeze(-1) * written.unsqueeze(-2)
        read.append(_product(_grouped(q_t, kv_num_heads), state.unsqueeze(2)))
    output = torch.stack(read, 1).flatten(2) * (scale or q[0].shape[-1] ** -0.5)
    return output.to(query.dtype), state.to(query.dtype if past_state is None else past_state.dtype)


@operator("CausalConvWithState", since=27)
def causal_conv_with_state(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """Convolve each channel with its own kernel over what came before, and return the last k - 1 inputs as well.

    Args:
        input: (N, C, T).
        weight: (C, 1, k).
        bias: (C,).
        past_state: The k - 1 inputs before the first, (N, C, k - 1); zeros where omitted.
        activation: "silu" or "swish" of the result, or "none".

    Raises:
        UnsupportedOpError: Another activation.
    """
    if activation not in {"none", "silu", "swish"}:
        message = f"CausalConvWithState: activation {activation!r} is not implemented; none, silu and swish are"
        raise UnsupportedOpError(message, op_type="CausalConvWithState", activation=activation)
    before = weight.shape[-1] - 1
    padded = functional.pad(input, (before, 0)) if past_state is None else torch.cat([past_state, input], -1)
    convolved = functional.conv1d(padded, weight, bias, groups=weight.shape[0])
    output = convolved if activation == "none" else functional.silu(convolved)
    return output, padded[..., padded.shape[-1] - before :]


def _needed(rule: str, decay: Tensor | None, beta: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if rule not in _RULES:
        message = f"LinearAttention: update_rule {rule!r} is not implemented; {', '.join(_RULES)} are"
        raise UnsupportedOpError(message, op_type="LinearAttention", update_rule=rule)
    gated, corrected = _RULES[rule]
    if (gated and decay is None) or (corrected and beta is None):
        message = f"LinearAttention: update_rule {rule!r} lacks its input {'decay' if decay is None else 'beta'}"
        raise UnsupportedOpError(message, op_type="LinearAttention", update_rule=rule)
    return decay if gated else None, beta if corrected else None


def _steps(x: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Take (N, T, heads * size) apart, T times (N, heads, size), in float32 at least: less would lose the state."""
    return x.to(_wide(x)).reshape(*x.shape[:2], heads, -1).unbind(1)


def _grouped(q: Tensor, heads: int) -> Tensor:
    """Put the query heads that share a head together: (N, heads * group, size) -> (N, heads, group, size)."""
    return q.reshape(q.shape[0], heads, -1, q.shape[-1])


def _first_state(past: Tensor | None, q: Tensor, v: Tensor, heads: int) -> Tensor:
    return q.new_zeros(q.shape[0], heads, q.shape[-1], v.shape[-1]) if past is None else past.to(_wide(past))


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _product(vectors: Tensor, matrices: Tensor) -> Tensor:
    """Multiply (..., size) by (..., size, other size)."""
    return (vectors.unsqueeze(-2) @ matrices).squeeze(-2)
