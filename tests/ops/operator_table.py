"""Write docs/operators.md: `python -m tests.ops.operator_table`. Nothing is compared while it is written."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import defs
from onnx.backend.test import loader

import tests.ops.cases  # noqa: F401 - registers the comparisons
from onnxvis.control_flow import CONTROL_FLOW
from onnxvis.ops import entries
from onnxvis.sequences import SEQUENCES
from tests.ops.compared import COMPARISONS, Comparison
from tests.test_backend import EXCLUDED

Key = tuple[str, str]

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
TITLES = {
    "": "ONNX",
    "ai.onnx.ml": "ONNX ML (`ai.onnx.ml`)",
    "ai.onnx.preview": "ONNX preview (`ai.onnx.preview`)",
    "com.microsoft": "onnxruntime (`com.microsoft`)",
}
ABSENT = {
    "strings": ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "CategoryMapper"),
    "trees, which have no gradient": ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"),
    "dictionaries": ("CastMap", "DictVectorizer", "ZipMap"),
    "training": ("Adagrad", "Adam", "Gradient", "Momentum"),
    "the decoding of image files": ("ImageDecoder",),
}
"""What ONNX defines and onnxvis has not, by the reason."""

RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
WITHOUT_KERNEL = (
    *("BiasAdd", "BiasDropout", "BiasSoftmax", "BiasSplitGelu", "ComplexMul", "ComplexMulConj", "ConstantFill"),
    *("FusedMatMulActivation", "GatedRelativePositionBias", "GemmFastGelu", "GivenTensorFill", "GroupNorm", "Irfft"),
    *("NhwcConv", "NhwcFusedConv", "QLinearReduceMean", "RelativePositionBias", "Rfft", "Scale", "SkipGroupNorm"),
    "TorchEmbedding",
)
"""What onnxruntime does not compute on a CPU, in float32."""

BY_EXAMPLE = ("TfIdfVectorizer",)
"""Drawn at random, hardly any n-gram would be one of the pool."""

WITHOUT_GRADIENT = frozenset({"OptionalHasElement", "SequenceEmpty", "SequenceLength"})
INTRO = """\
# Operators

<!-- Written by `python -m tests.ops.operator_table`; do not edit. -->

Every operator that onnxvis computes, for onnx {onnx}: {count} of them. How to read a row:

- **opsets**: the versions of the operator that are computed, each with its own meaning. "removed": experimental in the
  first opsets, and still in old files.
- **cases**: how many of the ONNX project's backend test cases contain it. The tests run {cases} of these cases; what is
  left out has its reason in `tests/test_backend.py`.
- **forward**: what its values are compared with, on models of one node whose shapes, attributes and opsets are drawn at
  random (`tests/ops/cases`). "own tests": onnxruntime has no kernel for it on a CPU, or it draws random numbers; then a
  slow twin or a law takes that place.
- **gradient**: what the gradient is compared with. "float64", "float32": central differences of the same oracle in that
  precision; float64 where it computes in it. "straight-through": central differences of the operator that does not
  round. "cut": it is zero, since the function is constant almost everywhere. "-": none can pass, since the operator
  takes or returns no floats, or none that depend on each other.

Quantized models have a useful gradient, although rounding has none: inside the range that a type can hold, rounding
passes the gradient on as if nothing were rounded; outside, where values saturate, it is zero. The values stay those of
the quantized model. `Round` does the same; `Floor`, `Ceil`, `Sign` and comparisons cut the gradient.

"""
OUTRO = """\
## What is not there

{absent}

Also not there: `com.microsoft.nchwc`, the layout in which onnxruntime stores a model for one machine. Save it at the
level ORT_ENABLE_EXTENDED instead.

A model may hold such operators as long as they come after the target, or on a path that it does not need. Otherwise the
command says which nodes stand in the way. An operator can be added by `add_converter` of
[onnx2torch](https://github.com/ENOT-AutoDL/onnx2torch), whose converters are asked after the table and before the
function by which the ONNX schema may define an operator.
"""


@dataclass(frozen=True)
class Row:
    """A line of a table, as text."""

    domain: str
    op_type: str
    opsets: str
    cases: int
    forward: str
    gradient: str

    def __str__(self) -> str:
        """The line."""
        cells = (f"`{self.op_type}`", self.opsets, str(self.cases or ""), self.forward, self.gradient)
        return f"| {' | '.join(cells)} |"


def page() -> str:
    """The whole page."""
    counted, total = _backend_cases()
    lines = rows(counted)
    text = INTRO.format(onnx=onnx.__version__, count=len(lines), cases=total)
    for domain, title in TITLES.items():
        table = [str(row) for row in lines if row.domain == domain]
        heading = ["| operator | opsets | cases | forward | gradient |", "|---|---|---:|---|---|"]
        text += "\n".join([f"## {title}", "", *heading, *table, "", ""])
    return text + OUTRO.format(absent="\n".join(_absent()))


def uncompared() -> set[str]:
    """The operators of the table that no family module draws, control flow and sequences apart."""
    return {entry.op_type for entry in entries() if (entry.domain, entry.op_type) not in COMPARISONS}


def rows(counted: Counter[Key]) -> list[Row]:
    """One row for each operator, by domain and name."""
    schemas = _schemas()
    differentiable = {(e.domain, e.op_type): e.differentiable for e in entries()}
    handled = {("", op_type): op_type not in WITHOUT_GRADIENT for op_type in (*CONTROL_FLOW, *SEQUENCES)}
    expanded = [key for key, versions in schemas.items() if _has_body(versions[-1])]
    known = {**dict.fromkeys(expanded, True), **handled, **differentiable}
    return [
        Row(*key, _opsets(key, schemas), counted[key], _forward(key, expanded), _gradient(key, passes=passes))
        for key, passes in sorted(known.items())
    ]


def _schemas() -> dict[Key, list[Any]]:
    """The versions of each operator that ONNX defines, oldest first."""
    found: dict[Key, list[Any]] = {}
    for schema in sorted(defs.get_all_schemas_with_history(), key=lambda schema: schema.since_version):
        found.setdefault((schema.domain, schema.name), []).append(schema)
    return found


def _has_body(schema: Any) -> bool:
    return bool(schema.has_function or schema.has_context_dependent_function)


def _opsets(key: Key, schemas: dict[Key, list[Any]]) -> str:
    versions = schemas.get(key)
    if versions is None:
        return "1" if key[0] else "any" if key[1] == "SimplifiedLayerNormalization" else "removed"
    first = versions[0].since_version
    last = versions[-1].since_version - 1 if versions[-1].deprecated else defs.onnx_opset_version()
    if key[0]:
        last = versions[-1].since_version
    return _span(first, last)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _forward(key: Key, expanded: Container[Key]) -> str:
    comparison = COMPARISONS.get(key)
    if comparison is None:
        own = key[1] in uncompared() or key[1] in (*CONTROL_FLOW, *SEQUENCES)
        return "the function in its schema" if key in expanded and not own else "own tests"
    span = _span(comparison.oldest, comparison.newest)
    return comparison.oracle if key[0] == "com.microsoft" else f"{comparison.oracle}, {span}"


def _gradient(key: Key, *, passes: bool) -> str:
    comparison = COMPARISONS.get(key)
    if comparison is None:
        return "own tests" if passes else "-"
    return _compared_gradient(comparison)


def _compared_gradient(comparison: Comparison) -> str:
    if comparison.gradient == "compared":
        return comparison.precision
    return "-" if comparison.gradient == "none" else comparison.gradient


def _backend_cases() -> tuple[Counter[Key], int]:
    """Count the backend cases that contain an operator, and all; those that download models are not looked into."""
    counted: Counter[Key] = Counter()
    total = 0
    for name, model in _models():
        if not any(re.search(pattern, name) for pattern in EXCLUDED):
            total += 1
            counted.update(set(_operators(model.graph)) if model else ())
    return counted, total


def _models() -> Iterator[tuple[str, onnx.ModelProto | None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the project's generators do with infinities
        for case in (case for kind in KINDS for case in loader.load_model_tests(kind=kind)):
            path = None if case.model_dir is None else Path(case.model_dir) / "model.onnx"
            yield case.name, case.model or (onnx.load(path) if path and path.is_file() else None)
        yield from ((case.name, None) for case in loader.load_model_tests(kind="real"))


def _operators(graph: onnx.GraphProto) -> Iterator[Key]:
    for node in graph.node:
        yield ("" if node.domain == "ai.onnx" else node.domain), node.op_type
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _operators(inner)


def _absent() -> Iterable[str]:
    """What ONNX defines and onnxvis has not, by the reason.

    Raises:
        LookupError: An operator is missing for no reason.
    """
    known = {(row.domain, row.op_type) for row in rows(Counter())}
    missing = {op_type for _, op_type in _schemas().keys() - known}
    explained = {op_type for names in ABSENT.values() for op_type in names}
    if missing != explained:
        message = f"Operators that are missing without a reason, or not missing: {sorted(missing ^ explained)}"
        raise LookupError(message)
    return [f"- {reason}: {_listed(names)}" for reason, names in ABSENT.items()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
