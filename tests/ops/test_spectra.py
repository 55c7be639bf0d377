from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto

from onnxvis.ops import spectra
from tests.ops.oracle import assert_agrees, computed
from tests.ops.slopes import assert_gradient_agrees

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(3, 6, 5, 1)).astype(np.float32)
COMPLEX = RNG.normal(size=(3, 6, 5, 2)).astype(np.float32)
SOUND = RNG.normal(size=(2, 37, 1)).astype(np.float32)
WINDOW = RNG.uniform(size=8).astype(np.float32)
AXES = [0, 1, 2, -2]
LENGTHS = [None, 4, 5, 8]


def integer(value: int) -> Array:
    return np.array(value, np.int64)


def hertz(value: float) -> Array:
    return np.array(value, np.float32)


def dft_17(x: Array, length: int | None) -> list[Array | None]:
    return [x] if length is None else [x, integer(length)]


def dft_20(x: Array, length: int | None, axis: int) -> list[Array | None]:
    return [x, None if length is None else integer(length), integer(axis)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("x", [REAL, COMPLEX], ids=["real", "complex"])
def test_dft_agrees(x: Array, inverse: int, axis: int, length: int | None) -> None:
    assert_agrees("DFT", dft_17(x, length), 17, axis=axis, inverse=inverse)
    for opset in (20, 26):
        assert_agrees("DFT", dft_20(x, length, axis), opset, inverse=inverse)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("axis", AXES)
def test_a_onesided_spectrum_agrees(axis: int, length: int | None) -> None:
    assert_agrees("DFT", dft_17(REAL, length), 17, axis=axis, onesided=1)
    assert_agrees("DFT", dft_20(REAL, length, axis), 20, onesided=1)
    # The specification wants a real signal; of a complex one the reference keeps the first half.
    assert_agrees("DFT", dft_20(COMPLEX, length, axis), 20, onesided=1, reference=True)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("axis", AXES)
def test_the_inverse_of_a_onesided_spectrum_agrees_with_the_reference(axis: int, length: int | None) -> None:
    # onnxruntime 1.31 is wrong wherever the length is not that of the spectrum.
    assert_agrees("DFT", dft_17(COMPLEX, length), 17, axis=axis, inverse=1, onesided=1, reference=True)
    assert_agrees("DFT", dft_20(COMPLEX, length, axis), 20, inverse=1, onesided=1, reference=True)
    if length is None:
        assert_agrees("DFT", dft_20(COMPLEX, length, axis), 20, inverse=1, onesided=1)


def test_the_axis_that_nobody_names_is_another_one_in_opset_20() -> None:
    assert_agrees("DFT", [REAL], 17)
    assert_agrees("DFT", [REAL], 20)
    assert not np.array_equal(computed("DFT", [REAL], 17)[0], computed("DFT", [REAL], 20)[0])


@pytest.mark.parametrize(("x", "onesided"), [(REAL, 0), (REAL, 1), (COMPLEX, 0)])
def test_dft_has_the_slope_of_onnxruntime(x: Array, onesided: int) -> None:
    part = x[:1, :, :2].astype(np.float64)
    assert_gradient_agrees("DFT", [part, integer(8), integer(1)], 20, [0], onesided=onesided)


def test_the_inverse_of_a_onesided_spectrum_has_a_slope() -> None:
    assert_gradient_agrees(
        "DFT", [COMPLEX[:1, :, :2].astype(np.float64), None, integer(1)], 20, [0], inverse=1, onesided=1
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type(dtype: torch.dtype) -> None:
    x = torch.from_numpy(REAL).to(dtype)
    assert spectra.dft(x).dtype == dtype
    torch.testing.assert_close(spectra.dft(x).float(), spectra.dft(x.float()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("frame_step", [3, 5])
@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("frame_length", [None, 8])
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("rank", [2, 3])
def test_stft_agrees(rank: int, window: Array | None, frame_length: int | None, onesided: int, frame_step: int) -> None:
    if window is None and frame_length is None:
        return  # which onnxruntime refuses; see below
    length = None if frame_length is None else integer(frame_length)
    signal = SOUND if rank == 3 else SOUND[..., 0]
    assert_agrees("STFT", [signal, integer(frame_step), window, length], 17, onesided=onesided)


def test_stft_of_a_complex_signal_agrees() -> None:
    signal = RNG.normal(size=(2, 37, 2)).astype(np.float32)
    assert_agrees("STFT", [signal, integer(4), WINDOW], 17, onesided=0)


def test_without_a_window_and_a_length_the_whole_signal_is_one_frame() -> None:
    assert_agrees("STFT", [SOUND, integer(4)], 17, reference=True)


def test_stft_has_the_slope_of_onnxruntime() -> None:
    sound, window = SOUND[:1, :20].astype(np.float64), WINDOW.astype(np.float64)
    assert_gradient_agrees("STFT", [sound, integer(3), window, integer(8)], 17, [0, 2], onesided=1)


def test_stft_of_a_batch_is_that_of_each() -> None:
    sounds, window = torch.from_numpy(SOUND), torch.from_numpy(WINDOW)
    together = torch.func.vmap(lambda one: spectra.stft(one[None], 4, window))(sounds)
    torch.testing.assert_close(together[:, 0], spectra.stft(sounds, 4, window))


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("dft_length", [256, 400, 2048])
@pytest.mark.parametrize("bins", [8, 64, 128])
def test_mel_weight_matrix_agrees(bins: int, dft_length: int, sample_rate: int) -> None:
    for low, high in ((0.0, sample_rate / 2), (64.5, 3000.0)):
        numbers = [integer(bins), integer(dft_length), integer(sample_rate), hertz(low), hertz(high)]
        assert_agrees("MelWeightMatrix", numbers, 17)


def test_mel_weight_matrix_can_have_another_type() -> None:
    numbers = [integer(8), integer(64), integer(8192), hertz(0), hertz(4096)]
    assert_agrees("MelWeightMatrix", numbers, 17, output_datatype=TensorProto.DOUBLE)
