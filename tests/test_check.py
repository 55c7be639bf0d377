from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxvis import load
from onnxvis.check import CHECKS, check
from onnxvis.checks import REGISTRY
from onnxvis.config import CheckSettings
from onnxvis.errors import SettingError
from onnxvis.outcomes import ModelReport, Outcome
from tests.models import conv_net, parsed


def statuses(report: ModelReport) -> dict[str, str]:
    return {outcome.check: outcome.status for outcome in report.outcomes}


def test_a_good_model_passes_all_checks_in_order() -> None:
    report = check(conv_net(), name="net")
    assert report.model == "net"
    assert tuple(outcome.check for outcome in report.outcomes) == CHECKS
    assert set(statuses(report).values()) <= {"pass", "skip"}
    assert [outcome.check for outcome in report.outcomes if outcome.status == "skip"] == [
        "policy",
        "saturated-units",
        "int8-overflow",
        "baseline",
    ]


def test_the_registry_has_all_checks_but_the_baseline() -> None:
    assert (*REGISTRY, "baseline") == CHECKS


def test_only_and_skip_choose_what_is_done() -> None:
    report = check(conv_net(), CheckSettings(only=("finite", "weights"), skip=("finite",)))
    assert list(statuses(report)) == ["weights"]


def test_what_leaves_no_check_to_do_is_refused() -> None:
    with pytest.raises(SettingError, match=r"only = weights and skip = weights leave no check"):
        check(conv_net(), CheckSettings(only=("weights",), skip=("weights",)))
    with pytest.raises(SettingError, match=r"skip = load, .* leave no check"):
        check(conv_net(), CheckSettings(skip=CHECKS))


@pytest.mark.parametrize("wrong", [None, 3, ["a.onnx"]])
def test_what_is_no_model_at_all_is_a_mistake_of_the_program(wrong: Any) -> None:
    with pytest.raises(TypeError, match="A model is a path"):
        check(wrong)


def test_open_sizes_are_given_where_checks_take_them() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, K, H, W] x) => (float[N, K, H, W] y) { y = Abs (x) }'
    (outcome,) = check(parsed(text), CheckSettings(only=("load",))).outcomes
    assert "input-shapes in onnxvis.toml" in outcome.text
    assert "in Python" not in outcome.text


def test_a_file_that_does_not_load_fails_and_the_rest_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"this is no model")
    report = check(path)
    assert report.model == str(path)
    found = statuses(report)
    assert found.pop("load") == "fail"
    assert set(found.values()) == {"skip"}
    assert "\n" not in report.outcomes[0].text


def test_a_model_that_does_not_load_fails_also_where_load_was_not_asked_for() -> None:
    assert check(b"x", CheckSettings(only=("weights",))).status == "fail"


def test_a_model_that_the_reference_refuses_fails_load_and_its_file_is_checked() -> None:
    text = '<ir_version: 8, opset_import: ["": 17, "odd": 1]> g (float[1, 3] x) => (float[1, 3] y) { y = odd.Thing(x) }'
    found = statuses(check(onnx.parser.parse_model(text)))
    assert (found["load"], found["weights"], found["agreement"], found["finite"]) == ("fail", "pass", "skip", "skip")


def test_open_sizes_that_nobody_can_guess_are_an_error() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (int64[a, b, c] x) => (int64[a, b, c] y) { y = Neg(x) }'
    report = check(onnx.parser.parse_model(text))
    assert statuses(report)["load"] == "error"
    assert "leaves sizes open" in report.outcomes[0].text


def test_a_check_that_breaks_is_an_error_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Outcome:
        message = "index 3\nis out of range"
        raise IndexError(message)

    monkeypatch.setitem(REGISTRY, "weights", broken)
    report = check(conv_net())
    outcome = next(each for each in report.outcomes if each.check == "weights")
    assert outcome.status == "error"
    assert "IndexError: index 3 is out of range" in outcome.text
    assert statuses(report)["finite"] == "pass"


def test_facts_say_what_the_file_is() -> None:
    report = check(conv_net())
    assert report.facts["opset"] == "17"
    assert report.facts["nodes"] == "9"
    assert report.facts["engine"] == "onnxruntime"
    assert len(report.facts["sha256"]) == 12
    assert "image (N, 3, 16, 16) float" in report.facts["inputs"]


def test_facts_and_notes_of_the_file_alone_run_nothing() -> None:
    report = check(conv_net(), CheckSettings(only=("weights",)))
    assert "engine" not in report.facts
    assert report.notes == ()


def test_an_assumed_size_is_noted() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, h, w] x) => (float[1, 3, h, w] y) { y = Relu(x) }'
    assert check(onnx.parser.parse_model(text)).notes[0].startswith("Sizes of 'x' are open; checked at 1x3x224x224")


def test_every_outcome_has_its_time_and_the_report_all_of_it() -> None:
    report = check(conv_net())
    assert sum(outcome.seconds for outcome in report.outcomes) <= report.seconds
    assert all(outcome.seconds > 0 for outcome in report.outcomes)


def test_a_loaded_model_can_be_checked_and_is_not_changed() -> None:
    model = load(conv_net())
    before = onnx.ModelProto.SerializeToString(conv_net())
    assert check(model).model == "the model"
    assert check(onnx.ModelProto.FromString(before)).status == "pass"


def test_weights_of_nan_are_found_in_the_file_and_on_the_way() -> None:
    report = check(conv_net(w1=np.full((4, 3, 3, 3), np.nan, np.float32)))
    found = {outcome.check: outcome.layer for outcome in report.outcomes if outcome.status == "fail"}
    assert found["weights"] == found["finite"] == "conv1"


@pytest.mark.parametrize("name", ["neg_mnist_cntk_noopset", "neg_style_mosaic_opset2"])
def test_real_files_that_are_no_models_fail_load_alone(name: str, shared_models: Path) -> None:
    report = check(shared_models / f"{name}.onnx")
    assert [outcome.check for outcome in report.outcomes if outcome.status != "skip"] == ["load"]
    assert report.status == "fail"


@pytest.mark.parametrize("name", ["cls_cifar10_cnn_torch", "cls_mnist_cntk_opset8"])
def test_small_real_models_pass(name: str, shared_models: Path) -> None:
    assert check(shared_models / f"{name}.onnx").status == "pass"


@pytest.mark.parametrize("name", ["blobs", "grey", "keras_nhwc", "signals", "textures", "volumes"])
def test_the_samples_pass(name: str, root: Path) -> None:
    assert check(root / "samples" / f"{name}.onnx").status == "pass"


def test_the_quantized_sample_passes_but_for_sums_that_overflow(root: Path) -> None:
    found = statuses(check(root / "samples" / "textures_int8.onnx"))
    assert {name for name, status in found.items() if status not in ("pass", "skip")} == {"int8-overflow"}
