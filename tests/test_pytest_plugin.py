from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest

from tests.models import parsed

ROOT = Path(__file__).parents[1]
HEAD = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] x) => (float[1, 2, 6, 6] y) '
Run = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = '[check]\nonly = ["load", "policy", "weights"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a good model, one whose weights are damaged, a broken one, and a test of its own."""
    (tmp_path / "models").mkdir()
    weight = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
    onnx.save(parsed(HEAD + "{ y = Conv (x, w) }", w=weight), tmp_path / "models" / "good.onnx")
    weight[0, 0, 0, 0] = np.nan
    onnx.save(parsed(HEAD + "{ y = Conv (x, w) }", w=weight), tmp_path / "models" / "nan.onnx")
    (tmp_path / "models" / "broken.onnx").write_bytes(b"broken")
    (tmp_path / "onnxvis.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run pytest as a project does that has the plugin and no other, with warnings as errors."""

    def started(*words: str, plugins: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "COLUMNS": "160",
        }
        named = [word for plugin in ("onnxvis.pytest_plugin", *plugins) for word in ("-p", plugin)]
        command = [sys.executable, "-m", "pytest", *named, "-p", "no:cacheprovider", *words]
        return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=200)

    return started


def test_each_check_of_each_model_is_a_test(run: Run, project: Path) -> None:
    done = run("--onnxvis", "models/good.onnx", "models/nan.onnx", "test_own.py", "-rA", "--junitxml", "r.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert "PASSED models/good.onnx::weights" in done.stdout
    assert "FAILED models/nan.onnx::weights" in done.stdout
    assert "PASSED test_own.py::test_own" in done.stdout
    assert "1 failed, 4 passed, 2 skipped" in done.stdout
    assert "Traceback" not in done.stdout
    assert "pytest_plugin.py" not in done.stdout
    cases = ET.parse(project / "r.xml").getroot().iter("testcase")  # noqa: S314 - written a moment ago
    failures = {(case.get("classname"), case.get("name")): case.find("failure") for case in cases}
    failure = failures["models.nan.onnx", "weights"]
    assert failure is not None
    assert "NaN" in str(failure.text)
    assert "\n" not in str(failure.text)


def test_a_folder_is_searched_and_a_broken_file_fails_to_load(run: Run) -> None:
    done = run("--onnxvis", "models", "-k", "load", "-rA")
    assert "FAILED models/broken.onnx::load" in done.stdout
    assert "1 failed, 2 passed, 6 deselected" in done.stdout


def test_tests_are_listed_with_their_groups_and_no_model_is_looked_at(run: Run, project: Path) -> None:
    (project / "conftest.py").write_text(
        "def pytest_collection_finish(session):\n"
        "    for item in session.items:\n"
        "        print(item.nodeid, 'is in', *[mark.args[0] for mark in item.iter_markers('xdist_group')])\n",
        encoding="utf-8",
    )
    done = run("--onnxvis", "models", "--collect-only", "-q", "-s", "--strict-markers", plugins=("xdist",))
    assert done.returncode == 0, done.stdout
    listed = [line for line in done.stdout.splitlines() if " is in " in line]
    models = [f"models/{name}.onnx" for name in ("broken", "good", "nan")]
    assert listed == [f"{model}::{check} is in {model}" for model in models for check in CHECKED]


CHECKED = ("load", "policy", "weights")


def test_warnings_are_listed_and_skipped_checks_name_their_model(run: Run, project: Path) -> None:
    (project / "other.toml").write_text(
        '[check]\nonly = ["weights", "baseline"]\nfail-on = "never"\n', encoding="utf-8"
    )
    done = run("--onnxvis", "models/nan.onnx", "--onnxvis-config", "other.toml", "-rs", "--junitxml", "r.xml")
    assert done.returncode == 0, done.stdout
    assert "onnxvis warnings" in done.stdout
    assert "models/nan.onnx::weights: " in done.stdout
    assert "SKIPPED [1] models/nan.onnx::baseline: " in done.stdout
    assert 'name="onnxvis_warning"' in (project / "r.xml").read_text(encoding="utf-8")


def test_a_wrong_configuration_is_one_line(run: Run, project: Path) -> None:
    (project / "onnxvis.toml").write_text("[check]\nonyl = []\n", encoding="utf-8")
    done = run("--onnxvis", "models/good.onnx")
    assert done.returncode == 2
    assert "onyl" in done.stdout
    assert ".py:" not in done.stdout


def test_with_xdist_the_checks_of_a_model_stay_together(run: Run) -> None:
    done = run("--onnxvis", "models", "-n", "2", "--dist", "loadfile", "-v", plugins=("xdist",))
    assert "2 failed, 3 passed, 4 skipped" in done.stdout, done.stdout + done.stderr
    found = re.findall(r"^\[(gw\d)\].* (models/\w+)\.onnx::", done.stdout, re.MULTILINE)
    assert len(found) == 9
    assert len(set(found)) == 3


def test_without_the_option_nothing_is_collected_or_imported(run: Run, project: Path) -> None:
    (project / "conftest.py").write_text(
        "import sys\ndef pytest_unconfigure():\n"
        "    heavy = {'onnxvis.config', 'onnxvis.workers', 'onnxvis.check'} & set(sys.modules)\n"
        "    print('imported', sorted(heavy))\n",
        encoding="utf-8",
    )
    done = run("-s", ".")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "imported []" in done.stdout


def test_the_plugin_itself_imports_nothing_heavy() -> None:
    # The package's own names are left out: what it imports is not the plugin's matter.
    code = (
        "import sys, types; package = types.ModuleType('onnxvis'); package.__path__ = ['onnxvis'];"
        "sys.modules['onnxvis'] = package; import onnxvis.pytest_plugin;"
        "print(sorted({'torch', 'onnx', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
