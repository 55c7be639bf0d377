from __future__ import annotations

import pytest

from onnxvis import load, to_torch, verify
from onnxvis.errors import OnnxvisError
from tests.mutants import MUTATORS, mutant

COUNT = 280
PARTS = 7


def tried(content: bytes) -> None:
    """Load a file, list its nodes, lower it and verify it."""
    model = load(content)
    to_torch(model, model.nodes[-1].name if model.nodes else None)
    verify(model)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_hostile_file_is_refused_in_one_line_or_works(part: int, capfd: pytest.CaptureFixture[str]) -> None:
    messages = []
    for number in range(part, COUNT, PARTS):
        try:
            tried(mutant(number).content)
        except OnnxvisError as error:
            messages.append(error.message)
    assert len(messages) > COUNT // PARTS // 2
    assert not [message for message in messages if "\n" in message]
    assert capfd.readouterr() == ("", "")


def test_a_mutant_is_drawn_from_its_number_alone() -> None:
    assert mutant(17) == mutant(17)
    assert len({mutant(number).content for number in range(100)}) > 90
    assert {change for number in range(700) for change in mutant(number).changes} >= MUTATORS.keys()
