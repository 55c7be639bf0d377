from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "samples" / "tour.ipynb"
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
DATA_URI = re.compile(r"data:image/\w+;base64,([\w+/=]+)")
MACHINE = re.compile(r"(?<![\w.])/(work|tmp|home|root|usr|var|Users)\b|[A-Z]:\\|\b20\d\d-\d\d-\d\d\b")
REPORT = """
import json

print(json.dumps({
    "probability": rings.measurement.output[0],
    "counts": {name: result.activation for name, result in counts.items()},
    "classes": len(classes),
    "steps seen": len(seen),
    "same": again.same,
    "keras-vis": [*array.shape, str(array.dtype)],
    "left behind": FOLDER.exists(),
}))
"""


@pytest.fixture
def notebook() -> Any:
    """The notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call] # nbformat's own


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in that holds the samples; the kernel is this interpreter, whatever kernels are registered."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "samples").symlink_to(ROOT / "samples")
    return folder


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(notebook: Any, home: Path) -> None:
    written = [printed(cell) for cell in notebook.cells]
    samples = sorted(NOTEBOOK.parent.iterdir())
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))  # type: ignore[no-untyped-call] # nbformat's own
    NotebookClient(notebook, timeout=600, record_timing=False).execute(cwd=str(home))

    *cells, report = notebook.cells
    assert [printed(cell) for cell in cells] == written
    found = json.loads(report.outputs[0].text)
    assert found["probability"] > 0.5
    counts = found["counts"]
    assert counts["lowers"] < 0.5
    assert (counts["reads 4"], counts["reads 8"]) == pytest.approx((4, 8), abs=0.5)
    assert counts["raises"] > 10
    assert (found["classes"], found["steps seen"], found["same"]) == (17, 256, True)
    assert found["keras-vis"] == [64, 64, 3, "uint8"]
    assert not found["left behind"]
    assert [path.name for path in home.iterdir()] == ["samples"]
    assert sorted(NOTEBOOK.parent.iterdir()) == samples


def printed(cell: Any) -> list[str]:
    """Return what a cell printed, without its numbers, and the kinds of what it has shown."""
    outputs = cell.get("outputs", [])
    return [NUMBER.sub("#", item.text) if "text" in item else " ".join(sorted(item.data)) for item in outputs]


@pytest.mark.parametrize("folder", [".", "samples", "samples/images", "docs/images"])
def test_the_notebook_finds_the_samples_from_any_folder_of_the_repository(
    folder: str, notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "textures.onnx").touch()
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / folder)
    names: dict[str, Any] = {}
    exec(next(cell.source for cell in notebook.cells if cell.id == "setup"), names)  # noqa: S102 - our own cell
    names["TEMPORARY"].cleanup()
    assert names["SAMPLES"] == tmp_path / "samples"


def test_the_notebooks_cells_have_been_run_in_order_without_errors(notebook: Any) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds == {"execute_result", "stream"}
    assert {output.name for cell in code for output in cell.outputs if "name" in output} == {"stdout"}


def test_the_notebook_says_nothing_of_the_machine_that_ran_it(notebook: Any) -> None:
    assert {key: dict(value) for key, value in notebook.metadata.items()} == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell.id for cell in notebook.cells if cell.metadata] == []
    shown = list(texts(notebook))
    assert any('"sha256"' in text for text in shown), "the recipe in a picture's text is looked at too"
    assert [found[0] for text in shown for found in MACHINE.finditer(text)] == []


def texts(notebook: Any) -> Iterator[str]:
    """Yield all that can be read in a notebook, the texts inside of its pictures included."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            for kind, content in output.get("data", {}).items():
                pictures = DATA_URI.findall(content) if kind == "text/html" else []
                if kind.startswith("image/"):
                    pictures = [content]
                else:
                    yield DATA_URI.sub("", content)
                for picture in pictures:
                    yield from map(str, Image.open(io.BytesIO(base64.b64decode(picture))).info.values())


def test_the_notebooks_cells_bear_names_of_their_own(notebook: Any) -> None:
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_the_notebook_is_small() -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
