"""One network for several images at once, each independent of its neighbors.

A model is lowered at the size of the batch where that gives for each image what the model gives for it alone; this is
tried, not assumed. Where a constant shape or the order of the axes forbids it, the network for one image is mapped over
the images by `torch.func.vmap`; where an operator forbids that too, the images go through it one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from onnxvis.backprop import oriented
from onnxvis.errors import OnnxvisError
from onnxvis.image_input import ImageInput
from onnxvis.network import Network, full_precision

Mode = Literal["whole", "vmap", "loop"]
Images = Mapping[str, Tensor]

_CHECKED = 3
_TOLERANCE = 1e-3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A network for a number of images.

    Attributes:
        network: The lowered model: for one image, or in mode "whole" for all.
        inputs: What is optimized, in any order; other inputs are constants of the network.
        outputs: Which of the network's outputs each name means that losses use.
        count: The number of images.
        mode: How the images go through the network.
        unbatched: Names of the outputs whose first axis is no batch.
        ascending: Whether replaced backward passes see the gradient of the activation instead of the loss's.
    """

    network: Network = field(repr=False)
    inputs: Mapping[str, ImageInput]
    outputs: Mapping[str, int]
    count: int
    mode: Mode = "whole"
    unbatched: frozenset[str] = frozenset()
    ascending: bool = False

    @property
    def stacked(self) -> frozenset[str]:
        """Names of the activations that have an axis for the images before those of the file."""
        return frozenset() if self.mode == "whole" else self.unbatched

    def __call__(self, images: Images) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Look at (N, C, *spatial) images in [0, 1] by input name.

        Returns:
            tuple: What the model was fed by input name, and the activations by the names that losses use; the images
            along the first axis of each, if there are several.
        """
        names: Sequence[str] = self.network.input_names
        fed = _FEEDS[self.mode](self, [images[name] for name in names])
        run = _RUNS[self.mode]

        def looked(*inputs: Tensor) -> tuple[Tensor, ...]:
            return run(self, inputs)

        results = oriented(looked, fed) if self.ascending else looked(*fed)
        by_name = {name: self._batched(name, results[index]) for name, index in self.outputs.items()}
        return dict(zip(names, fed, strict=True)), by_name

    def _batched(self, name: str, result: Tensor) -> Tensor:
        """Drop the file's own batch of one, after the axis of the images."""
        if self.mode == "whole" or name in self.unbatched:
            return result
        return result.squeeze(1)


def engine_for(single: Engine, count: int, widened: Callable[[int], Network] | None) -> Engine:
    """Return an engine for a number of images, in the fastest mode that gives what one image alone gives.

    Args:
        single: The engine for one image.
        count: The number of images.
        widened: Lowers the model at a batch; None: that is not tried.
    """
    if count == 1:
        return single
    for mode in ("whole", "vmap"):
        candidate = _candidate(single, count, mode, widened)
        if candidate is not None and _agrees(candidate, single):
            return candidate
    return _with(single, single.network, count, "loop")


def _candidate(single: Engine, count: int, mode: Mode, widened: Callable[[int], Network] | None) -> Engine | None:
    if mode == "vmap":
        return _with(single, single.network, count, mode)
    if widened is None or single.unbatched:
        return None
    try:
        return _with(single, widened(count), count, mode)
    except OnnxvisError as error:
        _log.debug("no lowering at a batch of %d: %s", count, error)
        return None


def _with(single: Engine, network: Network, count: int, mode: Mode) -> Engine:
    return Engine(network, single.inputs, single.outputs, count, mode, single.unbatched, single.ascending)


def _agrees(candidate: Engine, single: Engine) -> bool:
    """Compare a batch with some of its images alone: activations, and gradients through them."""
    generator = torch.Generator().manual_seed(0)
    device = next((buffer.device for buffer in single.network.buffers()), torch.device("cpu"))
    images = {
        name: torch.rand((candidate.count, *item.image_shape), generator=generator).to(device)
        for name, item in single.inputs.items()
    }
    checked = sorted({*range(_CHECKED - 1), candidate.count - 1})[:_CHECKED]
    try:
        with full_precision():
            together = _probed(candidate, images)
            for index in checked:
                alone = _probed(single, {name: batch[index : index + 1] for name, batch in images.items()})
                if not all(_close(many[index], one[0]) for many, one in zip(together, alone, strict=True)):
                    return False
                if candidate.mode == "whole" and not any(bool(row.any()) for row in alone):
                    # Silence agrees with everything; the other modes are right by construction.
                    return False
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        # Whatever an operator has against a batch: there is another way.
        _log.debug("mode %s fails: %s", candidate.mode, error)
        return False
    return True


def _probed(engine: Engine, images: Images) -> list[Tensor]:
    """Return the activations and the gradient of their sum, each image's in one row."""
    variables = {name: image.clone().requires_grad_() for name, image in images.items()}
    _, activations = engine(variables)
    rows = [activation.reshape(engine.count, -1) for activation in activations.values()]
    summed = torch.stack([row.sum() for row in rows if row.requires_grad]).sum()
    gradients = torch.autograd.grad(summed, list(variables.values()), allow_unused=True, materialize_grads=True)
    return [row.detach() for row in rows] + [gradient.flatten(1) for gradient in gradients]


def _close(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    error, scale = (first - second).norm(), second.norm()
    return bool(error <= _TOLERANCE * scale)


def _feed(engine: Engine, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Turn images into one input for all."""
    items = [engine.inputs[name] for name in engine.network.input_names]
    one = engine.count == 1
    return tuple(item.feed_one(image) if one else item.feed(image) for item, image in zip(items, images, strict=True))


def _feed_each(engine: Engine, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Turn each image into an input of its own; (N, *shape of the input)."""
    items = [engine.inputs[name] for name in engine.network.input_names]
    return tuple(
        torch.stack([item.feed_one(image[None]) for image in batch]) for item, batch in zip(items, images, strict=True)
    )


def _whole(engine: Engine, fed: Sequence[Tensor]) -> tuple[Tensor, ...]:
    results = _as_tuple(engine.network(*fed))
    for result in results:
        if engine.count > 1 and (result.ndim == 0 or len(result) != engine.count):
            message = f"a result of shape {tuple(result.shape)} is no batch of {engine.count}"
            raise ValueError(message)
    return results


def _vmap(engine: Engine, fed: Sequence[Tensor]) -> tuple[Tensor, ...]:
    def one(*inputs: Tensor) -> tuple[Tensor, ...]:
        return _as_tuple(engine.network(*inputs))

    results: tuple[Tensor, ...] = torch.func.vmap(one)(*fed)
    return results


def _loop(engine: Engine, fed: Sequence[Tensor]) -> tuple[Tensor, ...]:
    found = [_as_tuple(engine.network(*inputs)) for inputs in zip(*fed, strict=True)]
    return tuple(torch.stack(parts) for parts in zip(*found, strict=True))


_Step = Callable[[Engine, Sequence[Tensor]], tuple[Tensor, ...]]
_FEEDS: Mapping[Mode, _Step] = {"whole": _feed, "vmap": _feed_each, "loop": _feed_each}
_RUNS: Mapping[Mode, _Step] = {"whole": _whole, "vmap": _vmap, "loop": _loop}


def _as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result
