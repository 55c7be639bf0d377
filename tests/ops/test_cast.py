from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto, helper

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import small_floats
from onnxvis.ops.cast import bit_cast, cast, cuts_gradient
from onnxvis.ops.dtypes import onnx_dtype, torch_dtype
from onnxvis.ops.table import Operator, find
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

X = np.array([[0.0, 1.7, -2.5], [3.5, 100.2, -0.3]], np.float32)
NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool"]
SMALL_FLOATS: dict[int, Any] = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.FLOAT6E2M3: ml_dtypes.float6_e2m3fn,
    TensorProto.FLOAT6E3M2: ml_dtypes.float6_e3m2fn,
    TensorProto.FLOAT4E2M1: ml_dtypes.float4_e2m1fn,
}
SMALL_INTEGERS: dict[int, tuple[Any, int, int]] = {
    TensorProto.INT4: (ml_dtypes.int4, 4, -8),
    TensorProto.UINT4: (ml_dtypes.uint4, 4, 0),
    TensorProto.INT2: (ml_dtypes.int2, 2, -2),
    TensorProto.UINT2: (ml_dtypes.uint2, 2, 0),
}
E8M0 = TensorProto.FLOAT8E8M0


def entry(op_type: str, opset: int = 13) -> Operator:
    """The table's entry."""
    found = find(op_type, opset)
    assert found is not None
    return found


@pytest.mark.parametrize("target", NUMBERS)
@pytest.mark.parametrize("source", NUMBERS)
def test_casts_agree(source: str, target: str) -> None:
    x = X.astype(source)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    for opset in (7, 13, 19, 28):
        assert_agrees("Cast", [x], opset, to=to)
    assert_agrees("CastLike", [x, np.zeros(1, target)], 15)


def test_before_opset_6_the_type_is_a_name() -> None:
    (found,) = computed("Cast", [X], 1, to="INT32")
    np.testing.assert_array_equal(found, X.astype(np.int32))
    assert found.dtype == np.int32


@pytest.mark.parametrize("target", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_integers_that_are_too_large_lose_their_highest_bits(target: str) -> None:
    x = np.array([0, 1, -1, 200, -200, 2**31 + 5, -(2**33) + 3, 2**40 - 1], np.int64)
    assert_agrees("Cast", [x], 13, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))


def floats() -> Array:
    """Floats of all magnitudes, among them those halfway between two values of small types, and the special ones."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    halves = np.ldexp(np.arange(-64, 65, dtype=np.float32), np.arange(-18, 14)[:, None]).ravel()
    special = np.array([0.0, 463, 464, 465, 1e6, -1e6, np.inf, -np.inf, np.nan], np.float32)
    return np.concatenate([bits, halves.astype(np.float32), special])


@pytest.mark.parametrize("to", SMALL_FLOATS, ids=TensorProto.DataType.Name)
def test_small_floats_saturate_or_overflow_as_asked(to: int) -> None:
    x, dtype = floats(), SMALL_FLOATS[to]
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    for saturate, twin in ((1, np.clip(x, -largest, largest)), (0, x)):
        if to in {TensorProto.FLOAT6E2M3, TensorProto.FLOAT6E3M2, TensorProto.FLOAT4E2M1}:
            twin = twin[~np.isnan(twin)]  # noqa: PLW2901 - of which these types have none
        with np.errstate(invalid="ignore", over="ignore"):
            wanted = twin.astype(dtype).astype(np.float32)
        given = x[~np.isnan(x)] if len(twin) < len(x) else x
        found = cast(torch.from_numpy(given), to=to, saturate=saturate).numpy()
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("round_mode", ["up", "down", "nearest"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_powers_of_two_are_rounded_by_mode(round_mode: str, saturate: int) -> None:
    x = np.array([1, 1.4, 1.5, 1.6, 3, 2.0**-126, 1e-30, 2.0**127, 0.75, 1e20], np.float32)
    exponent = np.log2(x.astype(np.float64))
    low = np.floor(exponent)
    upward = {"up": exponent > low, "down": np.zeros_like(low), "nearest": x / 2.0**low >= 1.5}[round_mode]
    found = cast(torch.from_numpy(x), to=E8M0, saturate=saturate, round_mode=round_mode).numpy()
    np.testing.assert_array_equal(found, (2.0 ** (low + upward)).astype(np.float32))


def test_what_is_no_power_of_two_saturates_or_is_not_a_number() -> None:
    x = torch.tensor([0.0, torch.inf, torch.nan, 3e38])
    torch.testing.assert_close(cast(x, to=E8M0)[:2], torch.tensor([2.0**-127, 2.0**127]))
    assert bool(cast(x, to=E8M0).isnan().eq(torch.tensor([False, False, True, False])).all())
    assert bool(cast(x, to=E8M0, saturate=0, round_mode="nearest").isnan().all())


@pytest.mark.parametrize("to", SMALL_INTEGERS, ids=TensorProto.DataType.Name)
def test_integers_of_few_bits_lose_the_others(to: int) -> None:
    dtype, bits, low = SMALL_INTEGERS[to]
    x = np.arange(-20, 20, dtype=np.int64)
    (found,) = computed("Cast", [x], 25, to=to)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.int64), (x - low) % (1 << bits) + low)
    (back,) = computed("Cast", [found], 25, to=TensorProto.FLOAT)
    np.testing.assert_array_equal(back, found.astype(np.float32))
    (like,) = computed("CastLike", [x.astype(np.float32), np.zeros(1).astype(dtype)], 25)
    np.testing.assert_array_equal(like, found)


def test_bits_are_read_as_another_type() -> None:
    assert_agrees("BitCast", [X], 26, to=TensorProto.INT32, reference=True)
    assert_agrees("BitCast", [np.arange(256).astype(np.uint8)], 26, to=TensorProto.INT8, reference=True)


@pytest.mark.parametrize("to", [*SMALL_FLOATS, E8M0], ids=TensorProto.DataType.Name)
def test_bits_of_small_floats_are_read_and_written(to: int) -> None:
    width = small_floats.width(to)
    codes = torch.arange(1 << width, dtype=torch.uint8)
    values = small_floats.decoded(codes, to)
    wanted = codes.numpy().view(helper.tensor_dtype_to_np_dtype(to)).astype(np.float32)
    np.testing.assert_array_equal(values.numpy(), wanted)
    numbers = ~values.isnan() & ~values.isinf()
    assert bool((small_floats.encoded(values, to) == codes)[numbers].all())
    if width == 8:
        source = bit_cast(codes, to=to, input_types=(TensorProto.UINT8,))
        back = bit_cast(source, to=TensorProto.UINT8, input_types=(to,))
        assert bool((back == codes)[numbers].all())


def test_bits_of_another_number_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="BitCast from FLOAT to INT16: they differ in size"):
        computed("BitCast", [X], 26, to=TensorProto.INT16)


@pytest.mark.parametrize("to", [TensorProto.STRING, 999])
def test_a_type_that_torch_cannot_hold_is_refused(to: int) -> None:
    name = "STRING" if to == TensorProto.STRING else "999"
    with pytest.raises(UnsupportedOpError, match=f"Torch cannot hold the element type {name}"):
        torch_dtype(to)
    with pytest.raises(UnsupportedOpError, match="Torch cannot hold"):
        computed("Cast", [X], 13, to=to)


def test_complex_numbers_are_not_made_real() -> None:
    z = np.array([1 + 2j, 3], np.complex64)
    (found,) = computed("Cast", [z], 13, to=TensorProto.COMPLEX128)
    np.testing.assert_array_equal(found, z)
    with pytest.raises(UnsupportedOpError, match="Cast from a complex type to FLOAT"):
        computed("Cast", [z], 13, to=TensorProto.FLOAT)


def test_element_types_are_those_of_numpy() -> None:
    for name in [*NUMBERS, "uint8", "uint16", "uint32", "uint64", "complex64", "complex128"]:
        onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(name))
        assert torch_dtype(onnx_type) == getattr(torch, name)
        assert onnx_dtype(getattr(torch, name)) == onnx_type


def test_a_cast_to_indices_cuts_the_gradient() -> None:
    assert cuts_gradient(entry("Cast"), {"to": TensorProto.INT64})
    assert cuts_gradient(entry("Cast"), {"to": TensorProto.BOOL})
    assert not cuts_gradient(entry("Cast"), {"to": TensorProto.FLOAT})
    assert not cuts_gradient(entry("Cast"), {"to": TensorProto.BFLOAT16})
    assert not cuts_gradient(entry("Cast"), {"to": TensorProto.INT32})
    assert cuts_gradient(entry("Cast", 1), {"to": "INT64"})
    assert not cuts_gradient(entry("Cast", 1), {"to": "FLOAT"})


def test_carried_integers_stay_carried_where_the_new_type_has_room() -> None:
    x = torch.tensor([-128.0, 127.0], requires_grad=True)
    wide = cast(x, to=TensorProto.INT32, input_types=(TensorProto.INT8,))
    assert wide.dtype == torch.float64
    assert wide.requires_grad
    floats = cast(wide, to=TensorProto.FLOAT, input_types=(TensorProto.INT32,))
    (gradient,) = torch.autograd.grad(floats.sum(), x)
    torch.testing.assert_close(gradient, torch.ones(2))
    narrow = cast(x, to=TensorProto.UINT8, input_types=(TensorProto.INT8,))
    torch.testing.assert_close(narrow, torch.tensor([128, 127], dtype=torch.uint8))


def test_a_cast_of_floats_to_integers_is_no_carrier() -> None:
    whole = cast(torch.tensor([1.7], requires_grad=True), to=TensorProto.INT32)
    assert whole.dtype == torch.int32


@pytest.mark.parametrize("to", [*SMALL_FLOATS, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_cast_between_floats_passes_the_gradient_inside_the_range(to: int) -> None:
    x = torch.tensor([0.3, -1.1, 1e6], requires_grad=True)
    (gradient,) = torch.autograd.grad(cast(x, to=to).float().sum(), x)
    wide = to in {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    torch.testing.assert_close(gradient, torch.tensor([1.0, 1.0, 1.0 if wide else 0.0]))


def test_other_operators_cut_the_gradient_where_the_table_says_so() -> None:
    assert cuts_gradient(entry("ArgMax"), {"axis": 1})
    assert not cuts_gradient(entry("Relu"), {})


def test_the_gradient_of_a_cast_has_the_dtype_of_its_input() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cast(x, to=TensorProto.FLOAT).sum(), x)
    torch.testing.assert_close(gradient, torch.ones(2, dtype=torch.float64))
