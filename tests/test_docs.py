"""The documentation says what the program does: commands are run and compared, links and names are followed."""

import re
import shlex
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import onnxvis
from onnxvis import presets
from onnxvis.cli import app, main
from onnxvis.errors import OnnxvisError
from onnxvis.preprocess import PRESETS
from onnxvis.settings import OBJECTIVES

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("*/README.md"), *(ROOT / "docs").glob("*.md")])
OF_SOME_PROCESSORS = re.compile(r"^(note +| +note: )onnxruntime on this processor clips .*\n(    .*\n)*", re.MULTILINE)
"""What is printed on those alone that clip int8 sums."""
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def console_blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each `$ onnxvis ...` command of a page's console blocks with the output printed below it."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output.strip("\n")


COMMANDS = [
    pytest.param(command, output, id=f"{page.name}: {command}")
    for page in PAGES
    for command, output in console_blocks(page)
    if command.startswith("onnxvis ") and ("samples/" in command or "--help" in command)
]


@pytest.mark.parametrize(("command", "output"), COMMANDS)
def test_a_documented_command_prints_what_the_page_says(
    command: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main()
    printed = OF_SOME_PROCESSORS.sub("", capsys.readouterr().out).strip("\n")
    # Help is compared to the letter; elsewhere seconds and last digits differ between machines.
    if "--help" in command:
        assert printed == output
    else:
        assert rows(printed) == rows(output)
        assert activation(printed) == pytest.approx(activation(output), rel=0.2, abs=0.2)


def rows(text: str) -> list[str]:
    """Leave out numbers and trailing blanks."""
    return [NUMBER.sub("#", line).rstrip() for line in text.splitlines()]


def activation(text: str) -> list[float]:
    """Return the activation before and after, where a command has printed them."""
    found = re.search(r"^activation +(-?[\d.e-]+) -> (-?[\d.e-]+)", text, re.MULTILINE)
    return [float(number) for number in found.groups()] if found else []


def test_there_are_documented_commands() -> None:
    assert len(COMMANDS) > 4


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    names = [str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback]
    assert [name for name in names if f"$ onnxvis {name} --help" not in text] == []


def python_blocks() -> Iterator[str]:
    yield from re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", list(python_blocks()))
def test_the_readmes_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own page
    assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_public_names_are_documented() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in onnxvis.__all__ if name not in pages] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("preprocessing.md", PRESETS),
        ("presets.md", presets.PRESETS),
        ("objectives.md", [name for name in OBJECTIVES if name != "activation"]),
        ("options.md", ["pixel", "fourier", "laplacian", "maco", "cppn"]),
    ],
)
def test_every_name_that_an_option_takes_is_documented(page: str, names: Collection[str]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if not re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text)] == []


def test_the_error_tree_is_drawn_as_it_is() -> None:
    import onnxvis.errors as module  # noqa: PLC0415 - the module's text is looked at

    def named(kind: type[Exception]) -> Iterator[str]:
        yield kind.__name__
        for inner in kind.__subclasses__():
            if inner.__module__ == module.__name__:
                yield from named(inner)

    drawn = re.findall(r"^\s+[│├└─ ]*([A-Z]\w+Error)\b", str(module.__doc__), re.MULTILINE)
    assert drawn == list(named(OnnxvisError))
