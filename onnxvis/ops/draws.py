"""Random tensors: the same seed, type and shape give the same numbers, always.

The specification leaves open which numbers; they are not those of onnxruntime, nor those of two nodes without a seed
different. So nothing behind such a node can be verified, but a picture can be drawn again. numpy draws them, since
torch refuses to under `torch.func.vmap`.
"""

from __future__ import annotations

import struct

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.table import Ints, operator


@operator("RandomNormal", differentiable=False)
def random_normal(
    *, dtype: int = TensorProto.FLOAT, mean: float = 0.0, scale: float = 1.0, seed: float | None = None, shape: Ints
) -> Tensor:
    """Draw from the normal distribution of this mean and standard deviation."""
    return _normal(shape, mean, scale, seed).to(torch_dtype(dtype))


@operator("RandomNormalLike", differentiable=False)
def random_normal_like(
    input: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    """As `random_normal`, in the shape of the input, and in its type unless another one is given."""
    return _normal(tuple(input.shape), mean, scale, seed).to(input.device, _chosen(dtype, input))


@operator("RandomUniform", differentiable=False)
def random_uniform(
    *, dtype: int = TensorProto.FLOAT, high: float = 1.0, low: float = 0.0, seed: float | None = None, shape: Ints
) -> Tensor:
    """Draw evenly from [low, high)."""
    return _uniform(shape, low, high, seed).to(torch_dtype(dtype))


@operator("RandomUniformLike", differentiable=False)
def random_uniform_like(
    input: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    """As `random_uniform`, in the shape of the input, and in its type unless another one is given."""
    return _uniform(tuple(input.shape), low, high, seed).to(input.device, _chosen(dtype, input))


@operator("Bernoulli", differentiable=False)
def bernoulli(input: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """Return 1 with the probability that the input says, else 0."""
    drawn = _uniform(tuple(input.shape), 0.0, 1.0, seed).to(input.device)
    return (drawn < input).to(_chosen(dtype, input))


@operator("Multinomial", differentiable=False)
def multinomial(
    input: Tensor, *, dtype: int = TensorProto.INT32, sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """Draw classes by their logarithmic probabilities: (N, classes) -> (N, sample_size); they need not add up to 1."""
    drawn = _uniform((input.shape[0], sample_size, 1), 0.0, 1.0, seed).to(input.device)
    passed = drawn >= input.double().softmax(1).cumsum(1).unsqueeze(1)
    return passed.sum(2).clamp(max=input.shape[1] - 1).to(torch_dtype(dtype))


def _normal(shape: Ints, mean: float, scale: float, seed: float | None) -> Tensor:
    return torch.from_numpy(np.asarray(_generator(seed).normal(mean, scale, shape)))


def _uniform(shape: Ints, low: float, high: float, seed: float | None) -> Tensor:
    return torch.from_numpy(np.asarray(_generator(seed).uniform(low, high, shape)))


def _generator(seed: float | None) -> np.random.Generator:
    """A generator for the bits of a float32 seed; without one it is that of 0."""
    return np.random.default_rng(struct.unpack("<I", struct.pack("<f", 0.0 if seed is None else seed))[0])


def _chosen(dtype: int | None, input: Tensor) -> torch.dtype:
    return input.dtype if dtype is None else torch_dtype(dtype)
