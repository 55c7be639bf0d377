"""The printed report says everything in words, fits the width, and is as short as it is good."""

import io
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from onnxvis.check_table import lines, show
from onnxvis.config import CHECKS
from onnxvis.outcomes import CheckReport, Detail, ModelReport, Outcome, Status
from onnxvis.summaries import further
from tests.test_formats import REPORTS

GOOD = ModelReport(
    "models/good.onnx", (Outcome("load", "pass", "a model", seconds=0.1), Outcome("policy", "skip", "none"))
)
FAULTY = ModelReport(
    "models/faulty.onnx",
    (
        Outcome("load", "pass", "a model"),
        Outcome(
            "agreement",
            "fail",
            "3 of 66 tensors disagree with onnxruntime, first at 'fire2/squeeze1x1'",
            (
                Detail("fail", "fire2/squeeze1x1 [Conv]: relative error 0.12. " + "Look at its pads. " * 5, "fire2"),
                Detail("pass", "nothing to say here"),
            ),
            12.34,
        ),
    ),
    facts={"opset": "17", "sha256": "0" * 64},
    notes=("the layout is assumed",),
)
WARNED = ModelReport("w.onnx", (Outcome("dead-units", "warn", "2 of 8", (Detail("warn", "conv: 2 of 8", "conv"),)),))


def printed(report: CheckReport, width: int = 80, *, quiet: bool = False, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None, soft_wrap=True
    )
    show(report, quiet=quiet, console=console)
    return stream.getvalue()


def test_of_one_model_each_check_is_a_line_with_its_details_below() -> None:
    text = printed(CheckReport((FAULTY,), seconds=13))
    rows = text.splitlines()
    assert rows[0] == "models/faulty.onnx"
    assert rows[1:3] == ["    opset 17", "    note: the layout is assumed"]
    assert rows[3].split() == ["load", "pass", "a", "model", "0.0", "s"]
    assert rows[4].startswith("agreement  fail   3 of 66 tensors disagree")
    assert rows[4].endswith("  12.3 s")
    assert cell_len(rows[4]) == 80
    detail = next(row for row in rows if "[Conv]" in row)
    assert detail.startswith("    fail   fire2/squeeze1x1 [Conv]: ")
    below = rows[rows.index(detail) + 1]
    assert below.startswith(" " * 11)
    assert "nothing to say" not in text
    assert rows[-1] == "1 model fails (13.0 s)"


def test_a_text_is_not_told_twice() -> None:
    outcome = Outcome("weights", "fail", "NaN in w", (Detail("fail", "NaN in w"),))
    report = CheckReport((ModelReport("m.onnx", (outcome,)),))
    assert printed(report).count("NaN in w") == 1
    assert printed(report, quiet=True).count("NaN in w") == 1


def test_of_several_models_each_is_a_line_and_the_bad_ones_follow_in_full() -> None:
    rows = printed(CheckReport((GOOD, FAULTY, WARNED), seconds=61.2)).splitlines()
    assert rows[0].split() == ["models/good.onnx", "pass", "2/2"]
    assert rows[1].split() == ["models/faulty.onnx", "fail", "1/2", "agreement", "at", "fire2"]
    assert rows[2].split() == ["w.onnx", "warn", "0/1", "dead-units", "at", "conv"]
    assert rows[3:5] == ["", "models/faulty.onnx"]
    assert rows[5].startswith("agreement  fail")
    assert not any(row.startswith("load") for row in rows)
    assert rows[-1] == "3 models: 1 passes, 1 has warnings, 1 fails (1 min 01 s)"


def test_quiet_prints_only_what_is_not_good() -> None:
    assert printed(CheckReport((GOOD,)), quiet=True) == ""
    assert printed(CheckReport((GOOD, WARNED)), quiet=True) == ""
    strict = printed(CheckReport((GOOD, WARNED), fail_on="warn"), quiet=True)
    assert "w.onnx" in strict
    assert "good.onnx" not in strict
    assert "w.onnx" not in printed(CheckReport((FAULTY, WARNED)), quiet=True)
    one = printed(CheckReport((FAULTY,)), quiet=True)
    assert "agreement" in one
    assert "load" not in one


def test_colors_are_for_terminals_alone_and_change_no_word() -> None:
    report = CheckReport((GOOD, FAULTY))
    plain, colored = printed(report), printed(report, terminal=True)
    assert "\x1b[" not in plain
    assert "\x1b[1;31mfail" in colored
    assert (
        "".join(part.partition("m")[2] if number else part for number, part in enumerate(colored.split("\x1b[")))
        == plain
    )


def test_of_many_details_the_first_are_shown_and_the_others_counted() -> None:
    details = tuple(Detail("fail", f"layer {number} is off") for number in range(14))
    text = printed(CheckReport((ModelReport("m", (Outcome("agreement", "fail", "14 disagree", details),)),)))
    assert "layer 9 is off" in text
    assert "layer 10 is off" not in text
    assert "... and 4 more: --json has all" in text


@pytest.mark.parametrize("quiet", [False, True])
@given(report=REPORTS, width=st.sampled_from([40, 80, 120]))
def test_every_status_is_a_word_and_only_words_are_too_wide(quiet: bool, report: CheckReport, width: int) -> None:
    rows = [line.plain for line in lines(report, width, quiet=quiet)]
    named = [*(model.model for model in report.models), *CHECKS]
    head = max(map(cell_len, named)) + len("  error  0/0  ")
    for row in rows:
        assert row.isprintable()
        longest = max((cell_len(word) for word in row.split()), default=0)
        assert cell_len(row) <= max(width, head + max(24, longest) + len("   0.0 s"))
    if quiet and report.ok:
        assert rows == []
    elif len(report.models) == 1 and not quiet:
        text = "\n".join(rows)
        counts: dict[Status, int] = dict.fromkeys(get_args(Status), 0)
        for outcome in report.models[0].outcomes:
            counts[outcome.status] += 1
            for detail in further(outcome):
                counts[detail.status] += 1
        assert all(text.count(status) >= count for status, count in counts.items())


def test_quiet_shows_of_a_bad_model_only_what_is_bad() -> None:
    both = ModelReport("both.onnx", (*FAULTY.outcomes, *WARNED.outcomes))
    assert "dead-units" in printed(CheckReport((both,)))
    assert "dead-units" not in printed(CheckReport((both,)), quiet=True)


def test_wide_letters_are_counted_as_they_are_shown() -> None:
    wide = ModelReport("模型/网络.onnx", (Outcome("load", "fail", "坏 " * 60),))
    rows = printed(CheckReport((wide, GOOD))).splitlines()
    good = next(row for row in rows if "pass" in row)
    assert cell_len(rows[0].partition("fail")[0]) == cell_len(good.partition("pass")[0])
    assert all(cell_len(row) <= 80 for row in rows)
