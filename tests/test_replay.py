import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image, PngImagePlugin

from onnxvis import History, Jitter, Step, VisualizationInterrupted, replay, visualize, visualize_filters
from onnxvis.errors import InputError, SettingError
from onnxvis.render import KEY, read_png
from tests.models import conv_net, parsed, random_weights

SIGNAL = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 2, 40] x, float[1, 4, 1] scale) => (float[1, 4, 40] y)
{ c = Conv <pads = [1, 1]> (x, w, b)  y = Mul (c, scale) }
"""


def signal_net() -> onnx.ModelProto:
    return parsed(SIGNAL, **random_weights({"w": (4, 2, 3), "b": (4,)}))


def rewritten(path: Path, **changes: Any) -> None:
    """Change what a picture's text says."""
    image, text = read_png(path)
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(text | changes))
    image.save(path, pnginfo=info)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"goal": "minimize", "parameterization": None, "tv_weight": 0.2},
        {"goal": 0.02},
        {"neuron": None, "backprop": "guided", "node": "relu2"},
        {"gradient_modifier": "absolute", "transforms": (Jitter(1),)},
        {"neuron": "center", "node": "conv1"},
        {"patience": 16, "steps": 80, "transforms": ()},
    ],
)
def test_a_picture_comes_out_the_same_to_the_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "p.png"
    given = {"node": "logits", "filter": 2, "steps": 6, "seed": 3, **settings}
    first = visualize(conv_net(), **given)
    first.save(path)
    again = replay(path, conv_net())
    assert again.same
    assert not again.model_changed
    assert again.reasons == ()
    assert str(again) == "the same bits"
    assert again.result.recipe == first.recipe
    assert np.array_equal(np.asarray(again.result.image), np.asarray(first.image))
    assert again.result.activation == first.activation


def test_a_picture_of_a_batch_is_made_in_its_batch_again(tmp_path: Path) -> None:
    results = visualize_filters(conv_net(), "conv2", "0-5", steps=6, batch=4)
    for index in (0, 3, 5):
        result = results[index]
        assert result is not None
        assert result.recipe.filters == (index,)
        path = result.save(tmp_path / f"{index}.png")
        again = replay(path, conv_net())
        assert again.same
        assert again.result.target == result.target


def test_signals_are_compared_by_their_numbers(tmp_path: Path) -> None:
    scale = np.full((1, 4, 1), 2, np.float32)
    np.save(tmp_path / "scale.npy", scale)
    path = tmp_path / "p.png"
    visualize(signal_net(), filter=1, steps=5, inputs={"scale": tmp_path / "scale.npy"}).save(path)
    assert replay(path, signal_net()).same
    np.save(tmp_path / "scale.npy", -scale)
    assert not replay(path, signal_net()).same


def test_arrays_that_the_file_does_not_hold_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    scale, seed = np.full((1, 4, 1), 2, np.float32), np.zeros((1, 2, 40), np.float32)
    visualize(signal_net(), filter=1, steps=5, inputs={"scale": scale}, seed_image=seed).save(path)
    with pytest.raises(InputError, match=r"holds input 'scale' at <array .*give that array"):
        replay(path, signal_net())
    with pytest.raises(InputError, match=r"starts from <array .*give that array"):
        replay(path, signal_net(), inputs={"scale": scale})
    assert replay(path, signal_net(), inputs={"scale": scale}, seed_image=seed).same


def test_a_changed_model_is_noticed(tmp_path: Path) -> None:
    path = visualize(conv_net(), "logits", 2, steps=5).save(tmp_path / "p.png")
    again = replay(path, conv_net(b3=np.ones(5, np.float32)))
    assert again.model_changed
    assert "the model has changed" in str(again)
    with pytest.raises(InputError, match=r"was made of .*another file: No node"):
        replay(path, signal_net())


def test_an_interrupted_run_is_made_as_far_as_it_came(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.number == 4:
            raise KeyboardInterrupt

    for goal in ("maximize", 0.02):
        with pytest.raises(VisualizationInterrupted) as caught:
            visualize(conv_net(), "logits", 2, steps=5, goal=goal, callbacks=stop)
        again = replay(caught.value.result.save(tmp_path / "p.png"), conv_net())
        assert again.same
        assert again.result.recipe == caught.value.result.recipe


def test_the_number_of_threads_is_as_it_was_and_then_as_before(tmp_path: Path) -> None:
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    rewritten(path, threads=2)
    seen: list[int] = []
    replay(path, conv_net(), callbacks=[lambda _: seen.append(torch.get_num_threads())])
    assert seen == [2, 2, 2]
    assert torch.get_num_threads() == 1


def test_other_versions_are_told(tmp_path: Path) -> None:
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    rewritten(path, versions={"torch": "1.0", "python": "2.7"}, device="cuda:0")
    found = replay(path, conv_net())
    assert any(reason.startswith("torch 1.0 is now") for reason in found.reasons)
    assert "it was made on cuda:0, and now on cpu" in found.reasons
    assert found.same


def test_what_holds_no_recipe_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(InputError, match="has no recipe in it"):
        replay(tmp_path / "plain.png", conv_net())
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    _, text = read_png(path)
    rewritten(path, recipe=text["recipe"] | {"invented": 1})
    with pytest.raises(SettingError, match="another version"):
        replay(path, conv_net())
    rewritten(path, recipe=text["recipe"], inputs=None)
    with pytest.raises(InputError, match="another version"):
        replay(path, conv_net())


def test_pictures_that_are_alone_in_their_batch_are_replayed(tmp_path: Path) -> None:
    for batch, count in ((1, 2), (2, 3)):
        results = visualize_filters(conv_net(), "conv2", range(count), steps=4, batch=batch)
        for result in results:
            assert result is not None
            assert result.recipe.filters == result.target.filters
            assert replay(result.save(tmp_path / "p.png"), conv_net()).same


def test_every_picture_of_an_interrupted_batch_is_replayed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 600, "patience": 8, "transforms": (), "learning_rate": 0.1}
    whole = visualize_filters(conv_net(), "conv2", [0, 1, 2, 3], batch=4, **settings)
    ends = [len(result.history) for result in whole if result]
    between = (min(ends) + max(ends)) // 2
    assert min(ends) < between < max(ends)

    def stop(step: Step) -> None:
        if step.number == between:
            raise KeyboardInterrupt

    with pytest.raises(VisualizationInterrupted) as caught:
        visualize_filters(conv_net(), "conv2", [0, 1, 2, 3], batch=4, callbacks=stop, **settings)
    for result in caught.value.results:
        assert result is not None
        assert result.interrupted is (len(result.history) == between)
        assert replay(result.save(tmp_path / "p.png"), conv_net()).same


def test_an_interrupted_replay_is_no_verdict(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.number == 2:
            raise KeyboardInterrupt

    (result, _) = visualize_filters(conv_net(), "conv2", [0, 1], steps=9)
    assert result is not None
    path = result.save(tmp_path / "p.png")
    with pytest.raises(VisualizationInterrupted):
        replay(path, conv_net(), callbacks=[stop])


def test_a_replay_finishes_its_callbacks(tmp_path: Path) -> None:
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    replay(path, conv_net(), callbacks=[History(tmp_path / "h.json")])
    assert (tmp_path / "h.json").is_file()


def test_an_edited_picture_is_not_the_same(tmp_path: Path) -> None:
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    _, text = read_png(path)
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(text))
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    found = replay(path, conv_net())
    assert not found.same
    assert "the picture's pixels have been changed" in str(found)


def test_files_and_arrays_that_have_changed_are_told(tmp_path: Path) -> None:
    seed = tmp_path / "seed.npy"
    np.save(seed, np.zeros((3, 16, 16), np.float32))
    path = visualize(conv_net(), "logits", 2, steps=3, seed_image=seed).save(tmp_path / "p.png")
    np.save(seed, np.ones((3, 16, 16), np.float32))
    assert f"the file {seed} has changed" in replay(path, conv_net()).reasons
    other = replay(path, conv_net(), seed_image=np.full((3, 16, 16), 0.5, np.float32))
    assert any(reason.startswith("seed image was") for reason in other.reasons)


def test_pictures_that_are_no_pictures_of_a_run_say_what_they_are(tmp_path: Path) -> None:
    from onnxvis.render import png_bytes  # noqa: PLC0415 - used here alone

    image = Image.new("L", (4, 4))
    (tmp_path / "sheet.png").write_bytes(png_bytes(image, {"sheet": ["0.png"]}))
    (tmp_path / "second.png").write_bytes(png_bytes(image, {}))
    with pytest.raises(InputError, match=r"is a sheet of pictures: replay one of them, such as '0.png'"):
        replay(tmp_path / "sheet.png", conv_net())
    with pytest.raises(InputError, match="shows a second input"):
        replay(tmp_path / "second.png", conv_net())


@pytest.mark.parametrize("group", [{"filters": [[0], [2]], "index": 7}, {"filters": [], "index": 0}, {"index": 0}])
def test_damaged_groups_are_refused(tmp_path: Path, group: dict[str, Any]) -> None:
    path = visualize(conv_net(), "logits", 2, steps=3).save(tmp_path / "p.png")
    rewritten(path, group=group, threads=100000)
    with pytest.raises(InputError, match="damaged, or of another version"):
        replay(path, conv_net())
