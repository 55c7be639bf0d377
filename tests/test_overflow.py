from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from onnxvis import ordinary, verify
from onnxvis.errors import UnsupportedOpError
from onnxvis.model import Model, load
from onnxvis.ops.clipping import clipped_sums
from onnxvis.oracle import open_session
from onnxvis.ordinary import moved_here, note_of
from onnxvis.overflow import Forecast, Overflow, foretell, remedy
from onnxvis.processor import clips_sums
from tests.int8_models import CLIPPED, EXACT, REDUCED, dynamic, static
from tests.models import conv_net, parsed

Making = Callable[[Path], Path]
clipping = pytest.mark.skipif(not clips_sums(), reason="the kernels of this processor do not clip sums of int8")


def forecast(model: Model) -> Forecast:
    found = foretell(model, [spec.name for spec in model.outputs])
    assert found is not None
    return found


def emulated(model: Model, feeds: dict[str, Any]) -> Overflow:
    found = forecast(model).emulation({name: array.shape for name, array in feeds.items()}).run(feeds)
    assert found is not None
    return found


def feeds_of(model: Model, seed: int = 9) -> dict[str, Any]:
    shape = tuple(dim for dim in model.inputs[0].shape or () if isinstance(dim, int))
    return {model.inputs[0].name: np.random.default_rng(seed).random(shape, np.float32)}


@pytest.mark.parametrize("make", CLIPPED.values(), ids=CLIPPED)
def test_a_file_whose_sums_overflow_is_foretold(make: Making, tmp_path: Path) -> None:
    model = load(make(tmp_path))
    found = forecast(model)
    assert found.risks
    assert all(risk.pairs and 0 < risk.pairs <= risk.of for risk in found.risks)
    overflow = emulated(model, feeds_of(model))
    assert sum(overflow.clipped.values()) > 0
    assert overflow.moved[0].absolute > 0


@clipping
@pytest.mark.parametrize("make", CLIPPED.values(), ids=CLIPPED)
def test_what_is_foretold_is_what_an_ordinary_session_does(make: Making, tmp_path: Path) -> None:
    path = make(tmp_path)
    model = load(path)
    feeds = feeds_of(model)
    (foretold,) = emulated(model, feeds).moved
    (measured,) = moved_here(model, [model.outputs[0].name], [feeds])
    assert measured.absolute == pytest.approx(foretold.absolute, rel=1e-4)
    assert measured.largest == pytest.approx(foretold.largest, rel=1e-4)
    # And that is indeed what a user's own session gives.
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    quiet.intra_op_num_threads = 1
    precise = onnxruntime.SessionOptions()
    precise.log_severity_level = 4
    precise.intra_op_num_threads = 1
    precise.add_session_config_entry("session.x64quantprecision", "1")
    own, exact = (
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for options in (quiet, precise)
    )
    assert np.abs(own - exact).max() == pytest.approx(measured.absolute, rel=1e-4)


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_a_file_without_products_of_uint8_and_int8_has_no_forecast(make: Making, tmp_path: Path) -> None:
    model = load(make(tmp_path))
    assert foretell(model, [model.outputs[0].name]) is None
    assert note_of(model, [model.outputs[0].name], feeds_of(model)) is None


@pytest.mark.parametrize("make", REDUCED.values(), ids=REDUCED)
def test_weights_of_seven_bits_cannot_overflow(make: Making, tmp_path: Path) -> None:
    model = load(make(tmp_path))
    found = forecast(model)
    assert found.products > 0
    assert found.risks == ()
    assert emulated(model, feeds_of(model)).moved == ()


def test_layers_are_called_as_in_the_file(tmp_path: Path) -> None:
    model = load(static(tmp_path))
    found = forecast(model)
    named = {spec.name for spec in model.nodes}
    assert {risk.layer for risk in found.risks} <= named
    assert found.products == 4
    # The quantizer draws rectifiers into the convolutions. c2 is depthwise: the kernel pairs none of its products.
    assert [risk.layer for risk in found.risks if risk.op_type == "QLinearConv"] == ["r1", "r3"]


def test_signed_activations_are_made_unsigned_by_the_optimizer_and_the_remedy_says_so(tmp_path: Path) -> None:
    (tmp_path / "signed").mkdir()
    signed = forecast(load(CLIPPED["static, int8 activations"](tmp_path / "signed")))
    assert "session.qdqisint8allowed" in remedy(signed)
    assert "session.qdqisint8allowed" not in remedy(forecast(load(static(tmp_path))))


def test_products_of_two_activations_can_overflow_whatever_the_weights() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[2, 8] x) => (int32[2, 2] y)
    <float s = {0.01}, uint8 z = {0}, int8 k = {0}>
    { a = QuantizeLinear (x, s, z)  t = Transpose (x)  b = QuantizeLinear (t, s, k)  y = MatMulInteger (a, b) }"""
    model = load(parsed(text))
    (risk,) = forecast(model).risks
    assert (risk.layer, risk.pairs) == ("y", None)
    assert "x64quantprecision" not in remedy(forecast(model))
    feeds = {"x": np.full((2, 8), 3, np.float32)}
    overflow = emulated(model, feeds)
    # 255 * 127 twice is beyond 32767, four times a row.
    (moved,) = overflow.moved
    assert (moved.largest, moved.absolute) == (8 * 255 * 127, 4 * (2 * 255 * 127 - 32767))
    assert str(moved) == "4 of the 4 integers of 'y'"


def test_a_model_that_onnxruntime_does_not_run_has_no_forecast() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "somebody": 1]> net (float[2] x) => (float[2] y)
    <float s = {0.01}, uint8 z = {0}>
    { a = QuantizeLinear (x, s, z)  b = somebody.Unknown (a)  y = DequantizeLinear (b, s, z) }"""
    with pytest.raises(UnsupportedOpError, match="does not write"):
        foretell(load(parsed(text)), ["y"])


def test_the_note_names_the_tensor_and_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(dynamic(tmp_path))
    feeds = feeds_of(model)
    emulate_clipping(monkeypatch, model)
    (moved,) = emulated(model, feeds).moved
    note = note_of(model, ["y"], feeds)
    assert note is not None
    assert note.startswith("onnxruntime on this processor clips int8 sums: an ordinary session moves 'y' by ")
    assert f"{moved.absolute:.2g} of {moved.largest:.2g}" in note


def emulate_clipping(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """Let the first session that is opened clip its sums, as on a processor without VNNI, on any."""
    network = forecast(model).emulation({name: array.shape for name, array in feeds_of(model).items()}).network

    class Clipping:
        def run(self, _: list[str], given: dict[str, Any]) -> list[Any]:
            with torch.no_grad(), clipped_sums():
                return [network(*(torch.from_numpy(given[name]) for name in network.input_names)).numpy()]

    waiting: list[Any] = [Clipping()]
    monkeypatch.setattr(ordinary, "clips_sums", lambda: True)
    monkeypatch.setattr(ordinary, "open_session", lambda *given: waiting.pop() if waiting else open_session(*given))


def test_where_kernels_do_not_clip_there_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(dynamic(tmp_path))
    monkeypatch.setattr(ordinary, "clips_sums", lambda: False)
    assert note_of(model, ["y"], feeds_of(model)) is None


def test_verify_has_the_note_and_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dynamic(tmp_path)
    for node in (None, "y"):
        emulate_clipping(monkeypatch, load(path))
        report = verify(path, node)
        assert report.ok
        assert ["'y' by" in note for note in report.notes] == [True]


def test_float_networks_are_not_optimized_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxvis.overflow.optimize", lambda *_: pytest.fail("optimized"))
    monkeypatch.setattr("onnxvis.ordinary.optimize", lambda *_: pytest.fail("optimized"))
    model = load(conv_net())
    assert foretell(model, ["probabilities"]) is None
    assert moved_here(model, ["probabilities"], [{}]) == []
