"""Where a person's word for a layer meets the names that an exporter wrote.

A name is matched, in this order, as: exact node name, exact tensor name, exporter scope (the last tensor computed in
that scope; see `onnxvis.scopes`), path suffix, unique substring, `OpType:k` (k-th node of that type, from 0;
`OpType:k:i` its output i).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxvis.errors import AmbiguousNodeError, UnknownNodeError
from onnxvis.scopes import dotted, is_counted, layers, module, parts, paths, scopes

_NUMBERED = re.compile(r"([^:]+):(-?[0-9]{1,9})(?::([0-9]{1,9}))?")

Shape = Sequence[int | str | None]


@dataclass(frozen=True)
class NameIndex:
    """All names by which the values of a graph can be found.

    Attributes:
        graph: The graph.
        candidates: The values that scopes, suffixes and substrings may mean, in the order of computation: float tensors
            computed from the input. Exact names find every value.
        shapes: The shapes that messages show, by tensor name.
    """

    graph: ir.Graph = field(repr=False)
    candidates: Sequence[ir.Value] = field(repr=False)
    shapes: Mapping[str, Shape | None] = field(repr=False)

    def find(self, query: str, *, source: str = "the model") -> ir.Value:
        """Return the one value that a name means.

        Args:
            query: What a person typed.
            source: The model's name, for messages.

        Raises:
            UnknownNodeError: Nothing has this name.
            AmbiguousNodeError: Several values have it.
        """
        for matches in (self._exact, self._scope, self._suffix, self._substring, self._numbered):
            found = matches(query) if query.strip() else []
            if len(found) == 1:
                return found[0]
            if found:
                listed = self._listed(found)
                message = f"{query!r} in {source} can mean {len(found)} tensors: {listed}. Write more of the name."
                raise AmbiguousNodeError(message, query=query, candidates=self._short(found))
        nearest = self._nearest(query)
        message = (
            f"No node matches {query!r} in {source} ({len(self.graph)} nodes). Nearest: {self._listed(nearest)}. "
            f"'onnxvis nodes {source}' lists all."
        )
        raise UnknownNodeError(message, query=query, candidates=self._short(nearest))

    def short_name(self, value: ir.Value) -> str:
        """Return the shortest readable name that finds this value again."""
        return self._short_names.get(value) or str(value.name)

    def _short(self, values: Sequence[ir.Value]) -> list[str]:
        return [self.short_name(value) for value in values]

    @functools.cached_property
    def _short_names(self) -> dict[ir.Value, str]:
        return {value: self._shortest(value) for value in self.candidates}

    def _shortest(self, value: ir.Value) -> str:
        for name in self._spellings(value):
            for matches in (self._exact, self._scope, self._suffix):
                found = matches(name)
                if found == [value]:
                    return name
                if found:
                    break
        number = f"{_op_type(value)}:{self._numbers[value]}"
        return number if value.index() == 0 else f"{number}:{value.index()}"

    def _spellings(self, value: ir.Value) -> Iterator[str]:
        own = module(value)
        if own is not None:
            yield own
            yield from parts(value)
            yield from reversed(scopes(value))
        else:
            if is_counted(value):
                yield from reversed(layers(value))
            for path in paths(value):
                steps = path.split("/")
                for start in range(len(steps) - 2, -1, -1):
                    yield "/".join(steps[start:-1])
                for start in range(len(steps) - 1, -1, -1):
                    yield "/".join(steps[start:])
        node = value.producer()
        if node is not None and node.name and value is node.outputs[0]:
            yield node.name
        yield str(value.name)

    def _exact(self, query: str) -> list[ir.Value]:
        if query in self._by_node_name:
            return self._by_node_name[query]
        return [self._by_tensor_name[query]] if query in self._by_tensor_name else []

    def _scope(self, query: str) -> list[ir.Value]:
        last = self._by_scope.get(dotted(query))
        return [] if last is None else [last]

    def _suffix(self, query: str) -> list[ir.Value]:
        return list(dict.fromkeys(self._by_suffix.get(dotted(query), ())))

    def _substring(self, query: str) -> list[ir.Value]:
        for fold in (str, str.lower):
            found = [
                value for value in self.candidates if any(fold(query) in fold(name) for name in self._names_of(value))
            ]
            if found:
                return found
        return []

    def _numbered(self, query: str) -> list[ir.Value]:
        match = _NUMBERED.fullmatch(query)
        if match is None:
            return []
        op_type, number, output = match[1], int(match[2]), int(match[3] or 0)
        nodes = self._by_op_type.get(op_type, [])
        if not -len(nodes) <= number < len(nodes):
            return []
        return [value for value in nodes[number].outputs if value.index() == output and value in self._numbers]

    @staticmethod
    def _names_of(value: ir.Value) -> list[str]:
        node = value.producer()
        node_name = node.name if node is not None and node.name else ""
        return [str(value.name), node_name, *scopes(value)]

    @functools.cached_property
    def _by_op_type(self) -> dict[str, list[ir.Node]]:
        found: dict[str, dict[ir.Node, None]] = {}
        for value in self.candidates:
            node = value.producer()
            if node is not None:
                found.setdefault(node.op_type, {})[node] = None
        return {op_type: list(nodes) for op_type, nodes in found.items()}

    @functools.cached_property
    def _numbers(self) -> dict[ir.Value, int]:
        numbers = {node: number for nodes in self._by_op_type.values() for number, node in enumerate(nodes)}
        return {value: numbers[node] for value in self.candidates if (node := value.producer()) is not None}

    @functools.cached_property
    def _by_node_name(self) -> dict[str, list[ir.Value]]:
        found: dict[str, list[ir.Value]] = {}
        for node in self.graph:
            outputs = [value for value in node.outputs if value.name]
            if node.name and outputs:
                found.setdefault(node.name, []).append(outputs[0])
        return found

    @functools.cached_property
    def _by_tensor_name(self) -> dict[str, ir.Value]:
        values = [*self.graph.inputs, *self.graph.initializers.values()]
        values += [value for node in self.graph for value in node.outputs]
        return {str(value.name): value for value in values if value.name}

    @functools.cached_property
    def _by_scope(self) -> dict[str, ir.Value]:
        # Later values overwrite earlier ones: a scope means the last tensor computed in it.
        inside = {part: value for value in self.candidates for part in parts(value)}
        return inside | {scope: value for value in self.candidates for scope in scopes(value)}

    @functools.cached_property
    def _by_suffix(self) -> dict[str, list[ir.Value]]:
        found: dict[str, list[ir.Value]] = {}
        names = dict(self._by_scope)
        for value in self.candidates:
            for path in paths(value):
                names.setdefault(dotted(path), value)
        for name, value in names.items():
            steps = name.split(".")
            for start in range(len(steps)):
                found.setdefault(".".join(steps[start:]), []).append(value)
        return found

    def _nearest(self, query: str) -> list[ir.Value]:
        by_name = {name.lower(): value for value in self.candidates for name in self._names_of(value) if name}
        by_name |= {self.short_name(value).lower(): value for value in self.candidates}
        close = difflib.get_close_matches(query.lower(), by_name, n=3, cutoff=0.3)
        found = list(dict.fromkeys(by_name[name] for name in close))
        return found or list(self.candidates[-3:])

    def _listed(self, values: Sequence[ir.Value]) -> str:
        shown = ", ".join(self._described(value) for value in values[:5])
        return shown + (f" and {len(values) - 5} more" if len(values) > 5 else "")  # noqa: PLR2004 - the five shown above

    def _described(self, value: ir.Value) -> str:
        return f"{self.short_name(value)!r} {_shape(self.shapes.get(str(value.name)))}".rstrip()


def _shape(shape: Shape | None) -> str:
    return "" if shape is None else "(" + ", ".join("?" if dim is None else str(dim) for dim in shape) + ")"


def _op_type(value: ir.Value) -> str:
    node = value.producer()
    return "" if node is None else node.op_type
