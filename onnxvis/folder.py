"""Many pictures in one folder: a file for each, a labelled sheet of all, and an index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from onnxvis.backgrounds import composited
from onnxvis.errors import OutputError
from onnxvis.render import check_writable, png_bytes, write_file
from onnxvis.result import SUFFIXES, Result, check_written
from onnxvis.runs import Prepared
from onnxvis.sheets import contact_sheet
from onnxvis.standing import Agreement

SHEET = "sheet.png"
INDEX = "index.json"
_ROW = 8
"""Pictures of one unit that stand in one row, at most."""


class PictureFolder:
    """A folder that is filled while pictures are made, so that nothing is lost when the run is stopped.

    Args:
        path: The folder; it is made if it is missing.
        prepared: The runs.
        labels: What tells each picture from the others, where they are of one unit.

    Attributes:
        written: The pictures' files, in order.
        agreement: How alike the pictures are, where they are a group of seeds.
        dead: The filters that have none: no start had a gradient, or a loss became NaN.

    Raises:
        OutputError: It cannot be made or written to.
    """

    def __init__(self, path: Path, prepared: Prepared, labels: Sequence[str] = ()) -> None:
        if path.suffix.lower() in SUFFIXES:
            message = f"Many pictures go to a folder, and {str(path)!r} is the name of one file: give -o a folder."
            raise OutputError(message, path=path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"Cannot make the folder {str(path)!r}: {error.strerror or error}. Choose another place with -o."
            raise OutputError(message, path=path) from error
        check_writable(path / SHEET)
        self.path, self.prepared, self.told = path, prepared, labels
        self.written: list[Path] = []
        self.dead: list[str] = []
        self.agreement: Agreement | None = None
        self._pictures: list[Image.Image] = []
        self._labels: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._next = 0

    def add(self, results: Sequence[Result | None]) -> Iterator[tuple[Path, Result]]:
        """Write the pictures of a batch; yield each with its file."""
        for result in results:
            target, number = self.prepared.units.targets[self._next], self._next
            self._next += 1
            if result is None:
                self.dead.append(
                    self.told[number] if self.told else ", ".join(target.labels or map(str, target.filters))
                )
                continue
            path = self.path / self._file_name(result, number)
            result.save(path)
            check_written(result, path)
            self.written.append(path)
            self.agreement = self.agreement or result.agreement
            self._pictures.append(result.image)
            self._labels.append(_label(result, self.told[number] if self.told else ""))
            self._rows.append(_row(result, path))
            yield path, result

    def finish(self) -> Path | None:
        """Write the sheet and the index; without any picture there are none."""
        if not self.written:
            return None
        # Pictures of one unit are a row.
        columns = len(self._pictures) if self.told and len(self._pictures) <= _ROW else None
        pictures = [composited(picture) for picture in self._pictures]
        sheet = contact_sheet(pictures, self._labels, title=self._title(), columns=columns)
        write_file(self.path / SHEET, png_bytes(sheet, {"sheet": [path.name for path in self.written]}))
        write_file(self.path / INDEX, (json.dumps(self._rows, indent=1) + "\n").encode())
        return self.path / SHEET

    def _title(self) -> str:
        target = self.prepared.target
        return f"{self.prepared.model.name}: {target if self.told else target.name}"

    def _file_name(self, result: Result, number: int) -> str:
        if self.told:
            return f"{number:0{len(str(len(self.told) - 1))}}.png"
        shape, axis = result.target.shape, result.target.channel_axis
        count = shape[axis] if shape is not None and axis is not None else None
        digits = len(str(count - 1)) if isinstance(count, int) else 3
        numbers = "-".join(f"{index:0{digits}}" for index in result.target.filters)
        names = "-".join(re.sub(r"[^\w.]+", "_", label).strip("_.") for label in result.target.labels)
        return f"{numbers}-{names}.png" if names else f"{numbers}.png"


def _label(result: Result, told: str) -> str:
    named = told or ", ".join(result.target.labels) or ", ".join(map(str, result.target.filters))
    several = result.measurement.by_filter if told and len(result.measurement.by_filter) > 1 else (result.activation,)
    return (
        f"{' '.join(named.split())}\n{result.seed_activation:.3g} -> {' + '.join(f'{value:.3g}' for value in several)}"
    )


def _row(result: Result, path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "filters": list(result.target.filters),
        "labels": list(result.target.labels),
        "activation": result.activation,
        "seed_activation": result.seed_activation,
        "float_activation": result.float_activation,
        "output": list(result.measurement.output),
        "steps": len(result.history),
        "seed": result.recipe.seed,
        "scores": {name: list(pair) for name, pair in result.scores.items()},
        "assessment": None if result.assessment is None else result.assessment.to_dict(),
    }
