"""What two files have not in common, in words: where they part, what they want to be fed, what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxvis.comparison.causes import Evidence, cause_of
from onnxvis.comparison.compare import Comparison
from onnxvis.comparison.pairs import TensorPair, sources
from onnxvis.comparison.parameters import OF_AXES, Setting
from onnxvis.comparison.relations import Relation
from onnxvis.comparison.sides import Side
from onnxvis.comparison.suspects import Suspect, suspects
from onnxvis.outcomes import Detail

_NOTICED = 1e-6
"""A relative error that rounding alone does not give where the inputs agree."""


def details(compared: Comparison, accept: Sequence[str] = ()) -> Iterator[Detail]:
    """Yield what two files have not in common.

    Args:
        compared: The comparison of the files.
        accept: What is no difference: "preprocessing", "permutation", "attributes".
    """
    yield from _of_inputs(compared, accept)
    if compared.feeds.contradicted:
        yield Detail(
            "warn",
            "What the files say of their preprocessing differs, but they compute the same of the same numbers: one of "
            "them says what is wrong.",
        )
    told = list(suspects(compared.sides, compared.pairs, compared.correspondence))
    blamed = set()
    for root in compared.roots:
        if compared.pairs[root].verdict == "permuted" and "permutation" in accept:
            continue
        earlier = None if _is_explained(root, told) else _earlier(compared, root, told)
        detail = _of_root(compared, root) if earlier is None else _of_suspect(compared, earlier, root)
        if detail.tensor not in blamed:
            blamed.add(detail.tensor)
            yield detail
    yield from _of_outputs(compared, accept)
    for suspect in told:
        if suspect.pair.second not in blamed and suspect.pair.agrees and "attributes" not in accept:
            yield from _of_setting(compared, suspect)


def _of_inputs(compared: Comparison, accept: Sequence[str]) -> Iterator[Detail]:
    pairing, relation = compared.feeds.pairing, compared.feeds.relation
    for side, names in zip(("first", "second"), pairing.missing, strict=True):
        for name in names:
            other = "second" if side == "first" else "first"
            text = f"Input {name!r} of the {side} file has no counterpart in the {other}."
            yield Detail("fail", text, layer=name, tensor=name)
    if relation.source == "found" and not relation.is_plain and "preprocessing" not in accept:
        reader = _first_reader(compared, pairing.names[0][1])
        text = (
            f"The second file wants another input than the first: {relation}. With that the rest is compared. Bring "
            "colors and normalization into line, or accept it: --accept preprocessing."
        )
        tensor = compared.sides[1].name(reader) if reader in compared.sides[1].model.values else reader
        figures = {
            **_figures_of(relation),
            "first_difference": _first_reader(compared, pairing.names[0][1], beyond=False),
        }
        yield Detail("fail", text, layer=tensor, tensor=reader, figures=figures)


def _figures_of(relation: Relation) -> dict[str, float | int | str]:
    return {
        "scale": " ".join(f"{value:.6g}" for value in relation.scale),
        "offset": " ".join(f"{value:.6g}" for value in relation.offset),
        "reversed": int(relation.reversed),
    }


def _first_reader(compared: Comparison, name: str, *, beyond: bool = True) -> str:
    """Return the tensor that is first computed from another, beyond what only moves its axes or not."""
    side = compared.sides[1]
    readers = [use.node for use in side.model.values[name].uses() if use.node.outputs]
    while beyond and len(readers) == 1 and readers[0].op_type in ("Cast", "Identity", "Transpose"):
        following = [use.node for use in readers[0].outputs[0].uses() if use.node.outputs]
        if not following:
            break
        readers = following
    return str(readers[0].outputs[0].name) if readers else name


def _is_explained(root: str, told: Sequence[Suspect]) -> bool:
    return any(suspect.pair.first == root for suspect in told)


def _earlier(compared: Comparison, root: str, told: Sequence[Suspect]) -> Suspect | None:
    """Find what is told differently before a root, with an effect too small to be called a difference there."""
    behind: set[str] = set()
    waiting = [root]
    while waiting:
        for pair in sources(compared.sides[0], compared.pairs, waiting.pop()):
            if pair.first not in behind:
                behind.add(pair.first)
                waiting.append(pair.first)
    effective = [suspect for suspect in told if suspect.pair.first in behind and suspect.fresh > _NOTICED]
    return effective[-1] if effective else None


def _of_root(compared: Comparison, root: str) -> Detail:
    one, other = compared.sides
    pair = compared.pairs[root]
    evidence = Evidence(compared.sides, compared.recordings, compared.correspondence, compared.pairs)
    cause = cause_of(evidence, root, compared.limits.sharp)
    node = cause.node
    tensor = pair.second if node is None else str(node.outputs[0].name)
    first = root if cause.first is None else str(cause.first.outputs[0].name)
    reasons = "; ".join(cause.reasons) or "its inputs agree, its values do not"
    text = (
        f"The files part at {other.name(tensor)!r} ({_operator(one, first, other, tensor)}), {_far(pair)}: {reasons}."
    )
    # Where the second file has no such node, what reads the tensor before it is the first that differs.
    lost = root in compared.correspondence.absorbed
    difference = _first_reader(compared, pair.second, beyond=False) if lost else pair.second
    figures = {**_figures(one, first, pair), "first_difference": other.name(difference)}
    return Detail("fail", text, layer=other.name(tensor), tensor=tensor, figures=figures)


def _of_suspect(compared: Comparison, suspect: Suspect, root: str) -> Detail:
    one, other = compared.sides
    pair = suspect.pair
    name = other.name(pair.second)
    said = "; ".join(map(str, suspect.settings))
    text = (
        f"The files part at {name!r} ({_operator(one, pair.first, other, pair.second)}), {_far(pair)}, which is first "
        f"over the limit at {other.name(compared.pairs[root].second)!r}: {said}."
    )
    return Detail("fail", text, layer=name, tensor=pair.second, figures=_figures(one, pair.first, pair))


def _of_setting(compared: Comparison, suspect: Suspect) -> Iterator[Detail]:
    """Tell what is told differently without an effect on what was fed."""
    one, other = compared.sides
    # Where the results agree, other axes are those of another layout.
    shown = [
        setting
        for setting in suspect.settings
        if setting.name not in OF_AXES and not (setting.weight and _is_excused(compared, suspect, setting))
    ]
    if not shown:
        return
    values = any(setting.number or setting.weight for setting in shown)
    serious = any(map(_has_open_sizes, compared.sides)) or values
    name = other.name(suspect.pair.second)
    where = "other inputs may show it" if values else "at other sizes it may matter"
    text = (
        f"{name!r} ({suspect.nodes[1].op_type}) is told otherwise, with no effect over the limit here, but {where}: "
        f"{'; '.join(map(str, shown))}. Accept it by --accept attributes."
    )
    yield Detail(
        "fail" if serious else "warn",
        text,
        layer=name,
        tensor=suspect.pair.second,
        figures=_figures(one, suspect.pair.first, suspect.pair),
    )


def _is_excused(compared: Comparison, suspect: Suspect, setting: Setting) -> bool:
    """Whether other weights are no difference: what they do is seen and within the limit, or they are of another input.

    A node that reads an input which the other file wants otherwise makes up for that by its weights; and a quantized
    bias is rounded as its input is.
    """
    quantized = compared.limits.coarse
    # The limit of quantized files is wide, and their weights can be compared themselves.
    within = setting.name == "bias" if quantized else suspect.fresh > _NOTICED
    if setting.first and setting.second and within:
        return True
    name = compared.feeds.pairing.names[0][0]
    return not compared.feeds.relation.is_plain and name in compared.sides[0].data_inputs(suspect.nodes[0])


def _has_open_sizes(side: Side) -> bool:
    return any(not isinstance(dim, int) for spec in side.model.inputs for dim in (spec.shape or ())[1:])


def _of_outputs(compared: Comparison, accept: Sequence[str]) -> Iterator[Detail]:
    """Tell which outputs differ, have no counterpart, or have another shape."""
    one, other = compared.sides
    paired = {pair.second for pair in compared.pairs.values()}
    for name in one.outputs:
        pair = compared.pairs.get(name)
        if pair is None:
            yield Detail("fail", f"Output {name!r} of the first file has no counterpart.", layer=name, tensor=name)
        elif not pair.agrees and not (pair.verdict == "permuted" and "permutation" in accept):
            said = "has another shape" if pair.verdict == "shape" else f"differs, {_far(pair)}"
            output = other.name(pair.second)
            yield Detail("fail", f"Output {output!r} {said}.", output, pair.second, _figures(one, name, pair))
    for name in other.outputs:
        if name not in paired and len(one.outputs) < len(other.outputs):
            yield Detail("fail", f"Output {name!r} of the second file has no counterpart.", layer=name, tensor=name)


def _operator(one: Side, first: str, other: Side, second: str) -> str:
    same = one.name(first) == other.name(second)
    return other.op_type(second) + ("" if same else f"; {one.op_type(first)} {one.name(first)!r} in the first file")


def _far(pair: TensorPair) -> str:
    if pair.verdict == "shape":
        return "whose shapes differ"
    return f"relative error {pair.errors.relative:.2g}, cosine {pair.cosine:.4f}"


def _figures(one: Side, first: str, pair: TensorPair) -> dict[str, float | int | str]:
    return {
        "first_layer": one.name(first),
        "max_error": pair.errors.absolute,
        "relative_error": pair.errors.relative,
        "cosine": pair.cosine,
        "cka": pair.cka,
    }
