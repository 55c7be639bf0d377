from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.converters.environments import CONVERTERS, ROOT

SCRIPTS = sorted(CONVERTERS.glob("from_*.py"))


def named(script: Path) -> str:
    return script.name


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(CONVERTERS)
    return importlib.import_module("requirements")


def needed(module: Any, *scripts: Path) -> dict[str, Requirement]:
    found = [Requirement(line) for line in module.requirements(scripts)]
    return {requirement.name: requirement for requirement in found}


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_a_converter_names_what_it_needs_and_a_lowest_version_of_each(module: Any, script: Path) -> None:
    requirements = needed(module, script)
    assert {"numpy", "onnx", "onnxruntime"} < requirements.keys()
    unbound = {name for name, requirement in requirements.items() if ">=" not in str(requirement.specifier)}
    assert unbound <= {"setuptools"}  # which paddle2onnx needs, any version
    assert module.header(script)["requires-python"] == ">=3.11"


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_tensorflow_and_torch_never_meet(module: Any, script: Path) -> None:
    requirements = needed(module, script)
    assert not ({"tensorflow", "tensorflow-cpu"} & requirements.keys() and "torch" in requirements)


def test_the_scripts_of_tensorflow_need_the_same_versions(module: Any) -> None:
    scripts = [CONVERTERS / f"from_{name}.py" for name in ("keras", "tensorflow", "tflite")]
    together = module.requirements(scripts)
    assert len(together) == len({(Requirement(line).name, str(Requirement(line).marker)) for line in together})


def test_a_script_without_a_header_is_refused(module: Any) -> None:
    with pytest.raises(ValueError, match=r"silence\.py has no header"):
        module.requirements([CONVERTERS / "silence.py"])


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_the_readme_shows_every_converter(script: Path) -> None:
    assert f"`{script.name} " in (CONVERTERS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_no_converter_hides_the_module_that_it_imports(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert f'framework("{script.stem}' not in text
    assert (ROOT / "converters" / f"{script.stem.removeprefix('from_')}.py").exists() is False
