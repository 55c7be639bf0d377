"""The formats hold the whole report, whatever characters it has, and keep the rules of their specifications."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxvis.config import CHECKS
from onnxvis.formats import as_json, github, junit, sarif
from onnxvis.outcomes import CheckReport, Detail, FailOn, ModelReport, Outcome, Picture, Status, is_good, worst

NASTY = "100 %, \"quoted\" <b>&amp;</b>: 'ä€😀'\r\nsecond, line::error::\x00\x1b[31m\ufffe"
FINE = Outcome("load", "pass", "opset 17", seconds=0.25)
BAD = Outcome(
    "agreement",
    "fail",
    "disagrees first at 'conv1'",
    (
        Detail("fail", "conv1: relative error 0.1", layer="conv1", tensor="t1", figures={"error": 0.1}),
        Detail("warn", "relu1: relative error 0.001", layer="relu1"),
        Detail("pass", "pool1 agrees", layer="pool1"),
    ),
    1.5,
)
WARNED = Outcome("dead-units", "warn", "2 of 8 units never answer", (Detail("warn", "conv1: 2 of 8", layer="conv1"),))
SKIPPED = Outcome("baseline", "skip", "no baseline is given")
BROKEN = Outcome("gradients", "error", "ran out of memory")
REPORT = CheckReport(
    (
        ModelReport("models/a, b%.onnx", (FINE, BAD, SKIPPED), {"opset": "17"}, seconds=2),
        ModelReport("models/ü.onnx", (FINE, WARNED, BROKEN), seconds=1),
    ),
    seconds=3,
)

TEXTS = st.one_of(st.text(max_size=20), st.sampled_from([NASTY, "conv1", "\ud800", "a\nb"]))
STATUSES = st.sampled_from(get_args(Status))
NUMBERS = st.one_of(st.floats(), st.integers(), TEXTS)
DETAILS = st.builds(
    Detail, STATUSES, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.dictionaries(TEXTS, NUMBERS, max_size=2)
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    details = tuple(draw(st.lists(DETAILS, max_size=3)))
    status = worst(detail.status for detail in details) if details else draw(STATUSES)
    return Outcome(draw(st.sampled_from([*CHECKS, "process"])), status, draw(TEXTS), details, draw(st.floats(0, 9)))


MODELS = st.builds(ModelReport, TEXTS, st.lists(outcomes(), max_size=3).map(tuple), st.dictionaries(TEXTS, TEXTS))
REPORTS = st.builds(CheckReport, st.lists(MODELS, max_size=2).map(tuple), st.sampled_from(get_args(FailOn)))


def pairs(report: CheckReport) -> Iterator[tuple[ModelReport, Outcome]]:
    for model in report.models:
        for outcome in model.outcomes:
            yield model, outcome


def is_concern(status: Status) -> bool:
    return status in ("warn", "fail", "error")


def as_xml(text: str) -> str:
    """Return what an XML parser gives back of a text: line ends become one, forbidden characters another."""
    kept = "".join(char if allowed(ord(char)) else "\ufffd" for char in text)
    return kept.replace("\r\n", "\n").replace("\r", "\n")


def allowed(code: int) -> bool:
    return code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


@given(REPORTS)
def test_json_is_strict_and_holds_the_report(report: CheckReport) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    text = as_json(report)
    read = json.loads(text, parse_constant=refuse)
    assert read["ok"] == report.ok
    assert [model["model"] for model in read["models"]] == [model.model for model in report.models]
    texts = [detail["text"] for model in read["models"] for check in model["checks"] for detail in check["details"]]
    assert texts == [detail.text for _, outcome in pairs(report) for detail in outcome.details]


def test_json_has_no_pictures_and_has_none_of_what_is_not_finite() -> None:
    detail = Detail(
        "fail", "x", figures={"a": float("nan"), "b": float("-inf"), "c": 1}, pictures=(Picture("p", b"p"),)
    )
    outcome = Outcome("finite", "fail", "x", (detail,))
    (read,) = json.loads(as_json(CheckReport((ModelReport("m", (outcome,)),))))["models"][0]["checks"][0]["details"]
    assert read["figures"] == {"a": None, "b": None, "c": 1}
    assert "pictures" not in read


SUITE_COUNTS = ("tests", "failures", "errors", "skipped")
CHILDREN = {"testsuites": ["testsuite"], "testsuite": ["properties", "testcase"], "properties": ["property"]}
CASE_CHILDREN = ["skipped", "error", "failure", "system-out"]
REQUIRED = {
    "testsuites": {*SUITE_COUNTS, "time"},
    "testsuite": {*SUITE_COUNTS, "time", "name"},
    "testcase": {"name", "classname", "time"},
    "property": {"name", "value"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}


def check_junit(element: ET.Element) -> None:
    """Check elements, their order, their attributes and their counts, as the usual schemas have them."""
    assert set(element.attrib) >= REQUIRED.get(element.tag, set())
    children = [child.tag for child in element]
    order = CASE_CHILDREN if element.tag == "testcase" else CHILDREN.get(element.tag, [])
    assert children == sorted(children, key=order.index)
    if element.tag == "testcase":
        assert len(children) <= 1
    if element.tag in ("testsuites", "testsuite"):
        tags = [child.tag for case in element.iter("testcase") for child in case]
        found = [len(list(element.iter("testcase"))), tags.count("failure"), tags.count("error"), tags.count("skipped")]
        assert [element.get(name) for name in SUITE_COUNTS] == [str(count) for count in found]
    if "time" in element.attrib:
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    for child in element:
        check_junit(child)


@given(REPORTS)
def test_junit_is_well_formed_and_says_what_the_exit_status_says(report: CheckReport) -> None:
    root = ET.fromstring(junit(report).encode())  # noqa: S314 - our own text
    check_junit(root)
    assert (root.get("failures"), root.get("errors")) == ("0", "0") if report.ok else True
    if not report.ok:
        assert int(root.attrib["failures"]) + int(root.attrib["errors"]) > 0
    cases = list(root.iter("testcase"))
    assert len(cases) == len(list(pairs(report)))
    for case, (model, outcome) in zip(cases, pairs(report), strict=True):
        assert case.get("name") == outcome.check
        # A parser keeps the escaped line ends of attributes.
        assert case.get("classname") == "".join(char if allowed(ord(char)) else "\ufffd" for char in model.model)
        texts = "".join(case.itertext())
        for detail in outcome.details:
            if is_concern(detail.status):
                assert as_xml(detail.text) in texts


@pytest.mark.parametrize(
    ("fail_on", "tags"),
    [
        ("fail", [None, "failure", "skipped", None, "system-out", "error"]),
        ("warn", [None, "failure", "skipped", None, "failure", "error"]),
        ("never", [None, "system-out", "skipped", None, "system-out", "error"]),
    ],
)
def test_junit_has_an_element_for_each_status(fail_on: FailOn, tags: list[str | None]) -> None:
    root = ET.fromstring(junit(dataclasses.replace(REPORT, fail_on=fail_on)))  # noqa: S314 - our own text
    assert [next((child.tag for child in case), None) for case in root.iter("testcase")] == tags
    assert [suite.get("name") for suite in root.iter("testsuite")] == [model.model for model in REPORT.models]
    assert root.find(".//property[@name='opset']") is not None
    assert root.findtext(".//testcase[@name='load']", "") == ""
    expected = "disagrees first at 'conv1'\nfail: conv1: relative error 0.1\nwarn: relu1: relative error 0.001"
    said = root.findtext(f".//{tags[1]}", "")
    assert said.removeprefix("fail: ") == expected


def check_sarif(document: dict[str, Any]) -> None:
    """Check the properties that SARIF 2.1.0 requires of the objects that are used."""
    assert document["version"] == "2.1.0"
    assert urlsplit(document["$schema"]).scheme == "https"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "onnxvis"
    assert re.match(r"\d+\.\d+", driver["version"])
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"].endswith(".") for rule in rules)
    (invocation,) = run["invocations"]
    assert isinstance(invocation["executionSuccessful"], bool)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        check_message_and_place(result)
    for notification in invocation["toolExecutionNotifications"]:
        rule = notification["associatedRule"]
        assert rules[rule["index"]]["id"] == rule["id"]
        assert notification["level"] == "note"
        check_message_and_place(notification)
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def check_message_and_place(item: dict[str, Any]) -> None:
    assert isinstance(item["message"]["text"], str)
    (location,) = item["locations"]
    physical = location["physicalLocation"]
    assert physical["region"]["startLine"] >= 1
    uri = physical["artifactLocation"]["uri"]
    assert re.fullmatch(
        r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*", uri
    )  # RFC 3986, without query and fragment
    is_absolute = urlsplit(uri).scheme == "file"
    assert is_absolute or ":" not in uri.split("/")[0]
    assert ("uriBaseId" in physical["artifactLocation"]) != is_absolute


@given(REPORTS)
def test_sarif_has_what_the_specification_requires(report: CheckReport) -> None:
    document = json.loads(sarif(report))
    check_sarif(document)
    wanted = []
    for _, outcome in pairs(report):
        bad = [(detail.status, detail.text) for detail in outcome.details if is_concern(detail.status)]
        wanted += bad or ([(outcome.status, outcome.text)] if is_concern(outcome.status) else [])
    results = document["runs"][0]["results"]
    levels = ["warning" if is_good(status, report.fail_on) else "error" for status, _ in wanted]
    assert [(item["level"], item["message"]["text"]) for item in results] == [
        (level, text) for level, (_, text) in zip(levels, wanted, strict=True)
    ]


def test_sarif_names_the_model_and_the_layer() -> None:
    run = json.loads(sarif(REPORT))["runs"][0]
    assert [(item["ruleId"], item["level"]) for item in run["results"]] == [
        ("agreement", "error"),
        ("agreement", "warning"),
        ("dead-units", "warning"),
        ("gradients", "error"),
    ]
    (location,) = run["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "models/a%2C%20b%25.onnx"
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "conv1"
    assert not run["invocations"][0]["executionSuccessful"]
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "no baseline is given"


def test_fingerprints_stay_where_only_the_figures_change() -> None:
    def prints(report: CheckReport) -> list[dict[str, str]]:
        return [item["partialFingerprints"] for item in json.loads(sarif(report))["runs"][0]["results"]]

    def changed(**changes: str) -> CheckReport:
        detail = dataclasses.replace(BAD.details[0], **changes)  # type: ignore[arg-type]
        outcome = dataclasses.replace(BAD, details=(detail, *BAD.details[1:]), seconds=9)
        return CheckReport((dataclasses.replace(REPORT.models[0], outcomes=(outcome,)),))

    assert prints(changed(text="conv1: relative error 0.2")) == prints(changed())
    assert prints(changed(layer="conv2"))[0] != prints(changed())[0]
    twice = dataclasses.replace(BAD, details=(BAD.details[0], BAD.details[0]))
    first, second = prints(CheckReport((dataclasses.replace(REPORT.models[0], outcomes=(twice,)),)))
    assert first != second


def test_a_model_below_the_current_folder_is_named_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def uri(model: Path) -> str:
        run = json.loads(sarif(CheckReport((ModelReport(str(model), (BROKEN,)),))))["runs"][0]
        return str(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])

    assert uri(tmp_path / "a" / "m.onnx") == "a/m.onnx"
    assert uri(tmp_path.parent / "m n.onnx") == (tmp_path.parent / "m n.onnx").as_uri()
    assert unquote(uri(Path("c:d.onnx"))) == "c:d.onnx"
    assert "file=a/m.onnx," in github(CheckReport((ModelReport(str(tmp_path / "a" / "m.onnx"), (BROKEN,)),)))


@pytest.mark.parametrize("how", ["workspace", "repository"])
def test_a_model_is_named_relative_to_the_root_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (tmp_path / "work" / "deep").mkdir(parents=True)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    if how == "workspace":
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    else:
        (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "deep")
    for name in ("m.onnx", str(tmp_path / "work" / "deep" / "m.onnx"), "../deep/m.onnx"):
        report = CheckReport((ModelReport(name, (BROKEN,)),))
        run = json.loads(sarif(report))["runs"][0]
        location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location == {"uri": "work/deep/m.onnx", "uriBaseId": "%SRCROOT%"}
        assert "file=work/deep/m.onnx," in github(report)


@pytest.mark.parametrize("write", [github, junit])
def test_a_text_is_not_told_twice(write: Any) -> None:
    outcome = Outcome("weights", "fail", "NaN in w", (Detail("fail", "NaN in w"),))
    assert "fail: NaN in w" not in write(CheckReport((ModelReport("m.onnx", (outcome,)),)))


def parsed_command(line: str) -> tuple[str, dict[str, str], str]:
    """Read a workflow command as the runner does: properties at commas, then the escapes, %25 last."""
    found = re.fullmatch(r"::(\w+) ([^\n]*?)::([^\n]*)", line)
    assert found is not None
    name, listed, text = found.groups()
    properties = dict(item.split("=", 1) for item in listed.split(","))
    return name, {key: unescaped(value) for key, value in properties.items()}, unescaped(text)


def unescaped(text: str) -> str:
    for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, char)
    return text


@given(REPORTS)
def test_workflow_commands_come_back_as_they_were(report: CheckReport) -> None:
    lines = github(report).removesuffix("\n").split("\n")
    commands = [parsed_command(line) for line in lines]
    assert commands[0][0] == "notice"
    concerned = [(model, outcome) for model, outcome in pairs(report) if is_concern(outcome.status)]
    assert len(commands) == 1 + len(concerned)
    for (name, properties, text), (_, outcome) in zip(commands[1:], concerned, strict=True):
        assert name == ("warning" if is_good(outcome.status, report.fail_on) else "error")
        assert properties["title"].startswith(outcome.check)
        assert "file" in properties
        assert text.startswith(outcome.text.encode(errors="replace").decode())
        assert all(d.text.encode(errors="replace").decode() in text for d in outcome.details if is_concern(d.status))


def test_a_workflow_command_names_file_check_and_layer() -> None:
    lines = github(REPORT).splitlines()
    assert lines[0] == "::notice title=onnxvis check::2 models: 1 fails, 1 could not be checked, 3.0 s"
    assert lines[1].startswith(
        "::error file=models/a%2C b%25.onnx,title=agreement at conv1::disagrees first at 'conv1'%0A"
    )
    assert lines[2].startswith("::warning file=models/ü.onnx,title=dead-units at conv1::")


@pytest.mark.parametrize("write", [junit, sarif, github, as_json])
def test_a_report_of_nothing_is_a_report(write: Any) -> None:
    assert write(CheckReport(())).endswith("\n")
