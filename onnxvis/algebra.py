"""Losses and their weighted sums: what can be added, subtracted and given a weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from onnxvis.activations import sum_of
from onnxvis.errors import SettingError
from onnxvis.scene import Scene

Term = tuple[Callable[[Scene], Tensor], float]
"""A loss and its weight."""
Summand: TypeAlias = "Objective | Callable[[Scene], Tensor]"
"""What can be added: a loss, any function that is one, or a sum of them."""


class Loss:
    """A loss: `loss(scene)` gives (N,) numbers. Subclass it, or pass any such function.

    A subclass may have an attribute `node`, any name that `--node` takes: `scene.activations[node]` is then its tensor.
    Losses are small when good, so they have sums and weights but no products: the product of two good ones is bad.

    Attributes:
        compares: Whether it needs `scene.reference`, what the model makes of a photo.
        coupled: Whether it looks at other images of the group, which must then be one batch.
        distinct: Whether the images of the group need different random numbers.
    """

    compares: ClassVar[bool] = False
    coupled: ClassVar[bool] = False
    distinct: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What tables call it."""
        return type(self).__name__

    def __call__(self, scene: Scene) -> Tensor:
        """Return the loss of each image, (N,)."""
        raise NotImplementedError

    def __mul__(self, weight: float) -> Objective:
        return Objective(((self, 1.0),)) * weight

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor)

    def __add__(self, other: Summand) -> Objective:
        return Objective(((self, 1.0),)) + other

    def __sub__(self, other: Summand) -> Objective:
        return Objective(((self, 1.0),)) - other

    def __radd__(self, other: Any) -> Objective:
        return _added(other, Objective(((self, 1.0),)))

    def __rsub__(self, other: Any) -> Objective:
        return _added(other, -self)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
        terms: Losses with their weights.
    """

    terms: tuple[Term, ...]

    def __mul__(self, factor: float) -> Objective:
        number = _weight(factor)
        return Objective(tuple((loss, weight * number) for loss, weight in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor)

    def __neg__(self) -> Objective:
        return self * -1.0

    def __add__(self, other: Summand) -> Objective:
        return Objective(self.terms + as_objective(other).terms)

    def __sub__(self, other: Summand) -> Objective:
        return self + -as_objective(other)

    def __radd__(self, other: Any) -> Objective:
        return _added(other, self)

    def __rsub__(self, other: Any) -> Objective:
        return _added(other, -self)

    def __call__(self, scene: Scene) -> list[Tensor]:
        """Return the weighted loss of each term, (N,) each.

        Raises:
            SettingError: A loss returns something else than one number for each image.
        """
        # A user's function may return anything.
        values: list[Any] = [loss(scene) for loss, _ in self.terms]
        wanted = (scene.count,)
        for name, value in zip(self.names, values, strict=True):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            if found != wanted:
                message = f"The loss {name!r} must return one number for each image, shape {wanted}, not {found}."
                raise SettingError(message, loss=name, shape=found)
        return [weight * value for value, (_, weight) in zip(values, self.terms, strict=True)]

    def total(self, scene: Scene) -> Tensor:
        """Return the weighted sum of all terms for each image, (N,); see `__call__`."""
        return sum_of(self(scene))

    @property
    def compares(self) -> bool:
        """Whether a term needs `scene.reference`."""
        return any(getattr(loss, "compares", False) for loss, _ in self.terms)

    @property
    def coupled(self) -> bool:
        """Whether a term looks at other images of the group, which must then be one batch."""
        return any(getattr(loss, "coupled", False) for loss, _ in self.terms)

    @property
    def distinct(self) -> bool:
        """Whether a term wants different random numbers for each image of the group."""
        return any(getattr(loss, "distinct", False) for loss, _ in self.terms)

    @property
    def names(self) -> list[str]:
        """The names of the terms; those of one name are numbered."""
        plain = [str(getattr(loss, "name", None) or getattr(loss, "__name__", "loss")) for loss, _ in self.terms]
        return [
            name if plain.count(name) == 1 else f"{name} {plain[: index + 1].count(name)}"
            for index, name in enumerate(plain)
        ]


def as_objective(losses: Any) -> Objective:
    """Read what a user may give: an `Objective`, a loss, or a list of losses or (loss, weight) pairs.

    Raises:
        TypeError: Something else.
    """
    if isinstance(losses, Objective):
        return losses
    if isinstance(losses, Loss) or (callable(losses) and not isinstance(losses, type)):
        return Objective(((losses, 1.0),))
    if isinstance(losses, Iterable) and not isinstance(losses, str):
        terms = tuple(term for item in losses for term in _terms(item))
        if not terms:
            message = "losses is empty: there is nothing to optimize. Leave it out for the activation."
            raise SettingError(message)
        return Objective(terms)
    message = f"losses must be a loss, a sum of losses, or a list of (loss, weight), not {losses!r}"
    raise TypeError(message)


def _terms(item: Any) -> tuple[Term, ...]:
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], (int, float)):  # noqa: PLR2004 - (loss, weight)
        return (as_objective(item[0]) * item[1]).terms
    return as_objective(item).terms


def _weight(factor: Any) -> float:
    if isinstance(factor, (Loss, Objective)):
        message = (
            "losses have no product: they are small when good, and the product of two good ones is bad. Add them with "
            "weights, or pass a function of the scene"
        )
        raise TypeError(message)
    return float(factor)


def _added(first: Any, objective: Objective) -> Objective:
    """Add what stands on the left; sum() begins at 0."""
    is_zero = isinstance(first, (int, float)) and first == 0
    return objective if is_zero else as_objective(first) + objective
