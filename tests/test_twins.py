"""Faulty twins of models are found and their layer is named; honest re-exports cause no alarm.

All twins of all sources take ten minutes: `benchmarks/twins.py` runs them and prints the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from onnxvis.diff import diff
from tests.twins import FAULTS, HONEST, Fault, Honest, load_source
from tests.twins.verdicts import names_the_layer

_LARGE = frozenset(
    {
        "in_shufflenet_v2_12_int8",
        "mobilenet_v1_1.0_224_trunk",
        "seg_deeplabv3_mnv2_dm05",
        "shufflenet_v2_12_dequantized",
        "sr_subpixel_espcn_x3",
        "style_candy",
        "track_vittrack",
    }
)
"""Sources of which each twin takes seconds."""
_EVERY = 4
"""So many of the twins of a middling source are one for the tests."""
_MIDDLING = frozenset({"squeezenet1_1_fp32_upcast", "face_yunet_n_dynamic", "cls_mobilenetv2_050_128_st"})


def _chosen(twins: Sequence[Any]) -> list[ParameterSet]:
    chosen = []
    for number, twin in enumerate(twins):
        source = twin.source.removesuffix(".onnx")
        if source not in _LARGE and (source not in _MIDDLING or number % _EVERY == 0):
            chosen.append(pytest.param(twin, id=twin.name))
    return chosen


FAULTY = _chosen(FAULTS)
RE_EXPORTED = _chosen(HONEST)


def test_there_are_enough_twins() -> None:
    assert len(FAULTY) >= 40
    assert len(RE_EXPORTED) >= 30


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_twin_is_found_and_its_layer_is_named(fault: Fault, shared_models: object) -> None:
    del shared_models  # without them it is skipped
    source = load_source(fault.source)
    twin = fault.make(source)
    found = diff(source, twin)
    assert not found.ok
    assert found.status == "fail"
    assert names_the_layer(found, fault, twin), [detail.text for detail in found.details]


@pytest.mark.parametrize("twin", RE_EXPORTED)
def test_an_honest_re_export_causes_no_alarm(twin: Honest, shared_models: object) -> None:
    del shared_models
    source = load_source(twin.source)
    found = diff(source, twin.make(source))
    assert found.ok, [detail.text for detail in found.details]
    assert found.status in ("pass", "skip")
