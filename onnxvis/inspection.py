"""One look at a model for all checks: one session of the reference, one lowering, and what both have at each probe.

Everything is computed when it is first asked for, so that what cannot be lowered can still be looked at.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from onnxvis.config import CheckSettings
from onnxvis.errors import OracleError, UnknownSizeError, UnsupportedOpError
from onnxvis.graph import ancestors, drawn_values, inputs_of
from onnxvis.model import Model
from onnxvis.network import full_precision
from onnxvis.oracle import Arrays, Oracle
from onnxvis.ordinary import note_of
from onnxvis.probes import Probe, make_probes, placements, shapes_text
from onnxvis.tensors import as_tensor, widened
from onnxvis.verify import Lowered, lower_all

Array = np.ndarray[Any, Any]

_KEPT_BYTES = 1 << 30
"""How many bytes of the reference's arrays are kept; those of further probes are computed again when asked for."""
_LARGE_BYTES = 256 << 20
_SCALE = 1e-30


@dataclass(frozen=True)
class Seen:
    """What one tensor was at one probe.

    Attributes:
        nan: Whether it holds NaN.
        rises: Whether it holds +Inf.
        falls: Whether it holds -Inf.
        low: The smallest finite value of each channel; of all values where the channel axis is not known.
        high: The largest, likewise.
        moved: The largest difference to the first probe, relative to the largest magnitude; infinite for another shape.
    """

    nan: bool
    rises: bool
    falls: bool
    low: Array = field(repr=False)
    high: Array = field(repr=False)
    moved: float


@dataclass(frozen=True)
class _Placed:
    """The shapes at which the model is looked at, and what was assumed for them."""

    shapes: Mapping[str, tuple[int, ...]]
    probes: tuple[Probe, ...]
    first: Arrays = field(repr=False)
    notes: tuple[str, ...]
    seconds: float


class Inspection:
    """A model under inspection; its members are computed once, when they are first asked for.

    Args:
        model: The model.
        settings: What it is fed.
    """

    def __init__(self, model: Model, settings: CheckSettings) -> None:
        self.model = model
        self.settings = settings
        self._kept: dict[str, Arrays] = {}
        self._seen: dict[str, Mapping[str, Seen]] = {}

    @functools.cached_property
    def oracle(self) -> Oracle:
        """The one session, which observes all activations and all outputs.

        Raises:
            OracleError: onnxruntime refuses the model.
            UnsupportedOpError: There is nothing to observe.
        """
        names = list(dict.fromkeys([*self.tensors, *self.outputs]))
        if not names:
            message = f"{self.model.name} computes no tensor that could be looked at: its outputs are of other kinds."
            raise UnsupportedOpError(message)
        return Oracle(self.model, names)

    @functools.cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are tensors, in the file's order."""
        known = {"UNDEFINED", *ir.DataType.__members__}
        return tuple(str(spec.name) for spec in self.model.outputs if spec.dtype in known)

    def run(self, feeds: Mapping[str, Array]) -> Arrays:
        """Return what the reference has at any inputs, by tensor name.

        Args:
            feeds: Arrays by input name; of those that nothing depends on none is fed.
        """
        return self.oracle.run({name: feeds[name] for name in self._needed})

    @functools.cached_property
    def _needed(self) -> list[str]:
        values = [self.model.values[name] for name in self.oracle.tensors]
        return [str(value.name) for value in inputs_of(self.model.ir.graph, values)]

    @functools.cached_property
    def tensors(self) -> tuple[str, ...]:
        """The names of all activations, in the order of computation."""
        return tuple(str(value.name) for value in self.model.activations)

    @functools.cached_property
    def _placed(self) -> _Placed:
        """Try the shapes in order; the first at which the reference runs the first probe is taken."""
        refused: OracleError | None = None
        for shapes, note in placements(self.model, self.settings, self._needed):
            probes = make_probes(self.model, self.settings, shapes)
            started = time.perf_counter()
            try:
                first = self.run(probes[0].feeds)
            except OracleError as error:
                refused = refused or error
                if note is None:
                    raise
                continue
            seconds = time.perf_counter() - started
            return _Placed(shapes, probes, first, () if note is None else (note,), seconds)
        message = (
            f"{self.model.name} leaves sizes open, and runs at none of those tried: give --size. At the first: "
            f"{'nothing was tried' if refused is None else refused.message}"
        )
        raise UnknownSizeError(message)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each input.

        Raises:
            UnknownSizeError: The file leaves sizes open.
            OracleError: The reference cannot run the model.
        """
        return self._placed.shapes

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The inputs that the model is looked at with; the first is noise. Large models have to do with few."""
        probes = self._placed.probes
        return tuple(probe for probe in probes if probe.essential) if self.is_large else probes

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, a sentence each."""
        single = (
            "Nothing can be varied, and one probe was fed: all inputs are held, or hold integers of which no range is "
            "known. Arrays for them are given as `inputs` in onnxvis.toml."
        )
        few = f"The tensors are large: {len(self.probes)} of {len(self._placed.probes)} probes were fed."
        is_single, is_short = len(self.probes) == 1, len(self.probes) < len(self._placed.probes)
        return (*self._placed.notes, *([single] if is_single else []), *([few] if is_short else []))

    @functools.cached_property
    def ordinary_note(self) -> str | None:
        """What an ordinary session on this processor computes otherwise; None: nothing."""
        return note_of(self.model, self.outputs or self.tensors[-1:], *(probe.feeds for probe in self.probes))

    @property
    def place(self) -> str:
        """The input shapes, as a person writes them."""
        return shapes_text(self.shapes)

    @functools.cached_property
    def is_large(self) -> bool:
        """Whether all tensors at one probe take so much memory that few probes have to do."""
        return _size(self._placed.first) > _LARGE_BYTES

    @property
    def run_seconds(self) -> float:
        """How long one run of the reference takes."""
        return self._placed.seconds

    @functools.cached_property
    def sized(self) -> Model:
        """The model with all shapes known, which tells more channel axes."""
        return self.model.at({name: tuple(array.shape) for name, array in self.reference(self.probes[0]).items()})

    @functools.cached_property
    def lowered(self) -> Lowered:
        """As much of the model in torch as can be lowered, at these shapes.

        Raises:
            OnnxvisError: Nothing can.
        """
        steady = [value for value in self.model.activations if value not in self._random]
        found = lower_all(self.model, steady, dict(self.shapes), self.flags)
        random = [self.layer(str(value.name)) for value in self.model.activations if value in self._random]
        return dataclasses.replace(found, skipped=(*found.skipped, *random))

    @functools.cached_property
    def flags(self) -> Arrays:
        """Integers and flags that are given: they are known beforehand, and a branch that they decide is taken."""
        feeds = self.probes[0].feeds
        given = self.settings.inputs or {}
        return {name: feeds[name] for name in given if name in feeds and feeds[name].dtype.kind not in "fV"}

    @functools.cached_property
    def _random(self) -> set[ir.Value]:
        """What is drawn anew in every run, and all that is computed from it."""
        return drawn_values(self.model.ir.graph)

    def reference(self, probe: Probe) -> Arrays:
        """Return what the reference has at a probe, by tensor name; kept as far as there is room.

        Args:
            probe: One of `probes`.
        """
        if probe.name in self._kept:
            return self._kept[probe.name]
        is_first = probe is self.probes[0]
        arrays = self._placed.first if is_first else self.run(probe.feeds)
        if is_first or _size(arrays) * (len(self._kept) + 1) <= _KEPT_BYTES:
            self._kept[probe.name] = arrays
        return arrays

    def computed(self, probe: Probe) -> Arrays:
        """Return what torch computes at a probe, by tensor name, as far as it can be lowered."""
        network = self.lowered.network
        arguments = [widened(as_tensor(np.asarray(probe.feeds[name]))) for name in network.input_names]
        with torch.no_grad(), full_precision():
            results = network(*arguments)
        several = (results,) if isinstance(results, torch.Tensor) else results
        return {name: widened(item).numpy() for name, item in zip(self.lowered.names, several, strict=True)}

    def seen(self, probe: Probe) -> Mapping[str, Seen]:
        """Return the figures of all tensors at a probe, by tensor name.

        Args:
            probe: One of `probes`.
        """
        if probe.name not in self._seen:
            first, axes = self.reference(self.probes[0]), self.sized.channel_axes
            self._seen[probe.name] = {
                name: _figures(array, first[name], axes.get(name))
                for name, array in self.reference(probe).items()
                if array.dtype.kind in "fiub"
            }
        return self._seen[probe.name]

    def before(self, tensor: str) -> list[ir.Value]:
        """Return the activations that a tensor is computed from, and itself, in the order of computation."""
        nodes = ancestors([self.model.values[tensor]])
        return [value for value in self.model.activations if value.producer() in nodes]

    def layer(self, tensor: str) -> str:
        """Return the short name of a tensor's layer, as `--node` takes it."""
        value = self.model.values.get(tensor)
        return tensor if value is None else self.model.names.short_name(value)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _figures(array: Array, first: Array, axis: int | None) -> Seen:
    if array.size == 0:
        empty = np.zeros(0)
        return Seen(nan=False, rises=False, falls=False, low=empty, high=empty, moved=0.0)
    around = tuple(each for each in range(array.ndim) if each != axis) if axis is not None else None
    values = array if array.dtype.kind != "f" or array.dtype.itemsize > np.float16().itemsize else array.astype("f4")
    low, high = np.atleast_1d(values.min(axis=around)), np.atleast_1d(values.max(axis=around))
    nan = bool(np.isnan(low).any())
    # NaN hides infinities from the extremes.
    rises = bool(np.isposinf(values).any() if nan else np.isposinf(high).any())
    falls = bool(np.isneginf(values).any() if nan else np.isneginf(low).any())
    if nan or rises or falls:
        finite = np.isfinite(values)
        low = np.atleast_1d(values.min(axis=around, initial=np.inf, where=finite))
        high = np.atleast_1d(values.max(axis=around, initial=-np.inf, where=finite))
    moved = 0.0 if array is first else _moved(values, first, max(abs(_most(low)), abs(_most(high))))
    return Seen(nan, rises, falls, low.astype(np.float64), high.astype(np.float64), moved)


def _most(values: Array) -> float:
    return float(max(values[np.isfinite(values)], key=abs, default=0.0))


def _moved(array: Array, first: Array, scale: float) -> float:
    if array.shape != first.shape:
        return math.inf
    wide = array if array.dtype.kind == "f" else array.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = wide - first
        largest = max(float(difference.max()), -float(difference.min()))
        if not math.isfinite(largest):
            # Infinities at the same place have not moved; what is not finite on one side alone has.
            difference = np.where(array == first, 0, difference)
            largest = float(np.abs(difference).max())
    return largest / max(scale, _SCALE) if math.isfinite(largest) else math.inf
