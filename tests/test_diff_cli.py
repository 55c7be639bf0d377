"""Each option of `onnxvis diff` arrives, and the exit status is what a script can rely on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxvis import cli, diff_cli
from onnxvis.config import DiffSettings
from onnxvis.diff import Difference, diff
from tests.comparison import NET, drawn, net, net_weights
from tests.comparison.test_relations import PLAIN, WEIGHTS


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


Command = Callable[..., Result]


class Seen:
    """Remembers what the comparison is asked, and has it done."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def __call__(self, first: Any, second: Any, **asked: Any) -> Difference:
        """Compare as `diff` does."""
        self.asked = asked
        return diff(first, second, **asked)

    @property
    def settings(self) -> DiffSettings:
        """What was asked for."""
        settings = self.asked["settings"]
        assert isinstance(settings, DiffSettings)
        return settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, one that is wrong, one whose colors are the other way round, and more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    onnx.save(net(NET, **net_weights()), tmp_path / "a.onnx")
    onnx.save(net(NET, **net_weights() | {"w2": drawn(10, 8, 3, 3, seed=9)}), tmp_path / "wrong.onnx")
    onnx.save(net(PLAIN, **WEIGHTS), tmp_path / "rgb.onnx")
    onnx.save(net(PLAIN, **WEIGHTS | {"w": WEIGHTS["w"][:, ::-1].copy()}), tmp_path / "bgr.onnx")
    pool = """g (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) {
        r = Softplus (x)
        y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]%s> (r)
    }"""
    onnx.save(net(pool % ""), tmp_path / "floor.onnx")
    onnx.save(net(pool % ", ceil_mode = 1"), tmp_path / "ceil.onnx")
    open_ = "g (float[1, 3, h, w] x) => (float[1, 3, h, w] y) { y = Softplus (x) }"
    onnx.save(net(open_), tmp_path / "open.onnx")
    state = (
        "g (float[1, 3, 8, 8] x, float[1, 3, 8, 8] s) => (float[1, 3, 8, 8] y) { r = Mul (x, s)\n y = Softplus (r) }"
    )
    onnx.save(net(state), tmp_path / "state.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "photos" / "red.png")
    np.save(tmp_path / "s.npy", np.full((1, 3, 8, 8), 0.5, np.float32))
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    stand_in = Seen()
    monkeypatch.setattr(diff_cli, "diff", stand_in)
    return stand_in


@pytest.fixture
def compare(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `onnxvis diff` as it is run from a shell, in the folder."""
    assert folder.is_dir()

    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["onnxvis", "diff", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return Result(int(caught.value.code or 0), *capsys.readouterr())

    return run


def test_the_same_network_is_0_and_another_is_1(compare: Command) -> None:
    same = compare("a.onnx", "a.onnx")
    assert same.exit_code == 0
    assert same.stderr == ""
    assert "the same network" in same.stdout.splitlines()[-1]
    wrong = compare("a.onnx", "wrong.onnx")
    assert wrong.exit_code == 1
    assert wrong.stderr == ""
    assert "not the same network, first at 'c2'" in wrong.stdout.splitlines()[-1]
    assert "c2" in wrong.stdout


@pytest.mark.parametrize(
    "words", [("none.onnx", "a.onnx"), ("a.onnx", "none.onnx"), ("a.onnx", "text.onnx"), ("a.onnx", "photos")]
)
def test_a_file_that_is_missing_or_no_model_is_1_and_one_line(compare: Command, words: tuple[str, str]) -> None:
    result = compare(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("onnxvis: ")
    assert next(word for word in words if word != "a.onnx") in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--config", "none.toml"),
        ("--accept", "everything"),
        ("--accept", ""),
        ("--unit", "c1"),
        ("--unit", "c1:"),
        ("--unit", ":3"),
        ("--fail-on", "sometimes"),
        ("--tolerance", "-1"),
        ("--tolerance", "many"),
        ("--min-cosine", "2"),
        ("--size", "large"),
        ("--preprocess-a", "photo"),
        ("--preprocess-b", "photo"),
        ("--input", "s"),
        ("--input", "s=none.npy"),
        ("--seed", "-1"),
        ("--steps", "0"),
        ("--html", "nowhere/page.html"),
        ("--html", "photos"),
        ("--json", "nowhere/found.json"),
        ("--nonsense",),
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_2_before_anything_is_compared(
    compare: Command, seen: Seen, words: tuple[str, ...]
) -> None:
    result = compare("a.onnx", "a.onnx", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr != ""
    assert "Traceback" not in result.stderr
    assert seen.asked == {}


def test_one_file_alone_is_2(compare: Command) -> None:
    assert compare("a.onnx").exit_code == 2
    assert compare().exit_code == 2


@pytest.mark.parametrize("text", ["[diff]\nnonsense = 1", "[diff]\ntolerance = 'x'", "[diff", "[diff]\naccept = ['x']"])
def test_a_bad_configuration_is_2_and_one_line(compare: Command, folder: Path, text: str) -> None:
    (folder / "onnxvis.toml").write_text(text)
    result = compare("a.onnx", "a.onnx")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_settings_arrive(compare: Command, seen: Seen) -> None:
    words = ("--tolerance", "0.01", "--min-cosine", "0.9", "--fail-on", "warn", "--images", "photos", "--seed", "3")
    more = (
        "--preprocess-a",
        "unit",
        "--preprocess-b",
        "unit",
        "--accept",
        "preprocessing,attributes",
        "--accept",
        "permutation",
    )
    result = compare("a.onnx", "a.onnx", *words, *more, "--size", "16x16")
    assert result.exit_code == 0
    given = seen.settings
    assert (given.tolerance, given.min_cosine, given.fail_on, given.seed) == (0.01, 0.9, "warn", 3)
    assert given.images == "photos"
    assert given.size == (16, 16)
    assert given.preprocess_a == {"preset": "unit"} == given.preprocess_b
    assert given.accept == ("preprocessing", "attributes", "permutation")


def test_the_command_line_wins_over_the_file(compare: Command, folder: Path, seen: Seen) -> None:
    (folder / "onnxvis.toml").write_text('[diff]\ntolerance = 0.5\nseed = 7\naccept = ["attributes"]\n')
    compare("a.onnx", "a.onnx", "--tolerance", "0.25")
    assert (seen.settings.tolerance, seen.settings.seed, seen.settings.accept) == (0.25, 7, ("attributes",))
    (folder / "other.toml").write_text("[diff]\nseed = 8\n")
    compare("a.onnx", "a.onnx", "--config", "other.toml")
    assert (seen.settings.tolerance, seen.settings.seed) == (None, 8)


def test_tolerances_decide(compare: Command) -> None:
    assert compare("a.onnx", "wrong.onnx", "--tolerance", "100").exit_code == 0
    assert compare("a.onnx", "wrong.onnx", "--min-cosine", "-1").exit_code == 0
    assert compare("a.onnx", "wrong.onnx", "--min-cosine", "0.999").exit_code == 1


def test_what_is_accepted_is_no_difference(compare: Command) -> None:
    assert compare("rgb.onnx", "bgr.onnx").exit_code == 1
    assert compare("rgb.onnx", "bgr.onnx", "--accept", "preprocessing").exit_code == 0
    assert compare("floor.onnx", "ceil.onnx").exit_code == 0
    assert compare("floor.onnx", "ceil.onnx", "--fail-on", "warn").exit_code == 1
    assert compare("floor.onnx", "ceil.onnx", "--fail-on", "warn", "--accept", "attributes").exit_code == 0
    assert compare("a.onnx", "wrong.onnx", "--fail-on", "never").exit_code == 0


def test_a_warning_is_printed_also_where_all_is_well(compare: Command) -> None:
    result = compare("floor.onnx", "ceil.onnx")
    assert "ceil_mode is 1 instead of 0" in result.stdout
    assert "but for the warnings above" in result.stdout


def test_quiet_prints_nothing_but_what_is_wrong(compare: Command) -> None:
    same = compare("a.onnx", "a.onnx", "--quiet")
    assert (same.exit_code, same.stdout, same.stderr) == (0, "", "")
    wrong = compare("a.onnx", "wrong.onnx", "-q")
    assert wrong.exit_code == 1
    assert wrong.stdout.startswith("fail ")
    assert "'c2'" in wrong.stdout
    assert len(wrong.stdout) < len(compare("a.onnx", "wrong.onnx").stdout)


def test_every_layer_is_listed_on_request(compare: Command) -> None:
    few, every = compare("a.onnx", "a.onnx"), compare("a.onnx", "a.onnx", "--layers")
    rows = [line.split()[0] for line in every.stdout.splitlines() if line.split()]
    assert all(name in rows for name in ("c1", "r1", "c2", "r2", "p", "f", "y"))
    assert "GlobalAveragePool" not in few.stdout


def test_json_is_printed_alone_or_written(compare: Command, folder: Path) -> None:
    for words, status in ((("a.onnx", "a.onnx"), 0), (("a.onnx", "wrong.onnx"), 1)):
        printed = compare(*words, "--json", "-")
        assert printed.exit_code == status
        said = json.loads(printed.stdout, parse_constant=pytest.fail)
        assert said["ok"] is (status == 0)
        assert compare(*words, "--json", "found.json").exit_code == status
        written = json.loads((folder / "found.json").read_text())
        assert {**written, "seconds": 0} == {**said, "seconds": 0}
    assert compare("a.onnx", "a.onnx", "--json", "-", "--quiet").stdout.startswith("{")


def test_json_of_shapes_that_differ_is_valid(compare: Command) -> None:
    result = compare("a.onnx", "rgb.onnx", "--json", "-")
    assert result.exit_code == 1
    result = compare("floor.onnx", "open.onnx", "--json", "-")
    assert result.exit_code == 1
    json.loads(result.stdout, parse_constant=pytest.fail)


def test_a_page_is_written_with_the_units(compare: Command, folder: Path) -> None:
    result = compare("a.onnx", "wrong.onnx", "--html", "page.html", "--unit", "c1:2", "--steps", "4")
    assert result.exit_code == 1
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/png;base64,") == 2
    assert "c1:2" in result.stdout


def test_units_and_steps_arrive(compare: Command, seen: Seen) -> None:
    compare("a.onnx", "a.onnx", "--unit", "c1:2", "--unit", "c1:0", "--steps", "3")
    assert seen.asked["units"] == [("c1", 2), ("c1", 0)]
    assert seen.asked["recipe"].steps == 3
    compare("a.onnx", "a.onnx")
    assert seen.asked["recipe"] is None


def test_a_unit_that_is_nowhere_is_one_line(compare: Command) -> None:
    result = compare("a.onnx", "a.onnx", "--unit", "nowhere:2")
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1
    assert "nowhere" in result.stderr


def test_open_sizes_are_given(compare: Command, seen: Seen) -> None:
    result = compare("open.onnx", "open.onnx", "--size", "9x11")
    assert result.exit_code == 0
    assert seen.settings.size == (9, 11)
    assert "224x224" in compare("open.onnx", "open.onnx").stdout


def test_other_inputs_are_held(compare: Command, seen: Seen) -> None:
    assert compare("state.onnx", "state.onnx", "--input", "s=s.npy").exit_code == 0
    assert seen.asked["inputs"]["s"].shape == (1, 3, 8, 8)
    number = compare("state.onnx", "state.onnx", "--input", "s=0.5")
    assert (number.exit_code, number.stderr) == (0, "")


def test_an_input_that_no_file_has_is_refused(compare: Command) -> None:
    result = compare("state.onnx", "state.onnx", "--input", "nowhere=0.5")
    assert result.exit_code != 0
    assert "nowhere" in result.stderr


def test_help_names_every_option(compare: Command) -> None:
    result = compare("--help")
    assert result.exit_code == 0
    for word in ("--tolerance", "--min-cosine", "--accept", "--unit", "--fail-on", "--html", "--json", "--layers"):
        assert word in result.stdout


def test_names_of_layers_are_not_taken_for_markup(compare: Command, folder: Path) -> None:
    model, wrong = (net(NET, **net_weights() | more) for more in ({}, {"w1": drawn(8, 3, 3, 3, seed=9)}))
    for item in (model, wrong):
        item.graph.node[0].name = "[red]c1"
    onnx.save(model, folder / "one.onnx")
    onnx.save(wrong, folder / "two.onnx")
    assert "[red]c1" in compare("one.onnx", "two.onnx").stdout


def test_an_interrupted_comparison_says_so_and_leaves_no_report(
    folder: Path, compare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Difference:
        raise KeyboardInterrupt

    monkeypatch.setattr(diff_cli, "diff", interrupted)
    done = compare("a.onnx", "wrong.onnx", "--html", "page.html")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "onnxvis: interrupted: no report is written\n"
    assert not (folder / "page.html").exists()
