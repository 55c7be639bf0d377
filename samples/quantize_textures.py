"""Quantize `textures.onnx` to 8 bits with onnxruntime and write it as `textures_int8.onnx` beside this script.

Run `python samples/quantize_textures.py`; it takes seconds. The file is in the QDQ format: weights are int8 with a
scale for each filter, activations uint8 with ranges measured on drawn textures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from textures import draw_batch

HERE = Path(__file__).parent
SOURCE, OUTPUT = HERE / "textures.onnx", HERE / "textures_int8.onnx"
SEED = 20_000
IMAGES = 64


class Drawings(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """Drawn textures, one at a time."""

    def __init__(self) -> None:
        images, _ = draw_batch(np.random.default_rng(SEED), IMAGES)
        # The model takes [-1, 1].
        self.images: Iterator[Any] = iter(2 * images.astype(np.float32) - 1)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input, or None."""
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def main() -> None:
    """Quantize, and keep what the file says of its input."""
    quantize_static(
        SOURCE,
        OUTPUT,
        Drawings(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    source, quantized = onnx.load(SOURCE), onnx.load(OUTPUT)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(source.metadata_props)
    quantized.producer_name = "onnxvis/samples/quantize_textures.py"
    onnx.save(quantized, OUTPUT)
    print(f"wrote {OUTPUT.name}, {OUTPUT.stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
