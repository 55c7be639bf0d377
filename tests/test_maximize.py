import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxvis import load
from onnxvis.errors import DeadUnitError, NonFiniteLossError
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.losses import ActivationMaximization, Objective, Scene, TotalVariation
from onnxvis.lower import lower
from onnxvis.maximize import Problem, Run, maximize
from onnxvis.preprocess import Preprocess
from onnxvis.transforms import Jitter, RandomAffine, Transform
from tests.models import conv_net, parsed

MAXIMIZE = Objective(((ActivationMaximization((2,), channel_axis=1), 1.0),))


def problem(
    proto: onnx.ModelProto,
    tensor: str = "logits",
    *,
    objective: Objective = MAXIMIZE,
    parameterization: Parameterization | None = None,
    transforms: tuple[Transform, ...] = (Jitter(2), RandomAffine(scale=(0.8, 1.2), rotate=10, shift=0.1)),
    batch: int = 1,
) -> Problem:
    network = lower(load(proto), [tensor], (batch, 3, 16, 16))
    return Problem(
        network=network,
        activations={"": 0},
        objective=objective,
        image_name="image",
        image_shape=(batch, 3, 16, 16),
        preprocess=Preprocess(),
        held={},
        parameterization=parameterization or Fourier(),
        transforms=transforms,
        device=torch.device("cpu"),
    )


def solved(wanted: Problem, *, steps: int = 30, seed: int = 0, seed_image: Tensor | None = None) -> Run:
    return maximize(wanted, steps=steps, learning_rate=0.05, seed=seed, seed_image=seed_image)


def activation(wanted: Problem, image: Tensor) -> float:
    with torch.no_grad():
        return -float(wanted.objective(wanted.scene(image, None))[0].mean())


@pytest.mark.parametrize("parameterization", [Fourier(), Pixel()])
def test_the_activation_rises(parameterization: Parameterization) -> None:
    wanted = problem(conv_net(), parameterization=parameterization)
    run = solved(wanted)
    assert activation(wanted, run.image) > 1.3 * activation(wanted, run.start)
    assert run.history.shape == (30, 1, 1)
    assert run.losses == ("activation",)
    assert not run.interrupted


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    wanted = problem(conv_net())
    first, second, other = solved(wanted), solved(wanted), solved(wanted, seed=1)
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.history, second.history)
    assert not torch.equal(first.image, other.image)


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
    assert torch.equal(run.image, run.start)
    assert len(run.history) == 0


def test_a_seed_image_is_the_start() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3))
    run = solved(problem(conv_net()), steps=1, seed_image=image)
    assert (run.start[0] - image).abs().max() < 1 / 255


def test_images_of_a_batch_do_not_depend_on_their_neighbors() -> None:
    two, one = problem(conv_net(), batch=2), problem(conv_net())
    together, alone = solved(two, steps=5), solved(one, steps=5)
    torch.testing.assert_close(together.history[:, :, :1], alone.history, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.image[:1], alone.image, rtol=0, atol=1e-3)
    assert not torch.equal(together.image[0], together.image[1])


def test_regularizers_take_part() -> None:
    plain = solved(problem(conv_net(), transforms=()), steps=20)
    smooth = solved(problem(conv_net(), objective=MAXIMIZE + 100 * TotalVariation(), transforms=()), steps=20)
    roughness = [float(TotalVariation()(Scene(run.image, run.image, {}))) for run in (plain, smooth)]
    assert roughness[1] < roughness[0] / 2


def test_progress_is_reported_after_each_step() -> None:
    calls: list[tuple[int, dict[str, float]]] = []
    maximize(
        problem(conv_net()),
        steps=3,
        learning_rate=0.05,
        seed=0,
        on_step=lambda step, losses: calls.append((step, dict(losses))),
    )
    assert [step for step, _ in calls] == [1, 2, 3]
    assert list(calls[0][1]) == ["activation"]


def test_an_interruption_returns_what_there_is() -> None:
    def stop(step: int, losses: object) -> None:
        del losses
        if step == 4:
            raise KeyboardInterrupt

    run = maximize(problem(conv_net()), steps=30, learning_rate=0.05, seed=0, on_step=stop)
    assert run.interrupted
    assert len(run.history) == 4
    assert torch.isfinite(run.image).all()


def test_a_dead_unit_is_an_error_with_remedies() -> None:
    proto = conv_net(b2=np.full(6, -1e6, np.float32))
    with pytest.raises(DeadUnitError, match=r"3 starts.*--seed-image"):
        solved(problem(proto, "relu2"))


def test_a_unit_that_is_silent_near_grey_is_found_by_a_stronger_start() -> None:
    # Answers only where neighboring pixels differ by more than the faint first start has.
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1], kernel[:, :, 1, 2] = 1, -1
    proto = conv_net(w1=kernel, b1=np.full(4, -2, np.float32))
    wanted = problem(proto, "relu1", parameterization=Pixel(std=0.2))
    run = solved(wanted, steps=30)
    assert run.start.std() > 0.1
    assert activation(wanted, run.image) > activation(wanted, run.start)


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
        maximize(
            problem(conv_net(), objective=objective),
            steps=40,
            learning_rate=0.05,
            seed=0,
            on_step=lambda step, _: steps.append(step),
        )


def test_the_gradient_of_a_whole_objective_agrees_with_finite_differences_through_onnxruntime() -> None:
    from onnxvis.oracle import Oracle  # noqa: PLC0415 - used here alone

    model = load(conv_net())
    wanted = problem(conv_net(), transforms=())
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(wanted.objective(wanted.scene(image, None))[0].sum(), image)
    oracle, step = Oracle(model, ["logits"]), 1e-2
    generator = np.random.default_rng(0)
    for _ in range(5):
        direction = generator.standard_normal(image.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        ahead, behind = (
            -oracle.run({"image": image.detach().numpy() + sign * step * direction})["logits"][0, 2] for sign in (1, -1)
        )
        slope = float((gradient.numpy() * direction).sum())
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-2, abs=2e-4)
