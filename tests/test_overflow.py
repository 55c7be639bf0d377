from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from onnxvis import ordinary, verify
from onnxvis.errors import UnsupportedOpError
from onnxvis.model import Model, load
from onnxvis.ops.clipping import clipped_sums
from onnxvis.oracle import Oracle, open_session
from onnxvis.ordinary import how_far, moved_here, note_of
from onnxvis.overflow import Forecast, Overflow, foretell, remedy
from onnxvis.processor import clips_sums
from tests.int8_models import CLIPPED, EXACT, REDUCED, dynamic, static
from tests.models import conv_net, parsed
from tests.ops.int8_products import CASES

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


HEADER = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'
PRODUCT = "com.microsoft.DynamicQuantizeMatMul"
WEIGHT = np.random.default_rng(0).integers(-128, 128, (8, 8)).astype(np.int8)
HELD = {
    "Loop": f"""g (float[2, 8] x) => (float[2, 8] y) {{
        n = Constant <value = int64 {{3}}> ()  k = Constant <value = bool {{1}}> ()
        y = Loop (n, k, x) < body = d (int64 i, bool c, float[2, 8] h) => (bool c2, float[2, 8] s) {{
            c2 = Identity (c)  p = {PRODUCT} (h, w, v)  s = Tanh (p) }} > }}""",
    "If": f"""g (float[2, 8] x) => (float[2, 8] y) {{
        t = ReduceMean <keepdims = 0> (x)  z = Constant <value = float {{-9.0}}> ()  k = Greater (t, z)
        y = If (k) < then_branch = b () => (float[2, 8] q) {{ p = {PRODUCT} (x, w, v)  q = Tanh (p) }},
                     else_branch = e () => (float[2, 8] n) {{ n = Identity (x) }} > }}""",
    "Scan": f"""g (float[2, 3, 8] x) => (float[2, 3, 8] y) {{
        y = Scan (x) < num_scan_inputs = 1, body = d (float[3, 8] b) => (float[3, 8] q) {{
            p = {PRODUCT} (b, w, v)  q = Tanh (p) }} > }}""",
}


def small(text: str, **weights: Any) -> Model:
    return load(parsed(f"{HEADER} {text}", **{"w": WEIGHT, "v": np.array(0.01, np.float32), **weights}))


@pytest.mark.parametrize("text", HELD.values(), ids=HELD)
def test_what_overflows_in_branches_and_loops_is_counted_for_what_holds_them(text: str) -> None:
    model = small(text)
    (risk,) = forecast(model).risks
    assert risk.layer == "y"
    overflow = emulated(model, feeds_of(model))
    assert set(overflow.clipped) == {risk.tensor}
    assert 0 < overflow.clipped[risk.tensor] < overflow.sums[risk.tensor]


def test_labels_that_change_are_counted() -> None:
    labels = "label = ArgMax <axis = 1, keepdims = 0> (l)"
    text = f"g (float[64, 8] x) => (int64[64] label) {{ l = {PRODUCT} (x, w, v)  {labels} }}"
    # The second class has the highest sums, and loses most of them.
    steep = np.array([[60] * 8, [127, 127, 0, 0] * 2, *([[0] * 8] * 6)], np.int8).T
    model = small(text, w=np.ascontiguousarray(steep))
    (moved,) = emulated(model, feeds_of(model)).moved
    assert 0 < moved.changed < moved.of == 64
    assert str(moved) == f"{moved.changed} of the 64 integers of 'label'"
    assert moved.relative == moved.changed / 64


def test_outputs_that_cannot_be_lowered_are_left_out() -> None:
    text = f"""g (float[2, 8] x) => (float[2, 8] y, uint32[2, 8] h)
        {{ y = {PRODUCT} (x, w, v)  h = com.microsoft.MurmurHash3 (x) }}"""
    model = small(text)
    assert [name for name, _ in forecast(model).emulation({"x": (2, 8)}).names] == ["y"]
    assert emulated(model, feeds_of(model)).moved


def test_a_tensor_whose_type_the_file_does_not_say_is_read() -> None:
    labels = "label = ArgMax <axis = 1, keepdims = 0> (l)"
    model = small(f"g (float[2, 8] x) => (int64[2] label) {{ l = {PRODUCT} (x, w, v)  {labels} }}")
    found = foretell(model, ["l"])
    assert found is not None
    assert found.risks
    assert found.outputs == {"l": "l"}


@pytest.mark.parametrize(
    ("text", "weights", "told", "not_told"),
    [
        (
            "g (int8[1, 2, 3, 3] x) => (int32[1, 1, 2, 2] y) { y = ConvInteger (x, f) }",
            {"f": np.full((1, 2, 2, 2), 255, np.uint8)},
            "make the filters int8",
            "uint8 weights",
        ),
        (
            "g (uint8[2, 8] a, int8[8, 2] b) => (int32[2, 2] y) { y = MatMulInteger (a, b) }",
            {},
            "make both activations uint8 or both int8",
            "weights",
        ),
        (f"g (float[2, 8] x) => (float[2, 8] y) {{ y = {PRODUCT} (x, w, v) }}", {}, "x64quantprecision", "qdqisint8"),
    ],
    ids=["filters", "activations", "weights"],
)
def test_what_helps_depends_on_the_product(text: str, weights: dict[str, Any], told: str, not_told: str) -> None:
    said = remedy(forecast(small(text, **weights)))
    assert told in said
    assert not_told not in said


def told(name: str, opset: int) -> onnx.ModelProto:
    """The model of a case, with its weights, which says the types of its outputs."""
    model = CASES[name].model(constant=True)
    model.opset_import[0].version = opset
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for output, known in zip(model.graph.output, session.get_outputs(), strict=True):
        kind = onnx.TensorProto.DataType.Value(known.type[len("tensor(") : -1].upper())
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, known.shape))
    return model


@pytest.mark.parametrize(("opset", "helps"), [(20, True), (21, False)])
def test_the_option_is_named_only_where_onnxruntime_heeds_it(opset: int, helps: bool) -> None:
    model = told("QLinearMatMul 64", opset)
    assert ("x64quantprecision" in remedy(forecast(load(model)))) == helps


@clipping
@pytest.mark.parametrize("name", [name for name in CASES if "64" in name or "plain" in name or "last" in name])
@pytest.mark.parametrize("opset", [20, 21])
def test_the_option_that_is_named_helps_and_no_other_would(name: str, opset: int) -> None:
    model = told(name, opset)
    found = forecast(load(model))
    feeds = CASES[name].feeds(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    exact = Oracle(load(model), [model.graph.output[0].name]).run(feeds)[model.graph.output[0].name]
    apart = np.abs(session.run(None, feeds)[0].astype(np.float64) - exact).max()
    assert (apart <= 1e-4 * np.abs(exact).max()) == ("x64quantprecision" in remedy(found))


@clipping
@pytest.mark.parametrize("layer", ["r1", "r3", "y"])
def test_a_layer_between_quantizers_is_measured_as_it_is_run(layer: str, tmp_path: Path) -> None:
    path = static(tmp_path)
    model, proto = load(path), onnx.load(path)
    feeds = feeds_of(model)
    (moved,) = moved_here(model, [layer], [feeds])
    proto.graph.output.extend([onnx.ValueInfoProto(name=f"{layer}_DequantizeLinear_Output")] if layer != "y" else [])
    own, exact = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[-1]
        for each in (proto, precise(proto))
    )
    assert moved.absolute == pytest.approx(np.abs(own - exact).max(), rel=1e-4)
    assert moved.largest == pytest.approx(np.abs(exact).max(), rel=1e-4)


def precise(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Write the int8 weights of a QDQ file as uint8, by hand."""
    written = onnx.ModelProto()
    written.CopyFrom(proto)
    for tensor in written.graph.initializer:
        if tensor.name.endswith(("_quantized", "_zero_point")) and tensor.data_type == onnx.TensorProto.INT8:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((array.astype(np.int16) + 128).astype(np.uint8), tensor.name))
    return written


def test_random_numbers_are_not_taken_for_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordinary, "clips_sums", lambda: True)
    text = f"""g (float[2, 8] x) => (float[2, 8] y)
        {{ p = {PRODUCT} (x, w, v)  r = RandomNormalLike (p)  y = Add (p, r) }}"""
    model = small(text, w=np.ones((8, 8), np.int8))
    assert moved_here(model, ["y"], [feeds_of(model)]) == []


def test_what_would_take_too_long_is_given_up(tmp_path: Path) -> None:
    model = load(static(tmp_path))
    feeds = feeds_of(model)
    emulation = forecast(model).emulation({name: array.shape for name, array in feeds.items()})
    found = emulation.run(feeds)
    assert found is not None
    assert emulation.run(feeds, found.looked) is not None
    assert emulation.run(feeds, found.looked - 1) is None


def test_boxes_of_another_number_have_all_moved() -> None:
    moved = how_far("boxes", np.zeros((3, 4)), np.zeros((5, 4)))
    assert (moved.changed, moved.of, moved.relative) == (20, 20, 1.0)


def test_what_is_infinite_on_both_sides_has_not_moved() -> None:
    assert how_far("y", np.array([np.inf, np.nan, 1.0]), np.array([np.inf, np.nan, 1.0])).changed == 0
