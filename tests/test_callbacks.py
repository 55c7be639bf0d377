import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxvis import Animation, History, Step, VisualizationInterrupted, visualize, visualize_filters
from onnxvis.errors import OutputError, SettingError
from tests.models import conv_net


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_shows_the_run_from_its_start_to_its_last_step(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run{suffix}"
    seen: list[Step] = []
    visualize(conv_net(), "logits", 1, steps=30, callbacks=[Animation(path, every=8), seen.append])
    with Image.open(path) as image:
        assert image.n_frames == 5  # type: ignore[attr-defined] # steps 0, 8, 16, 24 and 29
        first = np.asarray(image.convert("RGB"), np.float64)
        image.seek(4)
        last = np.asarray(image.convert("RGB"), np.float64)
    assert first.shape == last.shape
    assert np.abs(first - last).mean() > 1
    start = seen[0].image[0].numpy().transpose(1, 2, 0)
    # The start is what the first frame shows, enlarged by a whole factor.
    scale = first.shape[1] // 16
    drawn = first[scale // 2 : 16 * scale : scale, scale // 2 : 16 * scale : scale]
    assert np.abs(drawn / 255 - start).max() < (0.05 if suffix == ".gif" else 0.1)


def test_a_batch_is_shown_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    visualize_filters(conv_net(), "logits", [0, 1, 2], steps=4, callbacks=Animation(path))
    with Image.open(path) as image:
        assert image.width > 2.5 * 16


def test_a_history_is_the_losses_before_each_step(tmp_path: Path) -> None:
    path = tmp_path / "losses.json"
    result = visualize(conv_net(), "logits", 1, steps=5, tv_weight=0.1, callbacks=History(path))
    written = json.loads(path.read_text())
    assert written == json.loads(result.history_json())
    assert list(written) == ["activation", "total variation"]
    assert len(written["activation"]) == 5


def test_callbacks_are_finished_when_the_run_is_interrupted(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.number == 3:
            raise KeyboardInterrupt

    history, animation = History(tmp_path / "h.json"), Animation(tmp_path / "a.gif")
    with pytest.raises(VisualizationInterrupted):
        visualize(conv_net(), "logits", 1, steps=9, callbacks=[history, animation, stop])
    assert len(json.loads((tmp_path / "h.json").read_text())["activation"]) == 3
    assert (tmp_path / "a.gif").is_file()


def test_files_that_cannot_be_written_are_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gif"):
        Animation(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="there is no folder"):
        History(tmp_path / "missing" / "h.json")
    with pytest.raises(SettingError, match="at least 1"):
        Animation(tmp_path / "a.gif", every=0)


def test_no_step_writes_no_animation(tmp_path: Path) -> None:
    visualize(conv_net(), "logits", 1, steps=0, callbacks=[Animation(tmp_path / "a.gif")])
    assert not (tmp_path / "a.gif").exists()
