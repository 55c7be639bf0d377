import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxvis import load
from onnxvis.backprop import replace_backward
from onnxvis.engine import Engine, engine_for
from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.gradients import modifier_of
from onnxvis.image_input import ImageInput
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.losses import ActivationMaximization, LpNorm, Objective, Scene, TotalVariation
from onnxvis.lower import lower
from onnxvis.maximize import Callback, Method, Run, Step, maximize
from onnxvis.oracle import Oracle
from onnxvis.prepare import prepare
from onnxvis.preprocess import Preprocess
from onnxvis.problem import Problem, Variable
from onnxvis.recipe import Recipe
from onnxvis.transforms import Jitter, RandomAffine, Transform
from tests.models import conv_net, parsed

MAXIMIZE = Objective(((ActivationMaximization(channel_axis=1), 1.0),))
VIEWS = (Jitter(2), RandomAffine(scale=(0.8, 1.2), rotate=10, shift=0.1))


def problem(
    proto: onnx.ModelProto,
    tensor: str = "logits",
    *,
    objective: Objective = MAXIMIZE,
    parameterization: Parameterization | None = None,
    transforms: tuple[Transform, ...] = VIEWS,
    filters: Sequence[int] = (2,),
    modifier: str | None = None,
) -> Problem:
    """Optimize one image for each filter."""
    model = load(proto)
    single = Engine(
        network=lower(model, [tensor], (1, 3, 16, 16)),
        inputs={"image": ImageInput("image", (1, 3, 16, 16), Preprocess(), 3, (16, 16))},
        outputs={"": 0},
        count=1,
    )
    return Problem(
        engine=engine_for(single, len(filters), lambda count: lower(model, [tensor], (count, 3, 16, 16))),
        variables={"image": Variable((3, 16, 16), parameterization or Fourier(), transforms)},
        objective=objective,
        filters=tuple((index,) for index in filters),
        gradient_modifier=None if modifier is None else modifier_of(modifier),
        device=torch.device("cpu"),
    )


def solved(
    wanted: Problem,
    *,
    steps: int = 30,
    seed: int = 0,
    seed_image: Tensor | None = None,
    callbacks: Sequence[Callback] = (),
    **method: Any,
) -> Run:
    seeds = {} if seed_image is None else {"image": seed_image}
    return maximize(
        wanted, Method(steps=steps, **method), seeds=[seed] * wanted.count, seed_images=seeds, callbacks=callbacks
    )


def activation(wanted: Problem, images: Tensor) -> float:
    with torch.no_grad():
        return -float(wanted.objective(wanted.scene({"image": images}, None))[0].mean())


def image(run: Run) -> Tensor:
    return run.images["image"]


def start(run: Run) -> Tensor:
    return run.starts["image"]


@pytest.mark.parametrize("parameterization", [Fourier(), Pixel()])
def test_the_activation_rises(parameterization: Parameterization) -> None:
    wanted = problem(conv_net(), parameterization=parameterization)
    run = solved(wanted)
    assert activation(wanted, image(run)) > 1.3 * activation(wanted, start(run))
    assert run.history.shape == (30, 1, 1)
    assert run.losses == ("activation",)
    assert not run.interrupted


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    wanted = problem(conv_net())
    first, second, other = solved(wanted), solved(wanted), solved(wanted, seed=1)
    assert torch.equal(image(first), image(second))
    assert torch.equal(first.history, second.history)
    assert not torch.equal(image(first), image(other))


def test_the_image_stays_in_its_range_at_every_step() -> None:
    seen: list[Tensor] = []

    def watch(scene: Scene) -> Tensor:
        seen.append(scene.image.detach())
        return -1000 * scene.activations[""][:, 0]

    solved(problem(conv_net(), objective=Objective(((watch, 1.0),))), steps=20)
    images = torch.cat(seen)
    assert images.min() >= 0
    assert images.max() <= 1


def test_no_steps_return_the_start() -> None:
    wanted = problem(conv_net(), transforms=())
    run = solved(wanted, steps=0)
    assert torch.equal(image(run), start(run))
    assert len(run.history) == 0


def test_a_seed_image_is_the_start() -> None:
    photo = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3))
    run = solved(problem(conv_net()), steps=1, seed_image=photo)
    assert (start(run)[0] - photo).abs().max() < 1 / 255


def test_images_of_a_batch_do_not_depend_on_their_neighbors() -> None:
    many = problem(conv_net(), "conv2", filters=[index % 6 for index in range(16)])
    together = solved(many, steps=10)
    for index in (0, 4, 15):
        alone = solved(problem(conv_net(), "conv2", filters=[index % 6]), steps=10)
        torch.testing.assert_close(start(together)[index : index + 1], start(alone), rtol=0, atol=1e-6)
        torch.testing.assert_close(together.history[:, :, index : index + 1], alone.history, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(image(together)[index : index + 1], image(alone), rtol=0, atol=2e-3)
    assert not torch.equal(image(together)[0], image(together)[1])


def test_the_patience_of_an_image_does_not_depend_on_its_neighbors() -> None:
    options: dict[str, Any] = {"steps": 400, "patience": 16, "learning_rate": 0.1}
    together = solved(problem(conv_net(), filters=[0, 1, 2], transforms=()), **options)
    assert min(together.steps) < 400
    assert len(set(together.steps)) > 1
    for index in range(3):
        alone = solved(problem(conv_net(), filters=[index], transforms=()), **options)
        assert alone.steps == together.steps[index : index + 1]
        end = alone.steps[0]
        torch.testing.assert_close(together.history[end - 1, 0, index], alone.history[-1, 0, 0], rtol=2e-2, atol=1e-5)


def test_without_patience_all_steps_are_made() -> None:
    assert solved(problem(conv_net(), transforms=()), steps=40, learning_rate=0.3).steps == (40,)


def test_without_transforms_the_best_image_is_returned() -> None:
    seen: list[float] = []
    wanted = problem(conv_net(), transforms=(), parameterization=Pixel())
    # Steps so large that the loss jumps up and down.
    options: dict[str, Any] = {"steps": 25, "learning_rate": 30.0, "callbacks": [lambda step: seen.append(step.losses)]}
    best, last = solved(wanted, **options), solved(wanted, **options, keep="last")
    losses = best.history[:, 0, 0]
    assert activation(wanted, image(best)) >= -float(losses.min()) - 1e-5
    assert activation(wanted, image(best)) >= activation(wanted, image(last))


def test_a_value_is_reached_and_not_passed() -> None:
    for goal in (0.02, 0.03, -0.01):
        reach = Objective(((ActivationMaximization(channel_axis=1, goal=goal), 1.0),))
        wanted = problem(conv_net(), objective=reach)
        run = solved(wanted, steps=80, settle=True)
        found = wanted.scene({"image": image(run)}, None).activations[""][0, 2]
        assert float(found) == pytest.approx(goal, abs=0.0005)


def test_minimizing_is_maximizing_the_opposite() -> None:
    lower_it = Objective(((ActivationMaximization(channel_axis=1, goal="minimize"), 1.0),))
    run = solved(problem(conv_net(), objective=lower_it), steps=20)
    opposite = MAXIMIZE * -1.0
    torch.testing.assert_close(image(run), image(solved(problem(conv_net(), objective=opposite), steps=20)))


def test_a_gradient_modifier_changes_the_way_and_not_the_losses() -> None:
    plain = solved(problem(conv_net(), transforms=(), parameterization=Pixel()), steps=20)
    only_brighter = solved(problem(conv_net(), transforms=(), parameterization=Pixel(), modifier="absolute"), steps=20)
    assert plain.history[0].tolist() == only_brighter.history[0].tolist()
    rise = image(only_brighter) - start(only_brighter)
    assert float(rise.min()) >= -1e-6
    assert float((image(plain) - start(plain)).min()) < -0.01


def test_each_image_finds_the_contrast_that_it_needs() -> None:
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1], kernel[:, :, 1, 2] = 1, -1
    bias = np.array([0.5, -2, 0.5, -1e6], np.float32)
    wanted = problem(conv_net(w1=kernel, b1=bias), "relu1", parameterization=Pixel(std=0.2), filters=[0, 1, 2, 3])
    run = solved(wanted, steps=4)
    assert run.contrasts[0] == run.contrasts[2] == 1
    assert run.contrasts[1] in (3, 10)
    assert run.contrasts[3] == 0
    alone = solved(
        problem(conv_net(w1=kernel, b1=bias), "relu1", parameterization=Pixel(std=0.2), filters=[1]), steps=4
    )
    assert torch.equal(start(run)[1], start(alone)[0])


def test_regularizers_take_part() -> None:
    plain = solved(problem(conv_net(), transforms=()), steps=20)
    smooth = solved(problem(conv_net(), objective=MAXIMIZE + 100 * TotalVariation(), transforms=()), steps=20)
    roughness = [float(TotalVariation()(Scene(image(run), image(run), {}))) for run in (plain, smooth)]
    assert roughness[1] < roughness[0] / 2


def test_progress_is_reported_after_each_step() -> None:
    steps: list[Step] = []
    run = solved(problem(conv_net()), steps=3, callbacks=[steps.append])
    assert [step.number for step in steps] == [1, 2, 3]
    assert list(steps[0].losses) == ["activation"]
    assert steps[2].losses["activation"] == pytest.approx(float(run.history[2, 0, 0]))
    assert torch.equal(steps[0].image, start(run))
    assert not torch.equal(steps[1].image, steps[0].image)
    (gradient,) = steps[0].gradients["image"]
    assert gradient.shape == (1, 3, 16, 9, 2)


def test_an_interruption_returns_what_there_is() -> None:
    def stop(step: Step) -> None:
        if step.number == 4:
            raise KeyboardInterrupt

    run = solved(problem(conv_net()), steps=30, callbacks=[stop])
    assert run.interrupted
    assert len(run.history) == 4
    assert torch.isfinite(image(run)).all()


def test_a_dead_unit_is_an_error_with_remedies() -> None:
    proto = conv_net(b2=np.full(6, -1e6, np.float32))
    with pytest.raises(DeadUnitError, match=r"3 starts.*--from"):
        solved(problem(proto, "relu2"))


def test_a_unit_that_is_silent_near_grey_is_found_by_a_stronger_start() -> None:
    # Answers only where neighboring pixels differ by more than the faint first start has.
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1], kernel[:, :, 1, 2] = 1, -1
    proto = conv_net(w1=kernel, b1=np.full(4, -2, np.float32))
    wanted = problem(proto, "relu1", parameterization=Pixel(std=0.2))
    run = solved(wanted, steps=30)
    assert start(run).std() > 0.1
    assert activation(wanted, image(run)) > activation(wanted, start(run))


def test_a_unit_that_is_silent_at_every_start_is_woken_by_relaxed_rectifiers() -> None:
    # The bias is beyond what noise of any contrast reaches, and within what an image can.
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1] = 1
    proto = conv_net(w1=kernel, b1=np.full(4, -2.7, np.float32))
    model = load(proto)
    network = lower(model, ["relu1"], (1, 3, 16, 16))
    silent = problem(proto, "relu1")
    with pytest.raises(DeadUnitError):
        solved(silent)
    relaxed = dataclasses.replace(silent.engine, network=replace_backward(network, "relaxed"))
    run = solved(dataclasses.replace(silent, relaxed=lambda: relaxed))
    assert run.woken[0] > 0
    assert activation(silent, start(run)) == 0
    assert activation(silent, image(run)) > 0


def test_relaxed_rectifiers_wake_no_unit_that_is_awake() -> None:
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1] = 1
    proto = conv_net(w1=kernel, b1=np.array([0, -2.7, 0, -2.7], np.float32))
    wanted = problem(proto, "relu1", filters=[0, 1])
    relaxed = dataclasses.replace(wanted.engine, network=replace_backward(wanted.engine.network, "relaxed"))
    together = solved(dataclasses.replace(wanted, relaxed=lambda: relaxed))
    assert together.woken[0] == 0
    assert together.woken[1] > 0
    alone = solved(problem(proto, "relu1", filters=[0]))
    np.testing.assert_allclose(image(together)[0], image(alone)[0], atol=1e-5)


def test_the_mean_of_two_views_is_what_a_step_follows() -> None:
    calls: list[int] = []

    def watch(scene: Scene) -> Tensor:
        calls.append(1)
        return -scene.activations[""].flatten(1).mean(1) * len(calls)

    run = solved(problem(conv_net(), objective=Objective(((watch, 1.0),))), steps=1, views=2, start=False)
    once = solved(problem(conv_net()), steps=1, start=False)
    assert len(calls) == 2
    assert run.history.shape == once.history.shape


def test_the_influence_is_the_sum_of_the_absolute_gradients_of_the_picture() -> None:
    steps: list[Tensor] = []
    wanted = problem(conv_net(), transforms=(), parameterization=Pixel())
    run = solved(wanted, steps=3, transparency=True, callbacks=[lambda step: steps.append(step.image)])
    total = torch.zeros_like(steps[0])
    for shown in steps:
        leaf = shown.clone().requires_grad_()
        term = wanted.objective(wanted.scene({"image": leaf}, None))[0]
        total += torch.autograd.grad(term.sum(), leaf)[0].abs()
    assert run.influence is not None
    np.testing.assert_allclose(run.influence, total, rtol=1e-5, atol=1e-9)
    assert solved(wanted, steps=3).influence is None


def test_the_influence_of_an_image_does_not_depend_on_when_its_neighbors_end() -> None:
    options: dict[str, Any] = {"steps": 400, "patience": 16, "learning_rate": 0.1, "transparency": True}
    together = solved(problem(conv_net(), filters=[0, 1, 2], transforms=()), **options)
    first = min(range(3), key=lambda index: together.steps[index])
    assert together.steps[first] < max(together.steps)
    alone = solved(problem(conv_net(), filters=[first], transforms=()), **options)
    assert together.influence is not None
    assert alone.influence is not None
    np.testing.assert_allclose(together.influence[first], alone.influence[0], rtol=1e-2, atol=1e-6)


def test_a_nan_loss_names_step_and_loss() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] y)
    { half = Constant <value = float {0.6}> ()  below = Sub (image, half)  y = Sqrt (below) }
    """
    with pytest.raises(NonFiniteLossError, match="'activation' became NaN or infinite at step 1") as caught:
        solved(problem(parsed(text), "y"))
    assert caught.value.details["step"] == 1


def test_a_loss_that_overflows_later_names_its_step() -> None:
    def explode(scene: Scene) -> Tensor:
        return scene.image.mean((1, 2, 3)) * (torch.inf if len(steps) == 7 else 1.0)

    steps: list[int] = []
    objective = Objective(((explode, 1.0),))
    with pytest.raises(NonFiniteLossError, match="'explode' became NaN or infinite at step 8"):
        solved(problem(conv_net(), objective=objective), steps=40, callbacks=[lambda step: steps.append(step.number)])


def slow_total_variation(image: np.ndarray) -> float:
    """Mean over pixels and channels of the squared steps to the right and down, on the grid that has both."""
    down = image[:, :, 1:, :-1] - image[:, :, :-1, :-1]
    right = image[:, :, :-1, 1:] - image[:, :, :-1, :-1]
    return float(np.mean(down.astype(np.float64) ** 2 + right.astype(np.float64) ** 2))


def slow_norm(image: np.ndarray) -> float:
    return float(np.mean(np.abs(2 * image.astype(np.float64) - 1) ** 6) ** (1 / 6))


def test_the_gradient_of_a_weighted_sum_of_losses_on_two_nodes_agrees_with_finite_differences() -> None:
    model = load(conv_net())
    recipe = Recipe(
        transforms=(),
        losses=ActivationMaximization((2,), node="logits")
        + 0.5 * ActivationMaximization((1,), node="relu1", neuron=(3, 4), goal=0.7)
        + 2.0 * TotalVariation()
        + 0.3 * LpNorm(),
    )
    wanted = prepare(model, recipe).problem()
    oracle, step = Oracle(model, ["logits", "relu1"]), 5e-3
    inside = wanted.engine.inputs["image"]
    point = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    terms = torch.stack(wanted.objective(wanted.scene({"image": point}, None)))
    (gradient,) = torch.autograd.grad(terms.sum(), point)

    def total(image: np.ndarray) -> float:
        found = oracle.run({"image": inside.feed_one(torch.from_numpy(image)).numpy()})
        distance, near = abs(found["relu1"][0, 1, 3, 4] - 0.7), 0.07
        reach = distance**2 / (2 * near) if distance < near else distance - near / 2
        return float(-found["logits"][0, 2] + 0.5 * reach + 2 * slow_total_variation(image) + 0.3 * slow_norm(image))

    assert float(terms.detach().sum()) == pytest.approx(total(point.detach().numpy()), rel=1e-5)
    generator = np.random.default_rng(0)
    for _ in range(5):
        direction = generator.standard_normal(point.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        ahead, behind = (total(point.detach().numpy() + sign * step * direction) for sign in (1, -1))
        slope = float((gradient.numpy() * direction).sum())
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-2, abs=2e-4)


def test_the_gradient_of_a_whole_objective_agrees_with_finite_differences_through_onnxruntime() -> None:
    model = load(conv_net())
    wanted = problem(conv_net(), transforms=())
    point = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(wanted.objective(wanted.scene({"image": point}, None))[0].sum(), point)
    oracle, step = Oracle(model, ["logits"]), 1e-2
    generator = np.random.default_rng(0)
    for _ in range(5):
        direction = generator.standard_normal(point.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        ahead, behind = (
            -oracle.run({"image": point.detach().numpy() + sign * step * direction})["logits"][0, 2] for sign in (1, -1)
        )
        slope = float((gradient.numpy() * direction).sum())
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-2, abs=2e-4)


def test_the_last_steps_of_a_value_to_reach_are_ever_smaller() -> None:
    images: list[Tensor] = []
    reach = Objective(((ActivationMaximization(channel_axis=1, goal=5.0), 1.0),))
    solved(
        problem(conv_net(), objective=reach, transforms=(), parameterization=Pixel()),
        steps=40,
        settle=0.25,
        anneal=0.25,
        callbacks=[lambda step: images.append(torch.logit(step.image))],
    )
    moved = [float((after - before).abs().mean()) for before, after in pairwise(images)]
    assert moved[38] < 0.3 * moved[29]
    assert moved[29] > 0.7 * moved[10]


def test_an_image_that_has_ended_does_not_change_any_more() -> None:
    options: dict[str, Any] = {"patience": 16, "learning_rate": 0.1, "keep": "last"}
    short = solved(problem(conv_net(), filters=[0, 1, 2], transforms=()), steps=400, **options)
    first = int(np.argmin(short.steps))
    end = short.steps[first]
    assert end < max(short.steps)
    cut = solved(problem(conv_net(), filters=[0, 1, 2], transforms=()), steps=end, **options)
    torch.testing.assert_close(image(short)[first], image(cut)[first], rtol=0, atol=1e-6)


def test_the_last_image_counts_too_when_the_best_is_kept() -> None:
    wanted = problem(conv_net(), transforms=())
    run = solved(wanted, steps=1, learning_rate=0.05)
    assert activation(wanted, image(run)) > activation(wanted, start(run))


def test_with_a_gradient_modifier_the_last_image_is_returned() -> None:
    seen: list[Tensor] = []
    wanted = problem(conv_net(), transforms=(), parameterization=Pixel(), modifier="absolute")
    run = solved(wanted, steps=30, learning_rate=0.5, callbacks=[lambda step: seen.append(step.image)])
    # Ever brighter: were the best kept, it could be an earlier one.
    assert bool((image(run) >= seen[-1] - 1e-6).all())
    assert float((image(run) - seen[-1]).max()) > 0
