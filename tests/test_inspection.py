import numpy as np
import onnx
import pytest

from onnxvis import inspection as module
from onnxvis import load
from onnxvis.config import CheckSettings
from onnxvis.errors import OracleError, UnknownSizeError, UnsupportedOpError
from onnxvis.inspection import Inspection, Seen, _figures
from onnxvis.oracle import Oracle
from tests.models import conv_net


def inspected(text: str) -> Inspection:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> {text}')
    return Inspection(load(model), CheckSettings())


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    run = Oracle.run

    def counted(self: Oracle, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        runs.append(1)
        return run(self, feeds)

    monkeypatch.setattr(Oracle, "run", counted)
    return runs


def test_the_reference_and_torch_agree_at_all_tensors() -> None:
    inspection = Inspection(load(conv_net()), CheckSettings())
    probe = inspection.probes[1]
    wanted, found = inspection.reference(probe), inspection.computed(probe)
    assert set(found) == set(wanted) == {str(value.name) for value in inspection.model.activations}
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in found)


def test_the_reference_runs_once_for_each_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_runs(monkeypatch)
    inspection = Inspection(load(conv_net()), CheckSettings())
    for _ in range(2):
        for probe in inspection.probes:
            inspection.reference(probe)
            inspection.seen(probe)
    assert len(runs) == len(inspection.probes)


def test_what_does_not_fit_into_memory_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 1)
    runs = count_runs(monkeypatch)
    inspection = Inspection(load(conv_net()), CheckSettings())
    for probe in [*inspection.probes[:2], *inspection.probes[:2]]:
        inspection.reference(probe)
    assert len(runs) == 3


def test_large_tensors_are_looked_at_with_few_probes_and_that_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = len(Inspection(load(conv_net()), CheckSettings()).probes)
    monkeypatch.setattr(module, "_LARGE_BYTES", 1)
    inspection = Inspection(load(conv_net()), CheckSettings())
    assert 2 < len(inspection.probes) < all_of_them
    assert {probe.kind for probe in inspection.probes} == {"noise", "edge"}
    assert f"{len(inspection.probes)} of {all_of_them} probes" in inspection.notes[-1]


def test_what_cannot_be_lowered_can_still_be_looked_at() -> None:
    inspection = inspected(
        "g (float[1, 4] x) => (float[1, 4] y) { n = NonZero(x) s = Shape(n) c = ConstantOfShape(s)"
        " r = ReduceSum <keepdims = 0> (c) y = Add(x, r) }"
    )
    assert inspection.reference(inspection.probes[0])["y"].shape == (1, 4)


def test_what_cannot_run_can_still_be_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Oracle, "__init__", None)
    inspection = Inspection(load(conv_net()), CheckSettings())
    assert inspection.tensors[0] == "conv1"


def test_an_operator_that_nobody_knows_is_the_reference_s_error() -> None:
    inspection = inspected("g (float[1, 4] x) => (float[1, 4] y) { y = com.microsoft.NoSuchThing(x) }")
    with pytest.raises(OracleError):
        inspection.probes  # noqa: B018 - computed when asked for
    with pytest.raises((UnsupportedOpError, OracleError)):
        inspection.lowered  # noqa: B018 - likewise


def test_the_first_size_at_which_a_model_runs_is_taken() -> None:
    inspection = inspected(
        "g (float[1, 3, h, w] x) => (float[] y) <int64[2] s = {3, 65536}> { r = Reshape(x, s) y = ReduceMax(r) }"
    )
    assert inspection.shapes == {"x": (1, 3, 256, 256)}
    assert "256" in inspection.notes[0]


def test_a_model_that_runs_at_no_size_says_so() -> None:
    inspection = inspected(
        "g (float[1, 3, h, w] x) => (float[] y) <int64[2] s = {3, 7}> { r = Reshape(x, s) y = ReduceMax(r) }"
    )
    with pytest.raises(UnknownSizeError, match="runs at none of those tried"):
        inspection.probes  # noqa: B018 - computed when asked for


def test_an_input_that_nothing_depends_on_is_not_fed_and_may_be_of_any_size() -> None:
    inspection = inspected("g (float[1, 4] x, float[1, q, r, s] z) => (float[1, 4] y) { y = Neg(x) }")
    assert set(inspection.shapes) == {"x"}
    assert inspection.notes == ()


def test_random_numbers_are_looked_at_and_not_compared() -> None:
    inspection = inspected(
        "g (float[1, 4] x) => (float[1, 4] y) { a = Neg(x) r = RandomNormalLike(x) b = Add(a, r) y = Neg(b) }"
    )
    assert inspection.lowered.names == ("a",)
    assert inspection.lowered.skipped == ("r", "b", "y")
    assert "y" in inspection.reference(inspection.probes[0])


def test_a_model_without_a_tensor_to_look_at_says_so() -> None:
    inspection = inspected("g (float[2] x) => (optional(float[2]) y) { y = Optional(x) }")
    with pytest.raises(UnsupportedOpError, match="computes no tensor"):
        inspection.probes  # noqa: B018 - computed when asked for


def test_figures_are_those_of_a_slow_look() -> None:
    generator = np.random.default_rng(0)
    array, first = generator.standard_normal((2, 1, 3, 4, 5)).astype(np.float32)
    array[0, 1, 2, 3] = np.inf
    seen = _figures(array, first, 1)
    for channel in range(3):
        values = [number for number in array[0, channel].ravel().tolist() if np.isfinite(number)]
        assert (seen.low[channel], seen.high[channel]) == (min(values), max(values))
    assert (seen.nan, seen.rises, seen.falls, seen.moved) == (False, True, False, np.inf)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.nan, (True, False, False)),
        (np.inf, (False, True, False)),
        (-np.inf, (False, False, True)),
        (1.0, (False, False, False)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_told_apart(
    value: float, expected: tuple[bool, bool, bool], dtype: type[np.floating]
) -> None:
    array = np.zeros((1, 2, 3), dtype)
    array[0, 1, 1] = value
    seen: Seen = _figures(array, array, None)
    assert (seen.nan, seen.rises, seen.falls) == expected


def test_infinities_hide_behind_no_nan() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 2], np.float32)
    seen = _figures(array, array, None)
    assert (seen.nan, seen.rises, seen.falls, seen.low.tolist(), seen.high.tolist()) == (True, True, True, [2], [2])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8])
def test_how_far_a_tensor_moved_is_relative_to_its_magnitude(dtype: type[np.generic]) -> None:
    first, array = np.array([[100, 2, 3]], dtype), np.array([[100, 7, 0]], dtype)
    assert _figures(array, first, None).moved == pytest.approx(0.05)


def test_an_empty_tensor_has_no_extremes() -> None:
    empty = np.zeros((0, 4), np.float32)
    seen = _figures(empty, empty, 1)
    assert (seen.low.size, seen.moved) == (0, 0.0)


def test_infinities_that_stay_do_not_hide_what_moves() -> None:
    first, second = (np.array([[value, -np.inf]], np.float32) for value in (1, 2))
    assert _figures(second, first, 1).moved == 0.5
    assert _figures(first.copy(), first, 1).moved == 0


def test_where_nothing_can_be_varied_a_note_says_so_and_what_helps() -> None:
    inspection = inspected("g (int64[3] x) => (float[3] y) { y = Cast <to = 1> (x) }")
    assert len(inspection.notes) == 1
    assert "one probe" in inspection.notes[0]
    assert "`inputs` in onnxvis.toml" in inspection.notes[0]
