from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from onnxvis.ops.clipping import Order, clipped_sums, lost_of_convolution, lost_of_product, overflowing_pairs
from onnxvis.processor import clips_sums
from tests.ops.int8_products import CASES, EXACT, Case
from tests.ops.oracle import computed

Array = npt.NDArray[Any]


def clipped_product(a: Array, b: Array) -> int:
    """The sum of a row and a column as `vpmaddubsw` adds it, number by number."""
    terms = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    pairs = itertools.zip_longest(terms[::2], terms[1::2], fillvalue=0)
    return sum(min(max(sum(pair), -32768), 32767) for pair in pairs)


@pytest.mark.parametrize("K", [1, 2, 7, 64])
def test_a_product_loses_what_the_definition_says(K: int) -> None:
    rng = np.random.default_rng(K)
    a, b = rng.integers(0, 256, (20, K)), rng.integers(-128, 128, (K, 30))
    wanted = [[clipped_product(row, column) for column in b.T] for row in a]
    lost = lost_of_product(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_array_equal(a @ b + lost.numpy(), wanted)
    assert lost.any() == (K > 1)


@pytest.mark.parametrize("order", ["channels", "taps"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_convolution_loses_what_the_definition_says(order: Order, group: int) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, (1, 6, 4, 5)), rng.integers(-128, 128, (4, 6 // group, 2, 3))
    padding, pads = 115, ((0, 0), (0, 0), (1, 0), (0, 2))
    padded = np.pad(x, pads, constant_values=padding)
    wanted = np.zeros((1, 4, 4, 5), int)
    for m, i, j in np.ndindex(4, 4, 5):
        first = m // (4 // group) * (6 // group)
        window = padded[0, first : first + 6 // group, i : i + 2, j : j + 3]
        axes = (1, 2, 0) if order == "channels" else (0, 1, 2)
        sides = [part.transpose(axes).reshape(-1) for part in (window, w[m])]
        wanted[0, m, i, j] = clipped_product(*sides) - int(sides[0] @ sides[1])
    lost = lost_of_convolution(torch.from_numpy(x), torch.from_numpy(w), padding, order, group=group, pads=(1, 0, 0, 2))
    np.testing.assert_array_equal(lost.numpy(), wanted)
    assert lost.any()


def under_clipping(case: Case) -> tuple[list[Array], dict[str, int]]:
    with clipped_sums() as tally:
        found = computed(
            case.op_type, case.inputs, 21, outputs=case.outputs, domain=case.domain, constant=False, **case.attributes
        )
    return found, tally.clipped


@pytest.mark.skipif(not clips_sums(), reason="the kernels of this processor do not clip sums of int8")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("constant", [True, False], ids=["weights", "inputs"])
def test_real_kernels_lose_the_same(name: str, constant: bool) -> None:
    case = CASES[name]
    model = case.model(constant=constant)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, case.feeds(model))
    for mine, theirs in zip(under_clipping(case)[0], wanted, strict=True):
        tolerance = 0 if mine.dtype.kind in "iu" else 2e-5 * max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_sums_are_clipped_and_counted_on_any_processor(name: str) -> None:
    case = CASES[name]
    found, clipped = under_clipping(case)
    exact = computed(
        case.op_type, case.inputs, 21, outputs=case.outputs, domain=case.domain, constant=False, **case.attributes
    )
    same = all(np.array_equal(mine, theirs) for mine, theirs in zip(found, exact, strict=True))
    assert same == (name in EXACT)
    assert (sum(clipped.values()) > 0) == (name not in EXACT)


def test_outside_of_the_block_sums_are_exact() -> None:
    case = CASES["MatMulInteger 64"]
    a, b = (np.asarray(x).astype(int) for x in case.inputs)
    under_clipping(case)
    np.testing.assert_array_equal(computed("MatMulInteger", case.inputs, 21)[0], a @ b)


def test_pairs_that_can_overflow_are_those_that_the_largest_input_overflows() -> None:
    weights = torch.tensor([[127, 64, -128, 127, -128], [1, 64, -1, 2, 0], [100, 0, 0, 0, 0]])
    #                      127+1, 64+64 and -128-0 fit in 16 bits: 255 * 128 = 32640.
    assert overflowing_pairs(weights).tolist() == [[False, False, True, True, False], [False] * 5]
    signed = torch.tensor([[255, 255], [1, 2]])
    assert overflowing_pairs(signed, -128, 127).tolist() == [[False, True]]
