"""Spectra of signals: Fourier transforms and the mel scale (ONNX specification, `DFT`, `STFT`, `MelWeightMatrix`).

A complex tensor has a last dimension of two, real and imaginary part; a real one may have a last dimension of one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.dtypes import torch_dtype
from onnxvis.ops.table import operator

_WITHOUT_PARTS = 2  # the rank of (N, time)


@operator("DFT", since=20)
def dft(
    input: Tensor, dft_length: int | None = None, axis: int | None = None, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Transform along `axis`, cut or padded with zeros to `dft_length`; the inverse is divided by that length.

    Args:
        input: (..., 1), real, or (..., 2), complex.
        dft_length: Length of the signal; None is that of the axis.
        axis: Any axis but the last; None is the last but one.
        inverse: Whether to go from frequencies to time.
        onesided: Whether the spectrum is without the frequencies that follow from its symmetry. The inverse of such a
            one is real, (..., 1).
    """
    dim = (-2 if axis is None else axis) % input.ndim
    signal = _joined(input)
    if inverse and onesided:
        samples: Tensor = torch.fft.irfft(signal, dft_length, dim)
        return samples.unsqueeze(-1).to(input.dtype)
    if inverse:
        spectrum = torch.complex(signal, torch.zeros_like(signal)) if input.shape[-1] == 1 else signal
        return _parts(torch.fft.ifft(spectrum, dft_length, dim), input.dtype)
    return _parts(_forward(signal, dft_length, dim, onesided=bool(onesided)), input.dtype)


@operator("DFT")
def dft_17(
    input: Tensor, dft_length: int | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """As `dft`, along the second axis where none is given."""
    return dft(input, dft_length, axis, inverse=inverse, onesided=onesided)


@operator("STFT")
def stft(
    signal: Tensor,
    frame_step: int,
    window: Tensor | None = None,
    frame_length: int | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """Transform overlapping pieces, each multiplied by the window: (N, time, 1 or 2) -> (N, frames, frequencies, 2).

    Args:
        signal: (N, time, 1), real; (N, time, 2), complex; or (N, time), which onnxruntime takes too.
        frame_step: From one frame to the next, in samples.
        window: (frame_length,); None is a window of ones.
        frame_length: Samples in a frame; None is the length of the window, or of the signal.
        onesided: Whether to leave out the frequencies that follow from the symmetry.
    """
    samples = signal if signal.ndim == _WITHOUT_PARTS else _joined(signal)
    length = frame_length
    if length is None:
        length = samples.shape[1] if window is None else window.shape[0]
    frames = samples.unfold(1, length, frame_step)
    frames = frames if window is None else frames * window
    return _parts(_forward(frames, None, 2, onesided=bool(onesided)), signal.dtype)


@operator("MelWeightMatrix", differentiable=False)
def mel_weight_matrix(
    num_mel_bins: int,
    dft_length: int,
    sample_rate: int,
    lower_edge_hertz: float,
    upper_edge_hertz: float,
    *,
    output_datatype: int = TensorProto.FLOAT,
) -> Tensor:
    """Return the triangular filters that make mel bands of a one-sided spectrum, (dft_length // 2 + 1, num_mel_bins).

    Each triangle is 1 at its center, and 0 at the centers of its neighbors; they are equally spaced on the mel scale
    2595 log10(1 + f / 700), and each lies on a frequency of the spectrum.

    Args:
        num_mel_bins: How many bands.
        dft_length: Length of the transform.
        sample_rate: In samples per second.
        lower_edge_hertz: Where the lowest triangle begins.
        upper_edge_hertz: One step beyond the end of the highest triangle.
        output_datatype: ONNX element type of the matrix.
    """
    places = _mel_places(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz)
    frequency = np.arange(dft_length // 2 + 1)[:, None]
    left, center, right = places[:-2], places[1:-1], places[2:]
    rising = (frequency - left) / np.maximum(center - left, 1)
    falling = (right - frequency) / np.maximum(right - center, 1)
    weights = np.where(frequency < center, rising, np.where(frequency > center, falling, 1.0))
    return torch.from_numpy(weights.clip(min=0.0)).to(torch_dtype(output_datatype))


def _mel_places(count: int, dft_length: int, sample_rate: int, lower: float, upper: float) -> npt.NDArray[np.float64]:
    """Where triangles begin, have their centers and end: `count + 2` frequencies of the spectrum."""
    lowest, highest = (2595 * math.log10(1 + edge / 700) for edge in (lower, upper))
    mels = lowest + np.arange(count + 2) * (highest - lowest) / (count + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    return np.floor((dft_length + 1) * hertz / sample_rate)


def _joined(parts: Tensor) -> Tensor:
    """(..., 2) -> complex (...), or (..., 1) -> real (...); in float32 where torch transforms no smaller floats."""
    parts = parts.float() if parts.dtype in {torch.float16, torch.bfloat16} else parts
    return parts.squeeze(-1) if parts.shape[-1] == 1 else torch.view_as_complex(parts.contiguous())


def _parts(spectrum: Tensor, dtype: torch.dtype) -> Tensor:
    """Complex (...) -> (..., 2)."""
    return torch.view_as_real(spectrum).to(dtype)


def _forward(signal: Tensor, length: int | None, dim: int, *, onesided: bool) -> Tensor:
    transform = torch.fft.rfft if onesided and not signal.is_complex() else torch.fft.fft
    spectrum: Tensor = transform(signal, length, dim)
    if not onesided or not signal.is_complex():
        return spectrum
    return spectrum.narrow(dim, 0, spectrum.shape[dim] // 2 + 1)
