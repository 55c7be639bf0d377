from typing import Any

import numpy as np
import pytest
import torch

from onnxvis.checks.accumulation import is_running_sum
from onnxvis.ops.linear import gemm
from onnxvis.ops.normalization import instance_normalization, layer_normalization
from onnxvis.ops.pool import average_pool, global_average_pool


def running_mean(array: np.ndarray, lanes: int = 4) -> np.float32:
    """Add up side by side, as processors do, number by number."""
    sums = np.cumsum(array.reshape(-1, lanes), axis=0, dtype=np.float32)[-1]
    return np.float32(sums.sum(dtype=np.float32) / np.float32(array.size))


@pytest.mark.parametrize("size", [64, 224, 512])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_a_mean_that_is_added_up_number_by_number_is_rounding_at_any_size(size: int, value: float) -> None:
    image = np.full((1, 1, size, size), value, np.float32)
    found = torch.tensor(running_mean(image)).reshape(1, 1, 1, 1)
    assert is_running_sum("GlobalAveragePool", global_average_pool, [torch.from_numpy(image)], {}, [found])


@pytest.mark.parametrize("size", [64, 224, 512])
def test_a_mean_that_leaves_out_a_hundredth_is_wrong_at_any_size(size: int) -> None:
    image = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    wrong = global_average_pool(image) * 0.99
    assert not is_running_sum("GlobalAveragePool", global_average_pool, [image], {}, [wrong])


def test_each_side_must_be_near_the_exact_result() -> None:
    image = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    right = global_average_pool(image)
    assert is_running_sum("GlobalAveragePool", global_average_pool, [image], {}, [right, right])
    assert not is_running_sum("GlobalAveragePool", global_average_pool, [image], {}, [right * 1.001, right])
    assert not is_running_sum("GlobalAveragePool", global_average_pool, [image], {}, [right, right * 1.001])
    assert not is_running_sum("GlobalAveragePool", global_average_pool, [image], {}, [right, right[0]])


def test_what_adds_up_nothing_is_never_excused() -> None:
    numbers = torch.ones(4)
    assert not is_running_sum("Neg", torch.neg, [numbers], {}, [-numbers])


def test_terms_that_cancel_leave_the_rounding_of_the_terms() -> None:
    A, B = torch.full((1, 1000), 100.0), torch.ones(1000, 1)
    A[:, ::2] *= -1
    assert is_running_sum("Gemm", gemm, [A, B], {}, [torch.full((1, 1), 0.5)])
    assert not is_running_sum("Gemm", gemm, [A, B], {}, [torch.full((1, 1), 5.0)])
    assert is_running_sum("Gemm", gemm, [A.T, B], {"transA": 1}, [torch.full((1, 1), 0.5)])


def test_a_window_has_as_many_terms_as_it_has_places() -> None:
    image = torch.ones(1, 1, 64, 64)
    settings: dict[str, Any] = {"kernel_shape": (2, 2)}
    right = average_pool(image, **settings)
    assert is_running_sum("AveragePool", average_pool, [image], settings, [right])
    assert not is_running_sum("AveragePool", average_pool, [image], settings, [right + 1e-5])


@pytest.mark.parametrize("op_type", ["InstanceNormalization", "LayerNormalization"])
def test_normalizations_are_off_as_their_means_are(op_type: str) -> None:
    image = 100 + torch.rand(1, 2, 256, 256, generator=torch.Generator().manual_seed(0))
    function: Any = instance_normalization if op_type.startswith("I") else layer_normalization
    arguments = [image, torch.ones(2), torch.zeros(2)] if op_type.startswith("I") else [image, torch.ones(256, 256)]
    settings = {} if op_type.startswith("I") else {"axis": 2}
    results = function(*(item.double() for item in arguments), **settings)
    right = results[0] if isinstance(results, tuple) else results
    assert is_running_sum(op_type, lambda *a, **k: _first(function(*a, **k)), arguments, settings, [right + 1e-2])
    assert not is_running_sum(op_type, lambda *a, **k: _first(function(*a, **k)), arguments, settings, [right + 10])


def _first(results: Any) -> Any:
    return results[0] if isinstance(results, tuple) else results
