from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnxruntime.quantization import QuantType

from onnxvis.config import DiffSettings
from onnxvis.diff import Difference, diff
from tests.int8_models import CONVOLUTIONS, PERCEPTRON, dynamic, floats, static

SAMPLES = Path(__file__).parents[2] / "samples"


def notes(found: Difference) -> list[str]:
    return [note for note in found.notes if "int8 sums" in note]


def test_a_file_whose_sums_overflow_a_little_has_a_note() -> None:
    found = diff(SAMPLES / "textures.onnx", SAMPLES / "textures_int8.onnx")
    assert found.status == "pass"
    (note,) = notes(found)
    assert "of the second file overflow at 'conv1'" in note
    assert "moves 'probabilities' by" in note


def test_overflow_that_makes_another_network_of_one_file_is_named_as_a_cause(tmp_path: Path) -> None:
    source, integers = floats(CONVOLUTIONS, tmp_path), static(tmp_path, per_channel=True)
    limits = DiffSettings(tolerance=0.02)
    for pair, which in (((source, integers), "second"), ((integers, source), "first")):
        found = diff(*pair, settings=limits)
        (cause,) = (detail for detail in found.details if "int8 sums" in detail.text)
        assert cause.status == "warn"
        assert f"int8 sums of the {which} file overflow at" in cause.text
        assert float(cause.figures["relative_error"]) > 0.02
        assert notes(found) == []


def test_two_files_that_overflow_alike_do_not_differ_by_it(tmp_path: Path) -> None:
    integers = static(tmp_path, per_channel=True)
    found = diff(integers, integers, settings=DiffSettings(tolerance=0.02))
    assert (found.status, found.details) == ("pass", ())
    assert len(notes(found)) == 2


@pytest.mark.parametrize(
    "settings", [{"reduce_range": True}, {"weight_type": QuantType.QUInt8}], ids=["7 bits", "uint8"]
)
def test_nothing_is_said_of_files_that_do_not_overflow(settings: dict[str, Any], tmp_path: Path) -> None:
    source, integers = floats(PERCEPTRON, tmp_path), dynamic(tmp_path, **settings)
    found = diff(source, integers)
    assert [detail for detail in found.details if "int8 sums" in detail.text] == []
    assert notes(found) == []
