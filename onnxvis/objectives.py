"""More to optimize an image for: whole layers, directions, heads, and classes against the others.

Every loss reads each image by itself, along the channel axis of a layer of any number of axes.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from onnxvis.activations import Neuron, check_filters, inverse_length
from onnxvis.algebra import Loss
from onnxvis.errors import SettingError
from onnxvis.losses import read_filters, read_neuron, titled
from onnxvis.render import read_array
from onnxvis.scene import Scene

Form = Literal["dot", "cosine", "dot-cosine"]
"""How an activation is compared with a direction."""
Against = Literal["logsumexp", "mean", "max", "top"]
"""What stands for the other filters."""
LEAST_COSINE = 0.1
"""The floor of the cosine beside a dot product: lucid's, without which a direction that is not met has no gradient."""


@dataclass(frozen=True)
class DeepDream(Loss):
    """Minus the mean square of a whole layer: whatever it answers to already, more of it.

    Mordvintsev, Olah and Tyka, "Inceptionism: going deeper into neural networks" (2015),
    https://research.google/blog/inceptionism-going-deeper-into-neural-networks/.

    Attributes:
        node: The layer; None: the target, all of it.
    """

    node: str | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("deep dream", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        return -scene.values(self.node).square().mean(1)


@dataclass(frozen=True)
class Direction(Loss):
    """Minus how far a layer points in a direction: v with one number for each channel, compared at every position.

    A latent of a sparse autoencoder (its encoder's row), a concept activation vector, the weights of a probe. At each
    position p with activation a_p:

    - "dot": v . a_p, with v as it is given: of an encoder's row, the latent before its bias and its ReLU;
    - "cosine": cos(v, a_p), in [-1, 1]; 0 where a_p is zero;
    - "dot-cosine": (v . a_p) max(0.1, cos(v, a_p))^power: large, and in no other direction. Olah et al., "Feature
      visualization" (2017), https://distill.pub/2017/feature-visualization/, and lucid, from which the 0.1 comes.

    Attributes:
        vector: The direction, or the path of a .npy file that holds it, which is read at once: a recipe holds numbers.
        node: The layer; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
        neuron: One position, in order of the spatial axes, or "center"; None: the mean over all.
        form: How the two are compared.
        power: Exponent of the cosine, at least 0.
    """

    vector: Sequence[float] | np.ndarray[Any, Any] | str | os.PathLike[str] = field(repr=False)
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None
    form: Form = "dot"
    power: float = 1.0

    def __post_init__(self) -> None:
        """Read the vector.

        Raises:
            InputError: The file is missing or damaged.
            SettingError: It is no direction, or a setting is of another kind.
        """
        object.__setattr__(self, "vector", _read_vector(self.vector))
        object.__setattr__(self, "neuron", read_neuron(self.neuron))
        if self.form not in get_args(Form):
            message = f"form is one of {', '.join(get_args(Form))}, not {self.form!r}."
            raise SettingError(message, form=self.form)
        if not 0 <= self.power < math.inf:
            message = f"power must be 0 or more, and finite, not {self.power}."
            raise SettingError(message, power=self.power)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("direction", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: The vector has more or fewer numbers than the layer has channels.
        """
        activation = scene.channels(self.node, self.channel_axis, self.neuron)
        vector = _held(cast("tuple[float, ...]", self.vector), activation.dtype, activation.device)
        if len(vector) != activation.shape[1]:
            layer = self.node or "the target"
            message = (
                f"The direction has {len(vector)} numbers, and {layer} has {activation.shape[1]} channels: give one "
                "number for each."
            )
            raise SettingError(message, found=len(vector), expected=activation.shape[1])
        dot = torch.einsum("c,ncp->np", vector, activation)
        if self.form == "dot":
            return -dot.mean(1)
        cosine = dot * inverse_length(activation.square().sum(1)) * inverse_length(vector.square().sum())
        along = cosine if self.form == "cosine" else dot * cosine.clamp(min=LEAST_COSINE) ** self.power
        return -along.mean(1)


@dataclass(frozen=True)
class Margin(Loss):
    """Minus how far some classes are ahead of all others: a - weight * o, a picture of what tells a class apart.

    a is the mean activation of the filters, over positions and filters, and o stands for the K other filters of the
    layer, whose mean activations over positions are a_k:

    - "logsumexp": o = log(sum of exp a_k). On logits, for one class and weight 1, the loss is then minus the log-odds
      of the class under the softmax, -log(p / (1 - p)), which does not saturate where p does;
    - "mean": o = (sum of a_k) / K;
    - "max": o = max a_k, the runner-up;
    - "top": o = the mean of the strongest tenth of the a_k, at least one.

    Attributes:
        filters: Indices along the channel axis; None: those of the target.
        node: The layer, before the softmax; None: the target.
        channel_axis: The axis of the channels; filled in where the graph tells it.
        neuron: One position, in order of the spatial axes, or "center"; None: the mean over all.
        against: What stands for the others.
        weight: How much they count.
    """

    filters: tuple[int, ...] | None = None
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None
    against: Against = "logsumexp"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Read one number as several where several may be.

        Raises:
            SettingError: A setting is of another kind.
        """
        object.__setattr__(self, "filters", read_filters(self.filters))
        object.__setattr__(self, "neuron", read_neuron(self.neuron))
        if self.against not in get_args(Against):
            message = f"against is one of {', '.join(get_args(Against))}, not {self.against!r}."
            raise SettingError(message, against=self.against)
        if not math.isfinite(self.weight):
            message = f"weight must be finite, not {self.weight}."
            raise SettingError(message, weight=self.weight)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled("margin", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            FilterError: The layer has no such filter.
            SettingError: No filter is named, or there is no other.
        """
        means = scene.channels(self.node, self.channel_axis, self.neuron).mean(2)
        chosen = self._chosen(scene, means.shape[1]).to(means.device)
        own = means.masked_fill(~chosen, 0).sum(1) / chosen.sum(1)
        return self.weight * _OTHERS[self.against](means, chosen) - own

    def _chosen(self, scene: Scene, count: int) -> Tensor:
        """Return which filters are those of each image: (N, channels)."""
        chosen = torch.zeros(scene.count, count, dtype=torch.bool)
        for row, filters in zip(chosen, scene.filters_of(self.filters), strict=True):
            check_filters(filters, count)
            if not 0 < len({index % count for index in filters}) < count:
                message = f"A margin needs some of the layer's {count} filters, and others; {len(filters)} are named."
                raise SettingError(message, filters=filters)
            row[list(filters)] = True
        return chosen


@dataclass(frozen=True)
class Head(Loss):
    """Minus the mean square of one attention head: of its part of the channels, over all tokens.

    A head's numbers have no sign that would be the good one, so it is their energy that is made large, as in
    `DeepDream`. The channel axis is cut into as many equal parts as there are heads. In a tensor of (N, tokens,
    heads * width) a part is a head's width; in one of (N, heads, tokens, width) the axis of the heads is the channel
    axis, 1, and a part is one entry. Where queries, keys and values lie in one tensor, there are three times as many.

    Attributes:
        index: Which head, from 0.
        heads: How many there are.
        node: The layer; None: the target.
        channel_axis: The axis that is cut; filled in where the graph tells it.
        neuron: One position, as (token,), or "center"; None: all.
    """

    index: int
    heads: int
    node: str | None = None
    channel_axis: int | None = None
    neuron: Neuron = None

    def __post_init__(self) -> None:
        """Read one number as a position.

        Raises:
            SettingError: There is no such head.
        """
        object.__setattr__(self, "neuron", read_neuron(self.neuron))
        if not 0 <= self.index < self.heads:
            message = f"Head {self.index} is not one of {self.heads}: give 0 to {self.heads - 1}."
            raise SettingError(message, index=self.index, heads=self.heads)

    @property
    def name(self) -> str:
        """What tables call it."""
        return titled(f"head {self.index}", self.node)

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,).

        Raises:
            SettingError: The channels cannot be cut into so many heads.
        """
        activation = scene.channels(self.node, self.channel_axis, self.neuron)
        width, left = divmod(activation.shape[1], self.heads)
        if left:
            message = (
                f"{activation.shape[1]} channels are not {self.heads} heads of equal width: give the layer's heads, "
                "and the channel_axis that holds them."
            )
            raise SettingError(message, heads=self.heads, channels=activation.shape[1])
        return -activation.narrow(1, self.index * width, width).square().mean((1, 2))


def _logsumexp(means: Tensor, chosen: Tensor) -> Tensor:
    return means.masked_fill(chosen, -math.inf).logsumexp(1)


def _mean(means: Tensor, chosen: Tensor) -> Tensor:
    return means.masked_fill(chosen, 0).sum(1) / (~chosen).sum(1)


def _max(means: Tensor, chosen: Tensor) -> Tensor:
    return means.masked_fill(chosen, -math.inf).amax(1)


def _top(means: Tensor, chosen: Tensor) -> Tensor:
    others = means.masked_fill(chosen, -math.inf).sort(dim=1, descending=True).values
    counts = ((~chosen).sum(1, keepdim=True) // _TENTH).clamp(min=1)
    kept = torch.arange(means.shape[1], device=means.device) < counts
    return others.masked_fill(~kept, 0).sum(1) / counts[:, 0]


_TENTH = 10
_OTHERS: Mapping[Against, Callable[[Tensor, Tensor], Tensor]] = {
    "logsumexp": _logsumexp,
    "mean": _mean,
    "max": _max,
    "top": _top,
}


@functools.lru_cache(maxsize=8)
def _held(vector: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(vector, dtype=dtype, device=device)


def _read_vector(given: Any) -> tuple[float, ...]:
    """Read a direction: numbers along one axis, which are finite and not all zero."""
    from_file = isinstance(given, (str, os.PathLike))
    source = f"The direction {os.fspath(given)}" if from_file else "The direction"
    try:
        numbers = np.asarray(read_array(given) if from_file else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = f"{source} holds no numbers: give one for each channel, or the path of a .npy file."
        raise SettingError(message) from error
    if numbers.size != max(numbers.shape, default=0) or numbers.size == 0:
        message = f"{source} has shape {numbers.shape}: give one number for each channel, shape (channels,)."
        raise SettingError(message, shape=numbers.shape)
    if not np.isfinite(numbers).all():
        message = f"{source} holds NaN or infinity: give finite numbers."
        raise SettingError(message)
    if not numbers.any():
        message = f"{source} is zero everywhere, which points nowhere."
        raise SettingError(message)
    return tuple(numbers.ravel().tolist())
