import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxvis.backprop import BACKPROPS, oriented, replace_backward
from onnxvis.errors import NothingReplacedError, SettingError
from onnxvis.lower import lower
from onnxvis.model import load
from onnxvis.network import Network
from tests.models import conv_net

Array = np.ndarray
ERF = np.vectorize(math.erf)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softplus(x: Array) -> Array:
    return np.asarray(np.log1p(np.exp(x)))


PIECEWISE: dict[str, Callable[[Array], Array]] = {
    "Relu (x)": lambda x: np.maximum(x, 0),
    "Max (x, zero)": lambda x: np.maximum(x, 0),
    "Clip (x, zero, two)": lambda x: np.clip(x, 0, 2),
    "LeakyRelu <alpha = 0.3> (x)": lambda x: np.where(x > 0, x, 0.3 * x),
    "PRelu (x, slopes)": lambda x: np.where(x > 0, x, np.array([[0.1], [0.5], [-0.5]]) * x),
    "Elu <alpha = 0.5> (x)": lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    "Selu (x)": lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(x)),
    "Celu <alpha = 2.0> (x)": lambda x: np.where(x > 0, x, 2 * np.expm1(x / 2)),
    "ThresholdedRelu <alpha = 0.5> (x)": lambda x: np.where(x > 0.5, x, 0),
}
SMOOTH: dict[str, Callable[[Array], Array]] = {
    "Gelu (x)": lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2,
    "Swish (x)": lambda x: x * sigmoid(x),
    "HardSwish (x)": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Mish (x)": lambda x: x * np.tanh(softplus(x)),
    "Softplus (x)": softplus,
    "Sigmoid (x) y = Mul (x, h)": lambda x: x * sigmoid(x),
}


def single(operator: str) -> Network:
    """Lower y = f(x) of shape (2, 3, 5)."""
    constants = "<float zero = {0}, float two = {2}, float[3, 1] slopes = {0.1, 0.5, -0.5}>"
    result = "h" if "y =" in operator else "y"
    text = f'<ir_version: 11, opset_import: ["": 24]> net (float[2, 3, 5] x) => (float[2, 3, 5] y) {constants}'
    return lower(load(onnx.parser.parse_model(f"{text} {{ {result} = {operator} }}")))


def points() -> tuple[Tensor, Tensor]:
    """Draw x on both sides of every kink and on none of them, and a gradient of either sign."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-4, 4, (2, 3, 5)).round(1) + 0.03
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(generator.standard_normal((2, 3, 5), np.float32))


def gradient_of(network: Callable[[Tensor], Tensor], x: Tensor, arriving: Tensor) -> Tensor:
    variable = x.clone().requires_grad_()
    return torch.autograd.grad(network(variable), variable, arriving)[0]


def slope(function: Callable[[Array], Array], x: Array) -> Array:
    x, step = x.astype(np.float64), 1e-5
    return np.asarray((function(x + step) - function(x - step)) / (2 * step))


@pytest.mark.parametrize("operator", [*PIECEWISE, *SMOOTH])
def test_guided_is_the_derivative_times_the_positive_gradient_where_the_rectifier_is_on(operator: str) -> None:
    x, arriving = points()
    function = (PIECEWISE | SMOOTH)[operator]
    wanted = slope(function, x.numpy()) * np.maximum(arriving.numpy(), 0)
    if operator in PIECEWISE:
        wanted[function(x.numpy()) <= 0] = 0
    found = gradient_of(replace_backward(single(operator), "guided"), x, arriving)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, gradient_of(single(operator), x, arriving))


@pytest.mark.parametrize("name", ["deconvnet", "rectified", "relu", "deconv"])
@pytest.mark.parametrize("operator", [*PIECEWISE, *SMOOTH])
def test_deconvnet_is_the_positive_gradient_whatever_the_rectifier_does(operator: str, name: str) -> None:
    x, arriving = points()
    found = gradient_of(replace_backward(single(operator), name), x, arriving)
    np.testing.assert_array_equal(found, np.maximum(arriving.numpy(), 0))


@pytest.mark.parametrize("name", ["guided", "deconvnet"])
@pytest.mark.parametrize("operator", [*PIECEWISE, *SMOOTH])
def test_gates_do_not_change_a_bit_of_what_is_computed(operator: str, name: str) -> None:
    x, _ = points()
    assert torch.equal(replace_backward(single(operator), name)(x), single(operator)(x))


def test_gradients_that_are_not_numbers_stay_so_where_the_rectifier_is_on() -> None:
    x, arriving = points()
    found = gradient_of(replace_backward(single("Relu (x)"), "guided"), x, torch.full_like(arriving, math.nan))
    assert torch.equal(found.isnan(), x > 0)


BRANCHES = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y)
<float zero = {0}, float six = {6}>
{
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    relu = Relu (a)
    leaky = LeakyRelu (a)
    half = Sigmoid (relu)
    silu = Mul (relu, half)
    sum = Add (silu, leaky)
    y = Clip (sum, zero, six)
}
"""


def branches() -> Network:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(BRANCHES)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w1"))
    return lower(load(proto), shapes={"x": (3, 3, 6, 6)})


def test_replaced_rectifiers_are_counted_by_type() -> None:
    # Silu of Relu is one rectifier, as Min of Max is.
    replaced = replace_backward(branches(), "guided")
    assert sum(replaced.replaced.values()) == 3
    assert {"LeakyRelu", "Clip"} < set(replaced.replaced)


def test_a_rectifier_inside_another_is_gated_once() -> None:
    network, x = branches(), torch.randn(3, 3, 6, 6)
    gates = [node for node in replace_backward(network, "guided").graph.nodes if node.meta.get("is_wrapped")]
    assert len(gates) == 3
    replaced = replace_backward(network, "guided")
    found = gradient_of(replaced, x, torch.ones(3, 4, 6, 6))
    assert bool(torch.isfinite(found).all())
    assert bool(found.abs().sum() > 0)


def test_only_the_types_that_are_asked_for_are_replaced() -> None:
    assert replace_backward(branches(), "guided", operators={"Clip", "Relu"}).replaced == {"Clip": 1}


def test_the_network_itself_is_not_changed_and_shares_its_weights() -> None:
    network, x = branches(), torch.randn(3, 3, 6, 6)
    code, wanted = network.code, gradient_of(network, x, torch.ones(3, 4, 6, 6))
    replaced = replace_backward(network, "deconvnet")
    assert network.code == code
    assert network.replaced == {}
    assert torch.equal(gradient_of(network, x, torch.ones(3, 4, 6, 6)), wanted)
    shared = [buffer.data_ptr() for buffer in replaced.buffers()]
    assert shared == [buffer.data_ptr() for buffer in network.buffers()]
    assert (replaced.input_names, replaced.output_names) == (network.input_names, network.output_names)


def test_operators_that_lowering_has_replaced_are_counted_too() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[4] y) { a = Tanh (x) y = Relu (a) }'
    )
    network = lower(load(proto), replacements={"Tanh": torch.tanh})
    assert replace_backward(network, "guided").replaced == {"Tanh": 1, "Relu": 1}


def test_a_network_without_rectifiers_says_what_it_has() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[4] y) { a = Tanh (x) y = Sigmoid (a) }'
    )
    with pytest.raises(
        NothingReplacedError, match=r"on the way to y\. .*Gelu.*Relu.*found 1 Tanh, 1 Sigmoid"
    ) as caught:
        replace_backward(lower(load(proto)), "guided")
    assert caught.value.details["found"] == {"Tanh": 1, "Sigmoid": 1}
    with pytest.raises(NothingReplacedError, match="Looked for Relu; found"):
        replace_backward(single("Elu (x)"), "guided", operators=["Relu"])


def test_unknown_names_are_answered_by_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"'lrp'.*guided, deconvnet, rectified, relu, deconv"):
        replace_backward(branches(), "lrp")
    with pytest.raises(SettingError, match=r"No rectifier 'Sigmoid'.*LeakyRelu"):
        replace_backward(branches(), "guided", operators={"Relu", "Sigmoid"})


@pytest.mark.parametrize("name", BACKPROPS)
def test_copies_and_pickles_keep_their_gates(name: str) -> None:
    replaced, x = replace_backward(branches(), name), torch.randn(3, 3, 6, 6)
    arriving = torch.randn(3, 4, 6, 6)
    wanted = gradient_of(replaced, x, arriving)
    assert not torch.allclose(wanted, gradient_of(branches(), x, arriving))
    for again in (copy.deepcopy(replaced), pickle.loads(pickle.dumps(replaced))):  # noqa: S301 - our own bytes
        assert torch.equal(gradient_of(again, x, arriving), wanted)
    assert copy.deepcopy(replaced).replaced == replaced.replaced


def classifier(batch: int) -> Network:
    return lower(load(conv_net()), outputs=["relu2", "logits"], shapes={"image": (batch, 3, 16, 16)})


def ascent(network: Callable[..., tuple[Tensor, ...]], images: Tensor, weights: Tensor) -> Tensor:
    """Minus the gradient of a loss: each image's weight times minus its mean of filter 1 of relu2 and its logit 2."""
    variable = images.clone().requires_grad_()
    relu2, logits = network(variable)
    loss = -(weights * (relu2[:, 1].mean((1, 2)) + logits[:, 2])).sum()
    return -torch.autograd.grad(loss, variable)[0]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["guided", "deconvnet"])
def test_mapped_over_the_batch_every_image_gets_what_it_gets_alone(name: str, inside: bool) -> None:
    network, images = replace_backward(classifier(1), name), torch.rand(3, 3, 16, 16)
    weights = torch.tensor([1.0, -1.0, 2.0])

    def mapped(batch: Tensor) -> tuple[Tensor, ...]:
        one = (lambda image: oriented(network, (image,))) if inside else network
        return tuple(result.squeeze(1) for result in torch.func.vmap(one)(batch.unsqueeze(1)))

    found = ascent(mapped if inside else lambda batch: oriented(mapped, (batch,)), images, weights)
    alone = [
        ascent(lambda image: oriented(network, (image,)), images[index : index + 1], weights[index])
        for index in range(3)
    ]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-4, atol=1e-8)
    batch = replace_backward(classifier(3), name)
    torch.testing.assert_close(
        ascent(lambda image: oriented(batch, (image,)), images, weights), torch.cat(alone), rtol=1e-4, atol=1e-8
    )


def test_function_transforms_see_the_same_gradient() -> None:
    network, image = replace_backward(classifier(1), "guided"), torch.rand(1, 3, 16, 16)
    wanted = ascent(lambda x: oriented(network, (x,)), image, torch.ones(1))

    def loss(x: Tensor) -> Tensor:
        relu2, logits = oriented(network, (x,))
        return -(relu2[:, 1].mean() + logits[0, 2])

    torch.testing.assert_close(-torch.func.grad(loss)(image), wanted)


def test_orientation_changes_nothing_without_gates() -> None:
    network, images = classifier(3), torch.rand(3, 3, 16, 16)
    weights = torch.tensor([1.0, -1.0, 2.0])
    found, wanted = oriented(network, (images,)), network(images)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))
    assert torch.equal(ascent(lambda x: oriented(network, (x,)), images, weights), ascent(network, images, weights))


def test_gates_see_the_gradient_of_the_activation_whichever_way_it_is_driven() -> None:
    network, images = replace_backward(classifier(3), "guided"), torch.rand(3, 3, 16, 16)

    def turned(x: Tensor) -> tuple[Tensor, ...]:
        return oriented(network, (x,))

    up = ascent(turned, images, torch.ones(3))
    # Lowered, the images go the opposite way, and what is lowered in one changes nothing in the others.
    assert torch.equal(
        ascent(turned, images, torch.tensor([1.0, -1.0, 1.0])), up * torch.tensor([1, -1, 1])[:, None, None, None]
    )
    # The vector that guided backpropagation is defined by: of the activation itself.
    torch.testing.assert_close(up, -ascent(network, images, -torch.ones(3)))
    # keras-vis gates the gradient of the loss.
    assert not torch.allclose(up, ascent(network, images, torch.ones(3)))


def record(seen: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function of a tensor to twice itself that notes which gradients arrive at it."""

    def noted(x: Tensor) -> Tensor:
        result = 2 * x
        result.register_hook(lambda gradient: seen.append(gradient.clone()))  # type: ignore[no-untyped-call] # torch's
        return result

    return noted


@pytest.mark.parametrize(
    ("cotangents", "signs"),
    [
        ([[-1.0, -1.0], [2.0, 1.0], [-3.0, 1.0]], [-1, 1, -1]),
        ([[0.0, 0.0], [0.1, -0.1], [1.0, -2.0]], [1, 1, -1]),
    ],
)
def test_the_sign_is_that_of_the_sum_of_an_images_cotangents(cotangents: list[list[float]], signs: list[int]) -> None:
    seen: list[Tensor] = []
    x, arriving = torch.randn(3, 2, requires_grad=True), torch.tensor(cotangents)
    (result,) = oriented(record(seen), (x,))
    (found,) = torch.autograd.grad(result, x, arriving)
    assert torch.equal(seen[0], arriving * torch.tensor(signs)[:, None])
    assert torch.equal(found, 2 * arriving)


def test_all_outputs_decide_together_and_integers_pass() -> None:
    seen: list[Tensor] = []
    noted, x = record(seen), torch.randn(2, 3, requires_grad=True)

    def function(image: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        return noted(image), image.sum(1), index

    first, second, index = oriented(function, (x, torch.arange(2)))
    assert index.tolist() == [0, 1]
    # Image 0: 3 - 5 < 0; image 1: 3 + 1 > 0.
    loss = first.sum() + (second * torch.tensor([-5.0, 1.0])).sum()
    (found,) = torch.autograd.grad(loss, x)
    assert seen[0].tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert found.tolist() == [[-3, -3, -3], [3, 3, 3]]


def test_where_an_output_has_another_first_axis_all_images_have_one_sign() -> None:
    seen: list[Tensor] = []
    noted, x = record(seen), torch.randn(2, 3, requires_grad=True)

    def function(image: Tensor) -> tuple[Tensor, ...]:
        return noted(image), image.mean()

    first, _ = oriented(function, (x,))
    (found,) = torch.autograd.grad(first, x, torch.tensor([[1.0, 1.0, 1.0], [-2.0, -2.0, -2.0]]))
    assert seen[0].tolist() == [[-1, -1, -1], [2, 2, 2]]
    assert found.tolist() == [[2, 2, 2], [-4, -4, -4]]


def test_inputs_that_are_not_optimized_get_no_gradient_and_have_no_say() -> None:
    seen: list[Tensor] = []
    noted, x, state = record(seen), torch.randn(2, 3, requires_grad=True), torch.randn(5, 2, 3)
    first, held = oriented(lambda image, held: (noted(image), image + held[0]), (x, state))
    assert held.requires_grad
    torch.autograd.grad(first, x, torch.tensor([[1.0, 1.0, 1.0], [-2.0, -2.0, -2.0]]))
    assert seen[0].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert not state.requires_grad


SHARED = [
    ("squeezenet1_1_fp32_upcast", {"Relu": 26}),
    ("mobilenet_v1_1.0_224_trunk", {"Clip": 26}),
    ("face_mesh_landmark_nhwc", {"PRelu": 23}),
    ("seg_deeplabv3_mnv2_dm05", {"Clip": 34, "Relu": 3}),
    ("track_vittrack", {"Gelu": 3, "HardSwish": 6, "Relu": 12}),
    ("ocr_ppocr_mobile_v1_1_det", {"HardSwish": 20, "Relu": 14}),
]


@pytest.mark.parametrize(("name", "counts"), SHARED, ids=[name for name, _ in SHARED])
def test_real_models_compute_the_same_bits_with_gates(shared_models: Path, name: str, counts: dict[str, int]) -> None:
    model = load(shared_models / f"{name}.onnx")
    sizes = {
        spec.name: tuple(
            size if isinstance(size, int) and size > 0 else 64 if axis else 1
            for axis, size in enumerate(spec.shape or ())
        )
        for spec in model.inputs
    }
    network = lower(model, shapes=sizes)
    images = [torch.rand(sizes[name], generator=torch.Generator().manual_seed(0)) for name in network.input_names]
    for backprop in ("guided", "deconvnet"):
        replaced = replace_backward(network, backprop)
        assert replaced.replaced == counts
        found, wanted = oriented(replaced, tuple(images)), network(*images)
        for mine, theirs in zip(found, (wanted,) if isinstance(wanted, Tensor) else wanted, strict=True):
            assert torch.equal(mine, theirs)


def at(path: Path, node: str) -> tuple[Network, Tensor]:
    """Lower a model up to a fused rectifier, and draw an image to start from."""
    model = load(path)
    size, scale = (64, 0.1) if path.stem == "textures" else (224, 5.0)
    network = lower(model, outputs=[node], shapes={model.inputs[0].name: (1, 3, size, size)})
    return network, scale * torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def driven(network: Network, plain: Network, start: Tensor, channel: int, *, rate: float, steps: int) -> float:
    """Raise a filter's mean by Adam, or lower it at a negative rate; return what the plain network says of the end."""
    image = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=abs(rate))
    for _ in range(steps):
        optimizer.zero_grad()
        (-math.copysign(1, rate) * oriented(network, (image,))[0][:, channel].mean()).backward()  # type: ignore[no-untyped-call] # torch's
        optimizer.step()
    return float(plain(image.detach())[:, channel].mean())


@pytest.mark.parametrize("channel", [0, 1, 5])
def test_guided_raises_and_lowers_a_fused_rectifier_of_the_sample(root: Path, channel: int) -> None:
    plain, start = at(root / "samples" / "textures.onnx", "relu3")
    guided, before = replace_backward(plain, "guided"), float(plain(start)[:, channel].mean())
    assert driven(guided, plain, start, channel, rate=0.05, steps=30) > 3 * before
    assert driven(guided, plain, start, channel, rate=-0.05, steps=30) < 0.9 * before


@pytest.mark.parametrize("channel", [1, 3])
def test_guided_raises_a_fused_rectifier_of_squeezenet(shared_models: Path, channel: int) -> None:
    plain, start = at(shared_models / "squeezenet1_1_fp32_upcast.onnx", "fire5/concat_1")
    guided, before = replace_backward(plain, "guided"), float(plain(start)[:, channel].mean())
    assert driven(guided, plain, start, channel, rate=2.0, steps=5) > 5 * before
    image = start.requires_grad_()
    assert float(torch.autograd.grad(-guided(image)[:, channel].mean(), image)[0].abs().max()) == 0


def test_at_the_first_rectifier_guided_is_the_gradient_itself(root: Path) -> None:
    plain, image = at(root / "samples" / "textures.onnx", "relu1")
    guided, image = replace_backward(plain, "guided"), image.requires_grad_()
    (wanted,) = torch.autograd.grad(-plain(image)[:, 3].mean(), image)
    (found,) = torch.autograd.grad(-oriented(guided, (image,))[0][:, 3].mean(), image)
    assert torch.equal(found, wanted)
    assert float(wanted.abs().max()) > 0


@pytest.mark.parametrize("node", ["relu1", "relu3", "relu5"])
def test_without_orientation_nothing_arrives_from_a_fused_rectifier(root: Path, node: str) -> None:
    plain, image = at(root / "samples" / "textures.onnx", node)
    guided, image = replace_backward(plain, "guided"), image.requires_grad_()
    assert float(torch.autograd.grad(-guided(image).mean(), image)[0].abs().max()) == 0
    (turned,) = torch.autograd.grad(-oriented(guided, (image,))[0].mean(), image)
    assert float(turned.abs().max()) > 0


def test_deconvnet_wakes_a_filter_that_the_gradient_does_not_reach(root: Path) -> None:
    plain, start = at(root / "samples" / "textures.onnx", "relu5")
    assert driven(plain, plain, start, 9, rate=0.05, steps=30) == 0
    assert driven(replace_backward(plain, "deconvnet"), plain, start, 9, rate=0.05, steps=30) > 0.05
