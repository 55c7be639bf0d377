from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from onnxvis.tensors import from_array

_WIDEST = 64
"""Bytes of the widest registers: where a tensor begins at a multiple of them, kernels round alike."""


@pytest.mark.parametrize("offset", range(0, _WIDEST, 4))
def test_a_constant_begins_where_torch_puts_it_wherever_its_array_began(offset: int) -> None:
    values = np.random.default_rng(0).standard_normal(1000, np.float32)
    room = np.zeros(values.nbytes + 2 * _WIDEST, np.uint8)
    start = -room.ctypes.data % _WIDEST + offset
    array: np.ndarray[Any, Any] = room[start : start + values.nbytes].view(np.float32)
    array[:] = values
    found = from_array(array, torch.float32)
    assert found.data_ptr() % _WIDEST == 0
    np.testing.assert_array_equal(found.numpy(), values)
    array[:] = 0
    assert found.any()


@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        (np.float16, torch.float32),
        (np.uint16, torch.int32),
        (np.int8, torch.int8),
        (np.bool_, torch.bool),
        (ml_dtypes.bfloat16, torch.float32),
        (ml_dtypes.bfloat16, torch.bfloat16),
        (ml_dtypes.int4, torch.int8),
        (ml_dtypes.float8_e4m3fn, torch.float32),
    ],
)
def test_values_of_any_type_are_held(dtype: Any, held: torch.dtype) -> None:
    array: np.ndarray[Any, Any] = np.array([0, 1, 1, 0, 1]).astype(dtype)
    found = from_array(array, held)
    assert found.dtype == held
    assert found.tolist() == [0, 1, 1, 0, 1]
