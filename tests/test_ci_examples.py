"""The examples for continuous integration are run as they stand, as far as that goes without a network."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

yaml = pytest.importorskip("yaml", reason="reads the examples; comes with transformers, of the extra `test`")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "ci"
ACTION = ROOT / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one model, in which `onnxvis` is this one and pip only says what it is told to do."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "textures.onnx").write_bytes((ROOT / "samples" / "textures.onnx").read_bytes())
    programs = tmp_path / "bin"
    programs.mkdir()
    _program(programs / "onnxvis", f'exec "{sys.executable}" -m onnxvis "$@"')
    _program(
        programs / "python", f'if [ "$2" = pip ]; then echo "$@" >> pip.txt; else exec "{sys.executable}" "$@"; fi'
    )
    return tmp_path


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def bash(script: str, project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub and GitLab do."""
    env = {
        **os.environ,
        "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "COLUMNS": "200",
        **variables,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=300)


def step(name: str) -> Mapping[str, Any]:
    """Return the step of the action that has this name."""
    steps: list[Mapping[str, Any]] = read(ACTION)["runs"]["steps"]
    return next(item for item in steps if item.get("name") == name)


def run_action(project: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the step of the action that checks, with the inputs that it declares in their places."""
    declared = {name: str(item["default"]) for name, item in read(ACTION)["inputs"].items()}
    assert set(inputs) <= set(declared)
    found = step("Check the models")
    values = {**declared, **inputs}
    variables = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)
        for name, text in found["env"].items()
    }
    assert "${{" not in found["run"]
    output, summary = project / "output.txt", project / "summary.md"
    output.touch()
    return bash(found["run"], project, GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary), **variables)


def test_the_action_installs_the_torch_that_is_asked_for_before_itself(project: Path) -> None:
    done = bash(step("Install onnxvis")["run"], project, ACTION="/the action", TORCH="torch==2.13.0 --index-url there")
    assert done.returncode == 0, done.stderr
    first, second = (project / "pip.txt").read_text(encoding="utf-8").splitlines()
    assert first == "-m pip install torch==2.13.0 --index-url there"
    assert second == "-m pip install /the action"


def test_the_github_example_gives_the_action_inputs_that_it_has_and_uses_outputs_that_it_has() -> None:
    steps = read(EXAMPLES / "github.yml")["jobs"]["check"]["steps"]
    (used,) = [item for item in steps if "onnxvis@" in item.get("uses", "")]
    action = read(ACTION)
    assert set(used["with"]) <= set(action["inputs"])
    text = (EXAMPLES / "github.yml").read_text(encoding="utf-8")
    assert set(re.findall(rf"steps\.{used['id']}\.outputs\.(\w+)", text)) == set(action["outputs"])


def test_the_github_example_checks_a_model(project: Path) -> None:
    steps = read(EXAMPLES / "github.yml")["jobs"]["check"]["steps"]
    inputs = next(item["with"] for item in steps if "onnxvis@" in item.get("uses", ""))
    done = run_action(project, **inputs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "::notice title=onnxvis check::1 model" in done.stdout
    assert (project / "output.txt").read_text(encoding="utf-8") == "sarif=onnxvis.sarif\n"
    assert "| models/textures.onnx |" in (project / "summary.md").read_text(encoding="utf-8")
    for name in ("onnxvis.sarif", "report.xml", "report.html"):
        assert (project / name).stat().st_size > 100


def test_the_action_leaves_no_report_of_an_earlier_run(project: Path) -> None:
    (project / "onnxvis.sarif").write_text("old", encoding="utf-8")
    done = run_action(project, models="nothing-*.onnx")
    assert done.returncode == 2, done.stdout
    assert not (project / "onnxvis.sarif").exists()
    assert (project / "output.txt").read_text(encoding="utf-8") == ""


def test_nothing_in_an_input_of_the_action_is_run(project: Path) -> None:
    evil = "$(touch pwned) `touch pwned` ;touch${IFS}pwned '\" *.onnx"
    done = run_action(project, models=evil, config=evil)
    assert done.returncode == 2, done.stdout
    assert evil in done.stderr
    assert not (project / "pwned").exists()
    assert (project / "output.txt").read_text(encoding="utf-8") == ""


def test_the_action_fails_where_a_model_does(project: Path) -> None:
    (project / "models" / "more" / "still").mkdir(parents=True)
    (project / "models" / "more" / "still" / "broken.onnx").write_bytes(b"broken")
    done = run_action(project, models="**/*.onnx\nmodels/missing.onnx", args="--only load --quiet")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::error file=models/more/still/broken.onnx,title=load::" in done.stdout
    assert "::error file=models/missing.onnx,title=load::" in done.stdout
    assert (project / "output.txt").read_text(encoding="utf-8") == "sarif=onnxvis.sarif\n"


def test_the_gitlab_example_checks_a_model(project: Path) -> None:
    job = read(EXAMPLES / "gitlab.yml")["models"]
    done = bash("\n".join([*job["before_script"], *job["script"]]), project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "pip.txt").read_text(encoding="utf-8").count("pip install") == 2
    report = ET.parse(project / job["artifacts"]["reports"]["junit"]).getroot()  # noqa: S314 - written a moment ago
    assert {suite.get("name") for suite in report} == {"models/textures.onnx"}
    assert all((project / path).exists() for path in job["artifacts"]["paths"])


def test_the_pre_commit_hook_checks_the_models_of_a_commit(project: Path) -> None:
    (hook,) = read(HOOKS)
    (used,) = read(EXAMPLES / "pre-commit.yaml")["repos"][0]["hooks"]
    assert used["id"] == hook["id"]
    changed = ["models/textures.onnx", "models/textures.onnx.txt", "README.md"]
    models = [name for name in changed if re.search(hook["files"], name)]
    assert models == ["models/textures.onnx"]
    # As pre-commit does it: the entry is split like a shell's words, then come args, then file names.
    words = [*shlex.split(hook["entry"]), *used["args"], *models]
    done = bash(shlex.join(words), project)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_shell_completes_commands() -> None:
    env = {**os.environ, "_ONNXVIS_COMPLETE": "complete_bash", "COMP_WORDS": "onnxvis che", "COMP_CWORD": "1"}
    code = "import onnxvis.cli; onnxvis.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.split() == ["check"]


def test_the_page_speaks_of_options_that_there_are() -> None:
    import typer.main  # noqa: PLC0415 - likewise

    from onnxvis.cli import app  # noqa: PLC0415 - what it registers is looked at

    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (?:python -m )?onnxvis check (.*?)(?: \|.*)?$", page, re.MULTILINE)
    assert len(commands) >= 6
    known = {
        option
        for parameter in typer.main.get_command(app).commands["check"].params  # type: ignore[attr-defined] # a group
        for option in parameter.opts
    }
    used = {word for command in commands for word in command.split() if word.startswith("--")}
    assert used <= known
