from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from onnxvis.examination import Look, examine, look
from onnxvis.losses import TotalVariation
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.runs import Prepared
from tests.models import conv_net

SIGNALS = Path(__file__).parents[1] / "samples" / "signals.onnx"


def prepared(**settings: float) -> Prepared:
    recipe = Recipe(node="conv2", filters=(1,), transforms=(), range=(0.0, 1.0), **settings)  # type: ignore[arg-type] # numbers of the recipe
    return prepare(load(conv_net()), recipe, device="cpu")


def test_a_look_has_the_slope_of_each_term() -> None:
    problem = prepared(tv_weight=3.0).problem()
    image = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    seen = look(problem, {"image": image})
    leaf = image.clone().requires_grad_()
    variation = 3 * TotalVariation()(problem.scene({"image": leaf}, None))
    (slope,) = torch.autograd.grad(variation.sum(), leaf)
    assert seen.norms[1] == pytest.approx(float(slope.norm()), rel=1e-5)
    assert seen.values[1] == pytest.approx(variation.item())
    (first,) = torch.autograd.grad(problem.objective(problem.scene({"image": leaf}, None))[0].sum(), leaf)
    step = 1e-2 * first / first.norm()
    ahead, behind = (look(problem, {"image": image + sign * step}).values[0] for sign in (1, -1))
    assert (ahead - behind) / 2e-2 == pytest.approx(seen.norms[0], rel=0.02)


def test_shares_add_up_to_one_and_nothing_pulls_at_zero() -> None:
    assert sum(Look((1.0, 2.0), (3.0, 1.0)).shares) == 1
    assert Look((1.0, 2.0), (3.0, 1.0)).shares[0] == 0.75
    assert Look((1.0,), (0.0,)).shares == (0.0,)


def test_a_trial_is_the_beginning_of_the_run() -> None:
    whole = prepare(load(SIGNALS), Recipe(filters=(0,), steps=64), device="cpu")
    seen = examine(whole)
    assert seen.trial is not None
    assert len(seen.trial.result.history) == 32
    assert seen.steps == 64
    assert seen.trial.result.history == whole.run().history[:32]
    assert seen.trial.gain == pytest.approx(seen.trial.result.activation - seen.trial.result.seed_activation, rel=1e-3)
    assert str(seen.trial).startswith("32 steps move the activation from ")
    assert [item.seed for item in seen.beginnings] == [0, 1, 2, 3]
    assert [item.contrast for item in seen.beginnings] == [1.0] * 4


def test_the_first_loss_is_tried_alone_where_there_are_others() -> None:
    assert examine(prepared(steps=4)).alone is None
    seen = examine(prepared(steps=4, tv_weight=1e4))
    assert seen.trial is not None
    assert seen.alone is not None
    assert seen.alone.gain > seen.trial.gain
    assert len(seen.alone.after.norms) == 2
    plain = prepared(steps=4).run()
    assert np.array_equal(seen.alone.result.parts[0].values, plain.parts[0].values)


def test_other_settings_and_no_views_are_tried_too() -> None:
    seen = examine(prepare(load(SIGNALS), Recipe(filters=(0,), steps=8), device="cpu"))
    slower, straight = seen.retried(learning_rate=0.001), seen.straight()
    assert seen.trial is not None
    assert slower is not None
    assert straight is not None
    assert slower.moved < seen.trial.moved
    assert straight.result.history[0] != seen.trial.result.history[0]
