from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typer
from typer.testing import CliRunner, Result

from onnxvis import check_cli, report
from onnxvis.baseline import Baseline
from onnxvis.config import CheckSettings, chosen_checks
from onnxvis.outcomes import Detail, ModelReport, Outcome, Status
from onnxvis.workers import Workers
from tests.test_workers import work

TEXTURES = Path(__file__).parents[1] / "samples" / "textures.onnx"
Command = Callable[..., Result]


class Checked:
    """Stands in for the processes: remembers what they are asked, and answers with one status for each name."""

    def __init__(self) -> None:
        self.settings: dict[str, CheckSettings] = {}
        self.jobs: int | None = None

    def __call__(
        self, paths: Any, settings_for: Callable[[Path], CheckSettings], *, jobs: int, fresh: bool
    ) -> tuple[ModelReport, ...]:
        """Answer as `check_models` does."""
        assert fresh
        self.jobs = jobs
        self.settings = {path.as_posix(): settings_for(path) for path in paths}
        return tuple(reported(name) for name in self.settings)


def reported(name: str) -> ModelReport:
    if "stop" in name:
        raise KeyboardInterrupt
    words: tuple[Status, ...] = ("warn", "fail", "error", "skip")
    status: Status = next((word for word in words if word in name), "pass")
    details = (Detail(status, "unit 3 | of relu1", "relu1"),) if status != "pass" else ()
    return ModelReport(name, (Outcome("load", "pass", "loads"), Outcome("dead-units", status, "looked at", details)))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Checked:
    stand_in = Checked()
    monkeypatch.setattr(check_cli, "check_models", stand_in)
    return stand_in


@pytest.fixture
def onnxvis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in a folder with models, some of them in folders."""
    for name in ("a.onnx", "b.onnx", "nets/c.onnx", "nets/deep/warn.onnx", "nets/.hidden/d.onnx", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(report.OUT, "_file", None)
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(check_cli.check)
    app.command()(check_cli.baseline)
    return lambda *words: CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("b.onnx", "a.onnx", "b.onnx"), ["b.onnx", "a.onnx"]),
        (("nets",), ["nets/c.onnx", "nets/deep/warn.onnx"]),
        (("./nets/",), ["nets/c.onnx", "nets/deep/warn.onnx"]),
        (("*.onnx",), ["a.onnx", "b.onnx"]),
        (("**/*.onnx", "gone.onnx"), ["a.onnx", "b.onnx", "nets/c.onnx", "nets/deep/warn.onnx", "gone.onnx"]),
    ],
)
def test_models_are_files_folders_and_globs(
    onnxvis: Command, checked: Checked, words: tuple[str, ...], files: list[str]
) -> None:
    assert onnxvis("check", *words).exit_code == 0
    assert list(checked.settings) == files


def test_a_model_that_is_named_twice_is_one(onnxvis: Command, checked: Checked) -> None:
    assert onnxvis("check", "a.onnx", "./a.onnx", "--baseline", "then.json").exit_code == 0
    assert list(checked.settings) == ["a.onnx"]


def test_without_models_the_configuration_names_them(onnxvis: Command, checked: Checked) -> None:
    Path("onnxvis.toml").write_text('[check]\nfiles = ["nets/*.onnx"]\njobs = 3\n', encoding="utf-8")
    assert onnxvis("check").exit_code == 0
    assert (list(checked.settings), checked.jobs) == (["nets/c.onnx"], 3)
    assert onnxvis("check", "a.onnx", "--jobs", 0).exit_code == 0
    assert (list(checked.settings), checked.jobs) == (["a.onnx"], 0)


def test_every_option_goes_before_the_configuration(onnxvis: Command, checked: Checked) -> None:
    Path("set.toml").write_text('[check]\nskip = ["load"]\nseed = 9\nsize = 32\ntimeout = 5\n', encoding="utf-8")
    options = {
        "--config": "set.toml",
        "--only": "agreement, finite",
        "--skip": "policy",
        "--images": "photos",
        "--size": "20x30",
        "--preprocess": "imagenet",
        "--baseline": "then.json",
        "--timeout": 1.5,
    }
    words = [word for pair in options.items() for word in pair]
    assert onnxvis("check", "a.onnx", *words, "--only", "gradients").exit_code == 0
    assert checked.settings["a.onnx"] == CheckSettings(
        only=("agreement", "finite", "gradients"),
        skip=("policy",),
        images="photos",
        size=(20, 30),
        preprocess="imagenet",
        baseline="then.json",
        timeout=1.5,
        seed=9,
    )


def test_what_is_asked_for_is_done_also_where_the_file_skips_it(onnxvis: Command, checked: Checked) -> None:
    Path("onnxvis.toml").write_text('[check]\nskip = ["load", "finite"]', encoding="utf-8")
    assert onnxvis("check", "a.onnx", "--only", "load").exit_code == 0
    assert chosen_checks(checked.settings["a.onnx"]) == ("load",)
    assert onnxvis("check", "a.onnx", "--only", "load", "--skip", "finite").exit_code == 0
    assert chosen_checks(checked.settings["a.onnx"]) == ("load",)


def test_no_check_at_all_is_a_wrong_use(onnxvis: Command) -> None:
    Path("onnxvis.toml").write_text('[check]\nonly = ["load"]', encoding="utf-8")
    done = onnxvis("check", "a.onnx", "--skip", "load")
    assert done.exit_code == 2
    assert "only = load and skip = load" in done.stderr


def test_a_model_is_one_by_all_its_paths(onnxvis: Command, checked: Checked) -> None:
    onnxvis("check", "a.onnx", Path("a.onnx").absolute(), "./nets/../a.onnx")
    assert list(checked.settings) == ["a.onnx"]


def test_what_is_not_given_stays_as_the_configuration_says(onnxvis: Command, checked: Checked) -> None:
    text = '[check]\nskip = ["load"]\n[check.models."a.onnx"]\nmax-dead = 0.25\nonly = ["finite"]\n'
    Path("onnxvis.toml").write_text(text, encoding="utf-8")
    assert onnxvis("check", "a.onnx", "b.onnx").exit_code == 0
    assert checked.settings["a.onnx"] == CheckSettings(skip=("load",), only=("finite",), max_dead=0.25)
    assert checked.settings["b.onnx"] == CheckSettings(skip=("load",))


@pytest.mark.parametrize(
    ("model", "words", "status"),
    [
        ("good", (), 0),
        ("skip", (), 0),
        ("warn", (), 0),
        ("warn", ("--fail-on", "warn"), 1),
        ("fail", (), 1),
        ("fail", ("--fail-on", "never"), 0),
        ("error", (), 1),
        ("error", ("--fail-on", "never"), 1),
    ],
)
@pytest.mark.usefixtures("checked")
def test_the_exit_status_says_whether_all_is_good(
    onnxvis: Command, model: str, words: tuple[str, ...], status: int
) -> None:
    done = onnxvis("check", "a.onnx", f"{model}.onnx", "--json", "-", *words)
    assert done.exit_code == status
    assert json.loads(done.stdout)["ok"] == (status == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "No model is named."),
        (("empty",), "There is no .onnx file in 'empty'."),
        (("nothing-*.onnx",), "'nothing-*.onnx' matches no file."),
        (("a.onnx", "--only", "agreemnt"), "nearest: 'agreement'"),
        (("a.onnx", "--skip", "process"), "'process'"),
        (("a.onnx", "--fail-on", "always"), "'always'"),
        (("a.onnx", "--size", "big"), "--size 'big' is not understood."),
        (("a.onnx", "--preprocess", "mine"), "'mine'"),
        (("a.onnx", "--timeout", "0"), "timeout"),
        (("a.onnx", "--config", "gone.toml"), "gone.toml"),
        (("a.onnx", "b.onnx", "--baseline", "x.json"), "--baseline is of one model, and there are 2."),
        (("a.onnx", "--junit", "a.onnx"), "Cannot write 'a.onnx': Let the name end in .xml."),
        (("a.onnx", "--html", "gone/report.html"), "there is no folder 'gone'"),
        (("a.onnx", "--json", "x.json", "--sarif", "./x.json"), "Two reports have one name"),
        (("a.onnx", "--only", "load", "--skip", "load"), "only = load and skip = load leave no check to do"),
        (("a.onnx", "--json", "-", "--github"), "--json - and --github are both printed"),
    ],
)
def test_a_wrong_use_ends_before_anything_is_checked(
    onnxvis: Command, checked: Checked, words: tuple[str, ...], told: str
) -> None:
    done = onnxvis("check", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.startswith("onnxvis: ")
    assert done.stderr.count("\n") == 1
    assert (done.stdout, checked.settings) == ("", {})


@pytest.mark.usefixtures("checked")
def test_every_report_is_written_and_says_the_same(onnxvis: Command) -> None:
    names = {"--junit": "r.xml", "--json": "r.json", "--sarif": "r.sarif", "--html": "r.html"}
    done = onnxvis("check", "a.onnx", "fail.onnx", *(word for pair in names.items() for word in pair))
    assert done.exit_code == 1
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["status"] == "fail"
    assert ET.parse("r.xml").getroot().get("failures") == "1"  # noqa: S314 - written a moment ago
    (run,) = json.loads(Path("r.sarif").read_text(encoding="utf-8"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["dead-units"]
    assert "<html" in Path("r.html").read_text(encoding="utf-8")
    assert "fail.onnx" in done.stdout


@pytest.mark.usefixtures("checked")
def test_json_is_printed_alone(onnxvis: Command) -> None:
    done = onnxvis("check", "fail.onnx", "--json", "-")
    assert json.loads(done.stdout)["models"][0]["model"] == "fail.onnx"
    assert "dead-units" in done.stderr


@pytest.mark.usefixtures("checked")
def test_quiet_prints_only_what_is_not_good(onnxvis: Command) -> None:
    assert onnxvis("check", "a.onnx", "-q").output == ""
    assert "fail.onnx" in onnxvis("check", "fail.onnx", "-q").stdout


@pytest.mark.usefixtures("checked")
def test_github_is_told_after_the_table(onnxvis: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("summary.md").write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    lines = onnxvis("check", "a.onnx", "fail.onnx", "--github").stdout.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("::notice"))
    assert first > 1
    assert all(line.startswith("::") for line in lines[first:])
    assert any(line.startswith("::error file=fail.onnx") for line in lines)
    before, heading, _, *table = Path("summary.md").read_text(encoding="utf-8").splitlines()
    assert before == "before"
    assert heading == "### onnxvis check: 2 models: 1 passes, 1 fails"
    assert table[2:4] == ["| a.onnx | pass |  |", "| fail.onnx | fail | dead-units: looked at |"]


@pytest.mark.parametrize("words", [(), ("--quiet",)])
def test_no_name_in_the_table_is_a_command_for_github(
    onnxvis: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    evil = "::stop-commands::mine ::set-env name=PATH::x"

    def answer(*_: Any, **__: Any) -> tuple[ModelReport, ...]:
        outcome = Outcome("load", "fail", " ".join([evil] * 9), (Detail("fail", evil),))
        return (ModelReport(evil, (outcome,), {"producer": evil}),)

    monkeypatch.setattr(check_cli, "check_models", answer)
    tokens = set()
    for _ in range(2):
        lines = onnxvis("check", "a.onnx", "--github", *words).stdout.splitlines()
        token = lines[0].removeprefix("::stop-commands::")
        end = lines.index(f"::{token}::")
        assert any(line.startswith("::") for line in lines[1:end])
        assert [line.split(" ")[0] for line in lines[end + 1 :]] == ["::notice", "::error"]
        tokens.add(token)
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32


@pytest.mark.usefixtures("checked")
def test_a_name_cannot_break_the_table_of_the_summary(onnxvis: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    onnxvis("check", "x|y\nz.onnx", "--github")
    assert "| x&#124;y z.onnx | pass |  |\n" in Path("summary.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("checked")
def test_an_interrupted_check_writes_nothing(onnxvis: Command) -> None:
    done = onnxvis("check", "stop.onnx", "--json", "r.json")
    assert (done.exit_code, done.stderr) == (130, "onnxvis: interrupted: no report is written\n")
    assert not Path("r.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="its processes are forks, which know the stand-in")
def test_a_model_that_crashes_its_process_is_reported_with_the_others(
    onnxvis: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr(check_cli, "check_models", crashing)
    done = onnxvis("check", "a.onnx", "segfault-1.onnx", "b.onnx", "--json", "r.json", "--jobs", 2)
    assert done.exit_code == 1
    models = json.loads(Path("r.json").read_text(encoding="utf-8"))["models"]
    assert [model["status"] for model in models] == ["pass", "error", "pass"]
    assert "SIGSEGV" in models[1]["checks"][0]["text"]


def crashing(paths: Any, settings_for: Callable[[Path], CheckSettings], **how: Any) -> tuple[ModelReport, ...]:
    with Workers(how["jobs"], fresh=how["fresh"], work=work) as workers:
        return workers.check([(path, settings_for(path)) for path in paths])


def test_a_missing_file_fails_to_load(onnxvis: Command) -> None:
    done = onnxvis("check", "gone.onnx", "--only", "load", "--json", "-")
    assert done.exit_code == 1
    (outcome,) = json.loads(done.stdout)["models"][0]["checks"]
    assert outcome["check"] == "load"
    assert "No file 'gone.onnx'" in outcome["text"]


def test_a_good_model_passes(onnxvis: Command) -> None:
    name = os.path.relpath(TEXTURES)
    done = onnxvis("check", name, "--only", "load,weights")
    assert done.exit_code == 0, done.output
    assert name in done.stdout


@pytest.mark.parametrize(
    ("word", "unit"),
    [
        ("logits:rings", ("logits", "rings")),
        ("relu1:3", ("relu1", 3)),
        ("Conv:3:7", ("Conv:3", 7)),
        ("Conv:3:", ("Conv:3", None)),
        ("logits", ("logits", None)),
        (":5", (None, 5)),
    ],
)
def test_a_unit_is_a_node_and_a_filter(word: str, unit: tuple[str | None, int | str | None]) -> None:
    assert check_cli._unit(word) == unit


def test_a_baseline_is_recorded_of_the_units_that_are_named(onnxvis: Command) -> None:
    done = onnxvis("baseline", TEXTURES, "-o", "then.json", "--unit", "logits:rings", "--steps", 4, "--seed", 5)
    assert done.exit_code == 0, done.output
    found = Baseline.load("then.json")
    (unit,) = found.units
    assert "rings" in unit.name
    assert (unit.recipe.node, unit.recipe.steps, found.seed) == ("logits", 4, 5)
    assert "then.json (1 picture, statistics of " in done.stdout


def test_a_baseline_that_cannot_be_written_is_a_wrong_use(onnxvis: Command) -> None:
    done = onnxvis("baseline", "gone.onnx", "-o", "gone/then.json")
    assert done.exit_code == 2
    assert "there is no folder 'gone'" in done.stderr
