from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
MAX_BYTES = 2_000_000


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def run(command: list[str], folder: Path) -> str:
    """Run a command in a folder, without the environment of the tests, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exits {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def repository_files() -> list[Path]:
    """The files that git tracks, or will at the next commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = run(git, ROOT).split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def constraints() -> dict[str, str]:
    """From canonical name to exact version."""
    pairs = (line.split("==") for line in CONSTRAINTS.read_text().splitlines())
    return {canonicalize_name(name): version for name, version in pairs}


def declared() -> Iterator[Requirement]:
    """All that pyproject.toml asks for, whatever the platform."""
    optional = PROJECT["optional-dependencies"].values()
    for texts in (PYPROJECT["build-system"]["requires"], PROJECT["dependencies"], *optional):
        yield from map(Requirement, texts)


def needed(requirements: list[Requirement]) -> Iterator[Requirement]:
    """These and all that they pull in here, except what the puller itself pins."""
    seen: set[str] = set()
    while requirements:
        requirement = requirements.pop()
        if canonicalize_name(requirement.name) in seen or (
            requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        seen.add(canonicalize_name(requirement.name))
        yield requirement
        pulled = map(Requirement, importlib.metadata.requires(requirement.name) or [])
        requirements += [each for each in pulled if not str(each.specifier).startswith("==")]


def test_the_wheel_holds_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(distributions[1]).namelist())
    about = {name for name in names if name.startswith(f"onnxvis-{PROJECT['version']}.dist-info/")}
    files = (path for path in (ROOT / "onnxvis").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names - about == {path.relative_to(ROOT).as_posix() for path in files}
    assert "onnxvis/py.typed" in names
    assert {name.split("/", 1)[1] for name in about} >= {"METADATA", "entry_points.txt", "licenses/LICENSE"}


def test_the_source_distribution_holds_files_of_the_repository_only(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    assert names - {path.relative_to(ROOT).as_posix() for path in repository_files()} == {"PKG-INFO"}
    assert names >= {"LICENSE", "Makefile", "constraints.txt", "pyproject.toml", "tests/test_packaging.py"}


@pytest.mark.slow
def test_the_installed_wheel_works_from_another_folder(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "elsewhere"
    folder.mkdir()
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python, onnxvis = str(programs / "python"), str(programs / "onnxvis")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    run([*pip, "torch"], folder)
    run([*pip, str(distributions[1])], folder)

    assert "visualize" in run([onnxvis, "--help"], folder)
    place = run([python, "-c", "import onnxvis; print(onnxvis.__file__)"], folder)
    assert Path(place.strip()).is_relative_to(environment)
    sample = str(ROOT / "samples" / "textures.onnx")
    run([onnxvis, "visualize", sample, "--node", "logits", "--filter", "rings", "--steps", "8", "-o", "r.png"], folder)
    assert [path.name for path in folder.iterdir()] == ["r.png"]
    with Image.open(folder / "r.png") as picture:
        assert len(set(picture.convert("L").tobytes())) > 8


@pytest.mark.parametrize(
    ("system", "machine", "wanted"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("win32", "ARM64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
    ],
)
def test_each_platform_gets_one_onnxruntime(system: str, machine: str, wanted: str) -> None:
    platform = {"sys_platform": system, "platform_machine": machine}
    runtimes = [each for each in declared() if each.name.startswith("onnxruntime")]
    assert [each.name for each in runtimes if each.marker and each.marker.evaluate(platform)] == [wanted]


def test_constraints_are_plain_exact_versions_in_alphabetical_order() -> None:
    lines = CONSTRAINTS.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d+(\.\w+)*", line)] == []
    assert lines == sorted(lines, key=str.lower)
    assert len(constraints()) == len(lines)


def test_every_dependency_admits_the_version_of_its_constraint() -> None:
    exact = constraints()
    versions = {each: exact.get(canonicalize_name(each.name), "none") for each in declared()}
    unfit = [f"{each}, not {version}" for each, version in versions.items() if version not in each.specifier]
    assert unfit == []


def test_what_the_dependencies_pull_in_is_constrained_too() -> None:
    exact = constraints()
    runtime_and_test = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    names = {canonicalize_name(each.name) for each in needed([Requirement(text) for text in runtime_and_test])}
    assert names - exact.keys() == set()
    assert {"rich", "sympy", "protobuf"} <= names


def test_no_file_of_the_repository_exceeds_two_megabytes() -> None:
    large = [f"{path.relative_to(ROOT)}" for path in repository_files() if path.stat().st_size > MAX_BYTES]
    assert large == []
