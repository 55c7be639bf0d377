"""Replaced backward passes of rectifiers: what is computed stays as it is, what its gradient is does not.

A gate after a rectifier returns its result and decides what becomes of the gradient g that arrives there. With [.] for
1 where a condition holds and 0 elsewhere, a rectifier y = f(x) hands on to x

    guided      max(g, 0) [y > 0] f'(x); without [y > 0] where f is smooth, and has no side where it is off
    deconvnet   max(g, 0)
    relaxed     g: a way into units that are silent, whose gradient is zero

Sources: Springenberg et al. 2015, https://arxiv.org/abs/1412.6806; Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901.
Any other replacement, for any operator, is a function given to `onnxvis.lower.lower`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onnxvis.errors import NothingReplacedError, SettingError
from onnxvis.network import Network
from onnxvis.rectifiers import RECTIFIERS, Rectifier, find_rectifiers

Gate = Callable[[Tensor, Tensor], Tensor]
"""From the x and y of a rectifier to a tensor that equals y and has another gradient."""


def guided(_: Tensor, y: Tensor) -> Tensor:
    """Return y; its gradient is max(g, 0) [y > 0]."""
    return _gated(_GuidedGate, y)


def guided_smooth(_: Tensor, y: Tensor) -> Tensor:
    """Return y; its gradient is max(g, 0)."""
    return _gated(_RectifiedGate, y, y.detach())


def deconvnet(x: Tensor, y: Tensor) -> Tensor:
    """Return y; the gradient of x is max(g, 0), as if y were x."""
    return _gated(_RectifiedGate, x, y.detach())


def relaxed(x: Tensor, y: Tensor) -> Tensor:
    """Return y; the gradient of x is g, as if y were x."""
    return _gated(_OpenGate, x, y.detach())


@dataclass(frozen=True)
class Backprop:
    """A replaced backward pass of rectifiers.

    Attributes:
        piecewise: The gate after a rectifier that is a line above a threshold.
        smooth: The gate after one that bends everywhere.
    """

    piecewise: Gate
    smooth: Gate


_GUIDED, _DECONVNET = Backprop(guided, guided_smooth), Backprop(deconvnet, deconvnet)
BACKPROPS: Mapping[str, Backprop] = {
    "guided": _GUIDED,
    "deconvnet": _DECONVNET,
    "rectified": _DECONVNET,
    "relu": _DECONVNET,
    "deconv": _DECONVNET,
    "relaxed": Backprop(relaxed, relaxed),
}
"""By name; what follows "deconvnet" are names of keras-vis for the same."""


def replace_backward(network: Network, name: str, *, operators: Collection[str] | None = None) -> Network:
    """Return a copy in which the gradient through each rectifier is another; the weights are shared.

    The copy computes the same bits. Its attribute `replaced` counts the rectifiers by type: the operator's, or what
    several operators compute together (`onnxvis.rectifiers.RECTIFIERS`).

    Gates look at the sign of the gradient that arrives. Of a loss that is made small that is the wrong one: call the
    network by `oriented`.

    Args:
        network: A lowered network; it is not changed.
        name: A key of `BACKPROPS`.
        operators: Types of rectifiers; the others are kept. None: all types.

    Raises:
        SettingError: No such backward pass, or no such type of rectifier.
        NothingReplacedError: The network has no rectifier of these types.
    """
    backprop = _backprop_of(name)
    looked_for = RECTIFIERS if operators is None else tuple(sorted(operators))
    unknown = sorted(set(looked_for) - set(RECTIFIERS))
    if unknown:
        message = f"No rectifier {unknown[0]!r}. There are {', '.join(RECTIFIERS)}."
        raise SettingError(message, operators=unknown)
    replaced = Network(network, copy.deepcopy(network.graph)).named_like(network)
    rectifiers = [rectifier for rectifier in find_rectifiers(replaced) if rectifier.name in looked_for]
    if not rectifiers:
        raise _nothing(network, name, looked_for)
    for rectifier in rectifiers:
        _insert(replaced, rectifier, backprop.smooth if rectifier.smooth else backprop.piecewise)
    replaced.replaced = dict(Counter(network.replaced) + Counter(rectifier.name for rectifier in rectifiers))
    replaced.recompile()
    replaced.eval()
    return replaced


def oriented(function: Callable[..., Tensor | tuple[Tensor, ...]], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return function(*inputs), inside which gates see the gradient of the activation instead of the loss's.

    Gates let the positive part of a gradient pass, which is meant to be the part that raises an activation. A loss is
    made small, so an activation is raised by the loss -activation, and of its gradient they would let pass what lowers
    the activation; at a target that is a rectifier itself, where that gradient is nowhere positive, nothing at all.

    So the gradient is turned before it enters the function, and what leaves it is turned back. For each image,

        s = -1 where the cotangents of all float outputs, the derivatives of the loss by them, sum to less than 0;
        s = 1 elsewhere;

    the cotangents are multiplied by s at the outputs, and the gradients by the same s at the inputs. Where the loss
    falls as the activation rises, s is -1; where it rises with it, to lower the activation, s is 1. Inside, both are
    the gradient of the activation. A function without gates is linear in its cotangents, and s s = 1: nothing changes.

    Args:
        function: Called with tensors equal to the inputs; it returns a tensor or a tuple of them. The first axis of the
            inputs and of the float outputs is the batch. Where these axes are not all of one length, that is taken for
            another axis, and all images have one sign. Inputs that need no gradient do not count.
        inputs: Its arguments.

    Returns:
        tuple: The results, the same bits.
    """
    arguments, tokens = list(inputs), []
    for index in _reached(inputs):
        arguments[index], token = _Entrance.apply(inputs[index])  # type: ignore[no-untyped-call] # torch's own
        tokens.append(token)
    result = function(*arguments)
    results = [result] if isinstance(result, Tensor) else list(result)
    outputs = [index for index, tensor in enumerate(results) if tensor.is_floating_point()]
    if tokens and outputs:
        floats = [results[index] for index in outputs]
        turned_back = _Exit.apply(len(tokens), *tokens, *floats)  # type: ignore[no-untyped-call] # torch's own
        for index, tensor in zip(outputs, turned_back, strict=True):
            results[index] = tensor
    return tuple(results)


def _reached(inputs: tuple[Tensor, ...]) -> list[int]:
    floats = [index for index, tensor in enumerate(inputs) if tensor.is_floating_point()]
    # Inside torch.func.vmap no tensor says that it needs a gradient.
    return [index for index in floats if inputs[index].requires_grad] or floats


class _GuidedGate(torch.autograd.Function):
    """y -> y, with the gradient max(g, 0) [y > 0]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        # view_as would lay out axes of length 1 anew, and convolutions round otherwise in another layout.
        return y.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y > 0, torch.relu(gradient), 0.0)


class _RectifiedGate(torch.autograd.Function):
    """(source, y) -> y, with the gradient max(g, 0) for the source."""

    generate_vmap_rule = True

    @staticmethod
    def forward(source: Tensor, y: Tensor) -> Tensor:  # noqa: ARG004 - it receives the gradient
        return y.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004 - torch's signature
        return torch.relu(gradient), None


class _Entrance(torch.autograd.Function):
    """x -> x and a token of one number for each image; the token's gradient multiplies that of x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.detach(), x.new_zeros(x.shape[:1], dtype=torch.float32)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, signs: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return _per_image(signs, gradient)


class _Exit(torch.autograd.Function):
    """Tokens and outputs -> outputs; the gradients of the tokens are the signs that multiply those of the outputs.

    The signs travel as gradients from here to the entrances, as there is no other way that torch.func allows.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.detach() for tensor in tensors[tokens:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        tokens = inputs[0]
        ctx.token_shapes = [token.shape for token in inputs[1 : 1 + tokens]]
        ctx.is_batch = len({tensor.shape[:1] for tensor in (*inputs[1 : 1 + tokens], *output)}) == 1

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        axes = 1 if ctx.is_batch else 0
        # In double precision, in which cotangents that are as far above zero as below cancel.
        totals = [part.reshape(*part.shape[:axes], -1).sum(-1, dtype=torch.float64) for part in cotangents]
        signs = torch.where(torch.stack(totals).sum(0) < 0, -1.0, 1.0)
        tokens = [signs.expand(shape) for shape in ctx.token_shapes]
        return None, *tokens, *(_per_image(signs, part) for part in cotangents)


def _per_image(signs: Tensor, gradient: Tensor) -> Tensor:
    """Multiply by one sign for each image, or by one for all."""
    return gradient * signs.reshape([*signs.shape, *[1] * (gradient.ndim - signs.ndim)]).to(gradient.dtype)


class _OpenGate(torch.autograd.Function):
    """(source, y) -> y, with the gradient g for the source."""

    generate_vmap_rule = True

    @staticmethod
    def forward(source: Tensor, y: Tensor) -> Tensor:  # noqa: ARG004 - it receives the gradient
        return y.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004 - torch's signature
        return gradient, None


def _gated(gate: type[torch.autograd.Function], *tensors: Tensor) -> Tensor:
    result: Tensor = gate.apply(*tensors)  # type: ignore[no-untyped-call] # torch's own
    return result


def _backprop_of(name: str) -> Backprop:
    if name not in BACKPROPS:
        message = f"No backward pass {name!r}. There are {', '.join(BACKPROPS)}."
        raise SettingError(message, name=name, names=tuple(BACKPROPS))
    return BACKPROPS[name]


def _nothing(network: Network, name: str, looked_for: Collection[str]) -> NothingReplacedError:
    calls = [node for node in network.graph.nodes if node.op in ("call_function", "call_module")]
    found = dict(Counter(str(node.meta.get("onnx_op", "?")) for node in calls).most_common())
    message = (
        f"Backward pass {name!r}: no rectifier on the way to {', '.join(network.output_names)}. Looked for "
        f"{', '.join(looked_for)}; found {', '.join(f'{count} {kind}' for kind, count in found.items()) or 'nothing'}. "
        "Take a target after a rectifier, or the gradient as it is."
    )
    return NothingReplacedError(message, name=name, looked_for=tuple(looked_for), found=found)


def _insert(network: Network, rectifier: Rectifier, gate: Gate) -> None:
    x, y = rectifier.x, rectifier.y
    with network.graph.inserting_after(y):
        node = network.graph.create_node("call_function", gate, (x, y), name=f"{y.name}_{gate.__name__}")
    y.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    # Tracing again, as unpickling does, stops at what is marked so.
    node.meta = dict(y.meta) | {"is_wrapped": True}
