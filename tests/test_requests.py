from typing import Any

import pytest

from onnxvis.errors import SettingError
from onnxvis.requests import filters_of, goal_of, inputs_of, neuron_of, numbers_of, size_of, wrt_of


@pytest.mark.parametrize(
    ("words", "together", "pictures"),
    [
        ([], (), None),
        (["3"], ("3",), None),
        (["3", "7"], ("3", "7"), None),
        (["rings"], ("rings",), None),
        (["-1"], ("-1",), None),
        (["great white shark, shark"], ("great white shark, shark",), None),
        (["0-2"], (), ((0,), (1,), (2,))),
        (["5-5"], (), ((5,),)),
        (["0-1,7,4-5,1"], (), ((0,), (1,), (7,), (4,), (5,))),
        (["3,7"], (), ((3,), (7,))),
        (["all"], (), "all"),
    ],
)
def test_filters_are_for_one_picture_or_for_one_each(words: list[str], together: Any, pictures: Any) -> None:
    assert filters_of(words) == (together, pictures)


@pytest.mark.parametrize(("words", "reason"), [(["0-3", "5"], "stands alone"), (["3-1"], "range '3-1'.*is empty")])
def test_filters_that_contradict_each_other_are_refused(words: list[str], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        filters_of(words)


def test_goals() -> None:
    assert goal_of(minimize=False, reach=None) == "maximize"
    assert goal_of(minimize=True, reach=None) == "minimize"
    assert goal_of(minimize=False, reach="0") == 0.0
    assert goal_of(minimize=False, reach="0,2") == "maximize"
    with pytest.raises(SettingError, match="contradict"):
        goal_of(minimize=True, reach="1")


@pytest.mark.parametrize(
    ("text", "neuron"),
    [(None, None), ("center", "center"), (" Center", "center"), ("3", (3,)), ("3,5", (3, 5)), ("-1x2x3", (-1, 2, 3))],
)
def test_neurons(text: str | None, neuron: Any) -> None:
    assert neuron_of(text) == neuron


@pytest.mark.parametrize("text", ["", "middle", "1.5", "1,,2", "1;2"])
def test_what_is_no_neuron_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="Write center"):
        neuron_of(text)


def test_inputs_are_files_or_numbers() -> None:
    found = inputs_of(["sr=16000", "a=b=-1.5", "state:0=folder/x.NPY", "e=1e-3"])
    assert found == {"sr": 16000, "a=b": -1.5, "state:0": "folder/x.NPY", "e": 0.001}
    assert found is not None
    assert isinstance(found["sr"], int)
    assert inputs_of([]) is None


@pytest.mark.parametrize("word", ["sr", "=3", "x=photo.png", "x="])
def test_what_is_neither_is_refused(word: str) -> None:
    with pytest.raises(SettingError, match=r"NAME=FILE.npy or NAME=NUMBER"):
        inputs_of([word])


def test_sizes_numbers_and_names() -> None:
    assert [size_of(text) for text in (None, "224", "240x320", "4X5X6")] == [None, (224,), (240, 320), (4, 5, 6)]
    assert numbers_of("--mean", "0.5, 1 2") == (0.5, 1, 2)
    assert [wrt_of(names) for names in (None, [], ["a"], ["a", "b"])] == [None, None, "a", ("a", "b")]
    for text in ("", "x", "1x2x3x4", "-3"):
        with pytest.raises(SettingError, match="--size"):
            size_of(text)
    with pytest.raises(SettingError, match="--range=0,255"):
        numbers_of("--range", "5", 2)


def test_a_token_is_the_one_position_of_a_sequence() -> None:
    assert neuron_of(None, 3) == (3,)
    assert neuron_of(None, -1) == (-1,)
    with pytest.raises(SettingError, match="--neuron and --token contradict each other"):
        neuron_of("2", 3)
