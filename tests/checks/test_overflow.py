from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxvis.checks.overflow import check_overflow
from onnxvis.config import CheckSettings
from onnxvis.errors import UnsupportedOpError
from onnxvis.inspection import Inspection
from onnxvis.model import load
from onnxvis.outcomes import Outcome
from tests.int8_models import CLIPPED, EXACT, REDUCED
from tests.models import conv_net

Making = Callable[[Path], Path]


def outcome(path: Path) -> Outcome:
    inspection = Inspection(load(path), CheckSettings())
    return check_overflow(inspection, inspection.settings)


@pytest.mark.parametrize("make", CLIPPED.values(), ids=CLIPPED)
def test_sums_that_overflow_are_a_warning_on_any_processor(make: Making, tmp_path: Path) -> None:
    found = outcome(make(tmp_path))
    assert found.status == "warn"
    first, *layers = found.details
    assert "int8 sums overflow on x86 processors without VNNI in" in first.text
    assert "What helps" in first.text
    assert float(first.figures["absolute"]) > 0
    assert [detail.status for detail in layers] == ["pass"] * int(first.figures["risky"])
    shares = {detail.layer: detail.figures["share"] for detail in layers}
    assert shares[first.layer] == max(shares.values(), key=float)


@pytest.mark.parametrize("make", REDUCED.values(), ids=REDUCED)
def test_weights_of_seven_bits_pass(make: Making, tmp_path: Path) -> None:
    found = outcome(make(tmp_path))
    assert (found.status, found.details) == ("pass", ())
    assert "none with weights large enough" in found.text


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_there_is_nothing_to_say_of_other_products(make: Making, tmp_path: Path) -> None:
    assert outcome(make(tmp_path)).status == "skip"


def test_what_cannot_be_lowered_is_told_by_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "no such operator"
        raise UnsupportedOpError(message, op_type="Unknown")

    monkeypatch.setattr("onnxvis.overflow.Forecast.emulation", refuse)
    found = outcome(CLIPPED["dynamic"](tmp_path))
    assert found.status == "warn"
    assert "is not known: no such operator" in found.text
    assert len(found.details) > 1


def test_overflow_without_an_effect_on_the_outputs_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxvis.overflow.furthest", lambda _: [])
    found = outcome(CLIPPED["dynamic"](tmp_path))
    assert found.status == "pass"
    assert "and no output moves" in found.text


def test_a_float_network_is_skipped() -> None:
    inspection = Inspection(load(conv_net()), CheckSettings())
    assert check_overflow(inspection, inspection.settings).text == "onnxruntime multiplies no uint8 by int8"
