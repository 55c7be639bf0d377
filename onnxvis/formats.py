"""Reports of a check in the formats that continuous integration reads; each is a function from a report to a text.

What is a failure there is what `fail_on` of the report says: the formats agree with the exit status.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.etree import ElementTree as ET

from onnxvis.config import CHECKS
from onnxvis.globs import absolute
from onnxvis.outcomes import CheckReport, FailOn, ModelReport, Outcome, Status, is_good
from onnxvis.summaries import concerns, duration, further, headline, is_fine

_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, not even escaped (https://www.w3.org/TR/xml/#charsets)."""
_PROCESS = "The process of the check comes to its end, in time."


def as_json(report: CheckReport) -> str:
    """Return all that a report holds but its pictures, as JSON; numbers that are not finite become null."""
    return json.dumps(_finite(report.to_dict()), indent=2, allow_nan=False) + "\n"


def junit(report: CheckReport) -> str:
    """Return a report as JUnit XML: a test suite for each model, a test case for each check.

    What is not good is a failure, a check that could not be done an error; warnings are the output of a test that
    passes.
    """
    outcomes = [outcome for model in report.models for outcome in model.outcomes]
    root = ET.Element("testsuites", {"name": "onnxvis", **_totals(outcomes, report.fail_on, report.seconds)})
    for model in report.models:
        totals = _totals(model.outcomes, report.fail_on, model.seconds)
        suite = ET.SubElement(root, "testsuite", {"name": _xml(model.model), **totals})
        if model.facts:
            properties = ET.SubElement(suite, "properties")
            for name, value in model.facts.items():
                ET.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})
        for outcome in model.outcomes:
            _add_case(suite, model, outcome, report.fail_on)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def sarif(report: CheckReport) -> str:
    """Return a report as SARIF 2.1.0: a result for each detail that is not fine, a notification for each skipped check.

    See https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
    """
    rules = {name: index for index, name in enumerate(_rules(report))}
    driver = {
        "name": "onnxvis",
        "version": version("onnxvis"),
        "rules": [{"id": name, "shortDescription": {"text": CHECKS.get(name, _PROCESS)}} for name in rules],
    }
    invocation = {
        "executionSuccessful": report.status != "error",
        "toolExecutionNotifications": list(_notifications(report, rules)),
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": _results(report, rules),
    }
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def github(report: CheckReport) -> str:
    """Return a report as workflow commands, which a GitHub workflow shows beside the files.

    There is one for each check that is not fine, with all of its details: GitHub shows ten of a kind.
    """
    lines = [_command("notice", f"{headline(report)}, {duration(report.seconds)}", title="onnxvis check")]
    for model in report.models:
        for outcome in model.outcomes:
            if is_fine(outcome.status):
                continue
            layer = f" at {outcome.layer}" if outcome.layer else ""
            text = "\n".join([outcome.text, *_lines(outcome)])
            level = _level(outcome.status, report.fail_on)
            lines.append(_command(level, text, file=_relative(model.model), title=f"{outcome.check}{layer}"))
    return "\n".join(lines) + "\n"


def _lines(outcome: Outcome) -> list[str]:
    return [f"{detail.status}: {detail.text}" for detail in further(outcome)]


def _level(status: Status, fail_on: FailOn) -> Literal["warning", "error"]:
    return "warning" if is_good(status, fail_on) else "error"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _kind(outcome: Outcome, fail_on: FailOn) -> Literal["errors", "failures", "skipped", "passed"]:
    """Return what JUnit calls an outcome."""
    if outcome.status == "error":
        return "errors"
    if outcome.status == "skip":
        return "skipped"
    return "passed" if is_good(outcome.status, fail_on) else "failures"


def _totals(outcomes: Sequence[Outcome], fail_on: FailOn, seconds: float) -> dict[str, str]:
    kinds = Counter(_kind(outcome, fail_on) for outcome in outcomes)
    counts = {"failures": kinds["failures"], "errors": kinds["errors"], "skipped": kinds["skipped"]}
    return {
        "tests": str(len(outcomes)),
        **{name: str(count) for name, count in counts.items()},
        "time": f"{seconds:.3f}",
    }


def _add_case(suite: ET.Element, model: ModelReport, outcome: Outcome, fail_on: FailOn) -> None:
    attributes = {
        "classname": _xml(model.model),
        "name": _xml(outcome.check),
        "time": f"{outcome.seconds:.3f}",
        "file": _xml(_relative(model.model)),
    }
    case = ET.SubElement(suite, "testcase", attributes)
    kind = _kind(outcome, fail_on)
    text = _xml("\n".join([outcome.text, *_lines(outcome)]))
    if kind == "skipped":
        ET.SubElement(case, "skipped", {"message": _xml(outcome.text)})
    elif kind != "passed":
        tag = "error" if kind == "errors" else "failure"
        ET.SubElement(case, tag, {"message": _xml(outcome.text), "type": _xml(outcome.check)}).text = text
    elif not is_fine(outcome.status):
        ET.SubElement(case, "system-out").text = f"{outcome.status}: {text}"


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _rules(report: CheckReport) -> list[str]:
    """Return the names of all checks, and of what else has an outcome."""
    used = (outcome.check for model in report.models for outcome in model.outcomes)
    return list(dict.fromkeys([*CHECKS, *used]))


def _results(report: CheckReport, rules: Mapping[str, int]) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    results = []
    for model in report.models:
        for outcome in model.outcomes:
            for status, text, layer, tensor in _findings(outcome):
                # No figures: they differ from run to run, and the finding is the same.
                parts = (outcome.check, _uri(model.model), layer, tensor)
                digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
                seen[digest] += 1
                results.append(
                    {
                        "ruleId": outcome.check,
                        "ruleIndex": rules[outcome.check],
                        "level": _level(status, report.fail_on),
                        "message": {"text": text},
                        "locations": [_location(model.model, layer)],
                        # The name that GitHub reads; without one it hashes a line of the file.
                        "partialFingerprints": {"primaryLocationLineHash": f"{digest}:{seen[digest]}"},
                    }
                )
    return results


def _findings(outcome: Outcome) -> Iterator[tuple[Status, str, str | None, str | None]]:
    """Yield status, text, layer and tensor of what is not fine; without details, of the outcome itself."""
    details = concerns(outcome)
    for detail in details:
        yield detail.status, detail.text, detail.layer, detail.tensor
    if not details and not is_fine(outcome.status):
        yield outcome.status, outcome.text, outcome.layer, None


def _notifications(report: CheckReport, rules: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for model in report.models:
        for outcome in model.outcomes:
            if outcome.status == "skip":
                yield {
                    "level": "note",
                    "message": {"text": outcome.text},
                    "associatedRule": {"id": outcome.check, "index": rules[outcome.check]},
                    "locations": [_location(model.model, None)],
                }


def _location(model: str, layer: str | None) -> dict[str, Any]:
    uri = _uri(model)
    base = {} if uri.startswith("file:") else {"uriBaseId": "%SRCROOT%"}
    # A model has no lines, but GitHub shows nothing without one.
    physical = {"artifactLocation": {"uri": uri, **base}, "region": {"startLine": 1}}
    logical = {} if layer is None else {"logicalLocations": [{"fullyQualifiedName": layer, "kind": "member"}]}
    return {"physicalLocation": physical, **logical}


def _uri(model: str) -> str:
    path = Path(_encodable(_relative(model)))
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _relative(model: str) -> str:
    """Return a model's path relative to the root of the repository where it is below it, with slashes."""
    path, root = absolute(Path(model)), _root()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _root() -> Path:
    """Return the folder that a platform names files relative to: a job may have gone to one below it."""
    current = Path.cwd()
    given = os.environ.get("GITHUB_WORKSPACE")
    if given and current.is_relative_to(absolute(Path(given))):
        return absolute(Path(given))
    return next((folder for folder in (current, *current.parents) if (folder / ".git").exists()), current)


def _command(name: str, text: str, **properties: str) -> str:
    """Return one workflow command, escaped as GitHub's toolkit does it."""
    listed = ",".join(
        f"{key}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in properties.items()
    )
    return f"::{name} {listed}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return _encodable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _encodable(text: str) -> str:
    """Return a text without halves of characters, which no encoding has."""
    return text.encode(errors="replace").decode()
