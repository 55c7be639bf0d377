import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from onnxvis.cli import main
from onnxvis.render import read_png
from tests.models import CONV_NET_SHAPES, conv_net, parsed, random_weights


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def onnxvis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command line in this process: starting one takes seconds."""

    def run(*arguments: object, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["onnxvis", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return Done(int(exit_.value.code or 0), output.out, output.err)

    return run


def error_line(done: Done) -> str:
    """Return the one line that an error is, after checking that it is one."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path


def test_visualize_writes_a_picture_and_says_what_it_measured(net: Path, onnxvis: Callable[..., Done]) -> None:
    done = onnxvis("visualize", "net.onnx", "--node", "conv2", "--filter", 3, "--steps", 20, cwd=net)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    _, text = read_png(net / "net-conv2-3.png")
    assert f"-> {text['measured']['activation']:.4g} (by onnxruntime, on the file as written)" in done.stdout
    assert "torch agrees with onnxruntime" in done.stdout
    assert "assumed" in done.stdout
    assert "net-conv2-3.png (16x16, 20 steps" in done.stdout


def test_every_option_reaches_the_recipe(net: Path, onnxvis: Callable[..., Done]) -> None:
    Image.new("RGB", (20, 20), (200, 30, 30)).save(net / "red.png")
    options = {
        "--node": "logits",
        "--steps": 3,
        "--learning-rate": 0.1,
        "--seed": 4,
        "--seed-image": "red.png",
        "--range": "-1,1",
        "--mean": "0.1",
        "--std": "0.5,0.6,0.7",
        "--layout": "nchw",
        "--wrt": "image",
        "--channel-axis": 1,
        "--parameterization": "pixel",
        "--jitter": 2,
        "--tv-weight": 0.1,
        "--tv-beta": 1.5,
        "--lp-weight": 0.2,
        "--lp-p": 4,
        "--device": "cpu",
        "--size": "16x16",
    }
    flat = [item for pair in options.items() for item in pair]
    done = onnxvis(
        "visualize", "net.onnx", *flat, "--filter", 1, "--filter", 2, "--bgr", "--no-logits", "-o", "p.png", cwd=net
    )
    assert done.returncode == 0, done.stderr
    recipe = read_png(net / "p.png")[1]["recipe"]
    assert recipe["filters"] == ["1", "2"]
    assert recipe["seed_image"] == "red.png"
    assert recipe["range"] == [-1, 1]
    assert recipe["mean"] == [0.1]
    assert recipe["std"] == [0.5, 0.6, 0.7]
    assert recipe["layout"] == "NCHW"
    assert recipe["bgr"] is True
    assert recipe["logits"] is False
    assert recipe["size"] == [16, 16]
    assert "Pixel" in recipe["parameterization"]
    assert recipe["transforms"] == [{"Jitter": {"pixels": 2}}]
    assert [recipe[key] for key in ("tv_weight", "tv_beta", "lp_weight", "lp_p")] == [0.1, 1.5, 0.2, 4]
    assert [recipe[key] for key in ("steps", "learning_rate", "seed", "channel_axis")] == [3, 0.1, 4, 1]


def test_verbose_prints_the_losses_and_quiet_only_the_path(net: Path, onnxvis: Callable[..., Done]) -> None:
    arguments = ("visualize", "net.onnx", "--node", "conv1", "--filter", 0, "--steps", 3, "--tv-weight", 1)
    loud = onnxvis(*arguments, "--verbose", cwd=net)
    assert "total variation" in loud.stdout
    assert "activation" in loud.stdout
    assert onnxvis(*arguments, "--quiet", cwd=net).stdout == "net-conv1-0.png\n"


def test_the_same_command_writes_the_same_bytes(net: Path, onnxvis: Callable[..., Done]) -> None:
    for name in ("a.png", "b.png"):
        onnxvis("visualize", "net.onnx", "--filter", 1, "--steps", 5, "-o", name, cwd=net)
    assert (net / "a.png").read_bytes() == (net / "b.png").read_bytes()


def test_nodes_lists_names_operators_shapes_and_filters(net: Path, onnxvis: Callable[..., Done]) -> None:
    done = onnxvis("nodes", "net.onnx", cwd=net)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["conv1", "Conv", "N", "x", "4", "x", "16", "x", "16", "4"] in rows
    assert ["probabilities", "Softmax", "N", "x", "5", "5"] in rows


def test_nodes_as_json_takes_a_pattern(net: Path, onnxvis: Callable[..., Done]) -> None:
    done = onnxvis("nodes", "net.onnx", "conv*", "--json", cwd=net)
    found = json.loads(done.stdout)
    assert [item["name"] for item in found] == ["conv1", "conv2"]
    assert found[0] == {
        "name": "conv1",
        "op_type": "Conv",
        "shape": ["N", 4, 16, 16],
        "filters": 4,
        "node": "",
        "tensor": "conv1",
        "channel_axis": 1,
    }


def test_every_name_of_nodes_is_understood_by_visualize(net: Path, onnxvis: Callable[..., Done]) -> None:
    names = [item["name"] for item in json.loads(onnxvis("nodes", "net.onnx", "--json", cwd=net).stdout)]
    done = onnxvis("visualize", "net.onnx", "--node", names[2], "--filter", 0, "--steps", 0, cwd=net)
    assert done.returncode == 0, done.stderr


def broken_models() -> dict[str, tuple[bytes | None, list[str], str]]:
    """Name → content (None: no file), arguments, what the one line must say."""
    good = conv_net().SerializeToString()
    no_opset = conv_net()
    del no_opset.opset_import[:]
    invalid = conv_net()
    invalid.graph.node[0].op_type = "Conf"
    outside = conv_net()
    outside.graph.initializer[0].ClearField("raw_data")
    outside.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key="location", value="../weights.bin")
    missing = conv_net()
    missing.graph.initializer[0].ClearField("raw_data")
    missing.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    missing.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    nan = conv_net(b1=np.full(4, np.nan, np.float32))
    dead = conv_net(b2=np.full(6, -1e6, np.float32))
    first = {key: CONV_NET_SHAPES[key] for key in ("w1", "b1")}
    head = '<ir_version: 8, opset_import: ["": 17]> '
    conv = "conv1 = Conv <pads = [1, 1, 1, 1]> (image, w1, b1) "
    image = "float[1, 3, 16, 16] image"
    argmax = parsed(
        f"{head} net ({image}) => (int64[1, 1, 16, 16] y) {{ {conv} y = ArgMax <axis = 1> (conv1) }}",
        **random_weights(first),
    )
    signs = parsed(
        f"{head} net ({image}) => (float[1, 4, 16, 16] y) {{ {conv} y = Sign (conv1) }}", **random_weights(first)
    )
    constant = parsed(
        f"{head} net ({image}) => (float[1, 4, 16, 16] y, float[1] c) "
        f"{{ {conv} y = Relu (conv1) c = Constant <value = float[1] {{1.0}}> () }}",
        **random_weights(first),
    )
    open_size = parsed(
        f"{head} net (float[N, 3, H, W] image) => (float[N, 4, H, W] y) {{ {conv} y = Relu (conv1) }}",
        **random_weights(first),
    )
    twice = parsed(f"{head} net ({image}) => (float[1, 4, 16, 16] y) {{ a = Relu (image) b = Neg (a) y = Add (a, b) }}")
    twice.graph.node[0].name, twice.graph.node[1].name = "block/a/one", "block/b/one"
    custom = conv_net()
    custom.graph.node.insert(0, helper.make_node("Warp", ["image"], ["warped"], name="warp", domain="my.domain"))
    custom.graph.node[1].input[0] = "warped"
    custom.opset_import.append(helper.make_opsetid("my.domain", 1))
    infinite = parsed(
        f"{head} net ({image}) => (float[1, 3, 16, 16] y) "
        "{ huge = Constant <value = float {-3.0}> () low = Add (image, huge) y = Log (low) }"
    )
    return {
        "missing-file": (None, [], "No file"),
        "not-onnx": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), [], "is not an ONNX file"),
        "empty": (b"", [], "holds no graph"),
        "lfs-pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", [], "git lfs pull"),
        "truncated": (good[: len(good) // 2], [], "truncated"),
        "no-opset": (no_opset.SerializeToString(), [], "operator set"),
        "refused-by-the-checker": (invalid.SerializeToString(), [], "not a valid ONNX model"),
        "data-outside-the-folder": (outside.SerializeToString(), [], "outside the model's folder"),
        "data-missing": (missing.SerializeToString(), [], "'weights.bin'"),
        "unknown-node": (good, ["--node", "conf1"], "Nearest: 'conv1'"),
        "ambiguous-node": (twice.SerializeToString(), ["--node", "one"], "can mean 2 tensors"),
        "filter-out-of-range": (good, ["--node", "logits", "--filter", "99"], "5 filters, 0 to 4"),
        "not-float": (argmax.SerializeToString(), [], "INT64"),
        "an-input": (good, ["--node", "image"], "does not depend on"),
        "a-constant": (constant.SerializeToString(), ["--node", "c"], "does not depend on"),
        "no-gradient": (signs.SerializeToString(), [], "'y' (Sign)"),
        "unsupported": (custom.SerializeToString(), [], "my.domain.Warp (warp)"),
        "open-sizes": (open_size.SerializeToString(), [], "(1, 3, H, W)"),
        "nan-weights": (nan.SerializeToString(), [], "NaN in weight 'b1'"),
        "nan-loss": (
            infinite.SerializeToString(),
            ["--preprocess", "unit"],
            "'activation' became NaN or infinite at step 1",
        ),
        "dead-unit": (dead.SerializeToString(), ["--node", "relu2", "--filter", "1"], "dead"),
        "unwritable": (good, ["-o", "nowhere/p.png"], "no folder 'nowhere'"),
        "not-a-png": (good, ["-o", "p.jpg"], ".png"),
        "bad-size": (good, ["--size", "big"], "--size 'big'"),
        "bad-range": (good, ["--range", "1,0"], "rise"),
        "bad-mean": (good, ["--mean", "1,2"], "3 channels"),
        "bad-preset": (good, ["--preprocess", "magic"], "imagenet"),
        "bad-parameterization": (good, ["--parameterization", "jpeg"], "fourier"),
        "bad-jitter": (good, ["--jitter", "much"], "--jitter 'much'"),
        "bad-seed-image": (good, ["--seed-image", "none.png"], "No picture 'none.png'"),
        "bad-layout": (good, ["--layout", "NHWC"], "NCHW"),
        "bad-wrt": (good, ["--wrt", "x"], "'image'"),
        "bad-learning-rate": (good, ["--learning-rate", "0"], "learning_rate"),
    }


@pytest.mark.parametrize("name", broken_models())
def test_each_fault_is_one_line_with_its_remedy_and_leaves_nothing_behind(
    name: str, tmp_path: Path, onnxvis: Callable[..., Done]
) -> None:
    content, arguments, wanted = broken_models()[name]
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    before = sorted(tmp_path.iterdir())
    line = error_line(onnxvis("visualize", "m.onnx", "--steps", 3, *arguments, cwd=tmp_path))
    assert wanted in line
    assert sorted(tmp_path.iterdir()) == before


def test_usage_errors_exit_2(net: Path, onnxvis: Callable[..., Done]) -> None:
    assert onnxvis("visualize", cwd=net).returncode == 2
    assert onnxvis("visualize", "net.onnx", "--stepz", 3, cwd=net).returncode == 2


def test_an_unwritable_output_is_found_before_optimizing(net: Path, onnxvis: Callable[..., Done]) -> None:
    began = time.perf_counter()
    error_line(onnxvis("visualize", "net.onnx", "--steps", 1_000_000, "-o", "nowhere/p.png", cwd=net))
    assert time.perf_counter() - began < 60


def test_ctrl_c_writes_what_there_is_marked_as_interrupted(net: Path) -> None:
    # A shell's background jobs ignore Ctrl-C, and hand that down to the tests that they run.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{listening}; from onnxvis.cli import main; main()"
    command = [sys.executable, "-c", run, "visualize", "net.onnx", "--node", "logits", "--filter", "1"]
    with subprocess.Popen(
        [*command, "--steps", "1000000", "-o", "p.png"],
        cwd=net,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("verified"):
                    break
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "interrupted after" in output
    text = read_png(net / "p.png")[1]
    assert text["interrupted"] is True
    assert 0 < text["steps_done"] < 1_000_000


def test_the_version_is_that_of_the_package(net: Path, onnxvis: Callable[..., Done]) -> None:
    assert onnxvis("--version", cwd=net).stdout == f"onnxvis {version('onnxvis')}\n"


def test_the_version_with_verbose_says_what_a_report_needs(net: Path, onnxvis: Callable[..., Done]) -> None:
    lines = onnxvis("--version", "--verbose", cwd=net).stdout.splitlines()
    assert lines[0].split() == ["onnxvis", version("onnxvis")]
    assert {"torch", "onnx", "processor", "int8"} <= {line.split()[0] for line in lines}
    assert onnxvis("--verbose", "--version", cwd=net).stdout.splitlines() == lines


def test_verbose_alone_is_a_usage_error(net: Path, onnxvis: Callable[..., Done]) -> None:
    done = onnxvis("--verbose", cwd=net)
    assert done.returncode == 2
    assert "--verbose goes with --version" in done.stderr


def test_a_process_of_its_own_prints_one_line_for_an_error(net: Path) -> None:
    command = [sys.executable, "-m", "onnxvis", "visualize", "net.onnx", "--node", "nothing"]
    done = subprocess.run(command, cwd=net, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("onnxvis: No node matches 'nothing'")
    assert done.stderr.count("\n") == 1


def test_many_filters_go_to_a_folder_with_a_sheet_and_an_index(net: Path, onnxvis: Callable[..., Done]) -> None:
    done = onnxvis("visualize", "net.onnx", "--node", "conv2", "--filter", "0-2,5", "--steps", 3, cwd=net)
    assert done.returncode == 0, done.stderr
    folder = net / "net-conv2"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("0.png", "1.png", "2.png", "5.png"),
        "index.json",
        "sheet.png",
    ]
    rows = json.loads((folder / "index.json").read_text())
    assert [row["filters"] for row in rows] == [[0], [1], [2], [5]]
    for row in rows:
        _, text = read_png(folder / row["file"])
        assert text["measured"]["activation"] == row["activation"]
        assert f"{row['seed_activation']:.4g} -> {row['activation']:.4g}  {row['file']}" in done.stdout
    assert "4 pictures and net-conv2/sheet.png (4 at a time" in done.stdout.replace("\\", "/")


def test_all_filters_with_their_class_names(net: Path, onnxvis: Callable[..., Done]) -> None:
    proto = onnx.load(net / "net.onnx")
    proto.metadata_props.add(key="onnxvis.labels", value='["a", "b/c", "rings", "d", "e"]')
    onnx.save(proto, net / "named.onnx")
    done = onnxvis(
        "visualize", "named.onnx", "--filter", "all", "--steps", 2, "--batch", 2, "-o", "out/all", "-q", cwd=net
    )
    assert done.returncode == 0, done.stderr
    names = ["0-a.png", "1-b_c.png", "2-rings.png", "3-d.png", "4-e.png"]
    assert [Path(line).name for line in done.stdout.splitlines()] == names
    assert (net / "out" / "all" / "sheet.png").is_file()


def test_dead_filters_are_named_and_the_others_are_made(net: Path, onnxvis: Callable[..., Done]) -> None:
    onnx.save(conv_net(b2=np.array([-1e6, 0, -1e6, 0, 0, 0], np.float32)), net / "dead.onnx")
    words = ("visualize", "dead.onnx", "--node", "relu2", "--steps", 2, "-o", "out")
    done = onnxvis(*words, "--filter", "0-3", "--batch", 2, cwd=net)
    assert done.returncode == 0, done.stderr
    assert "no gradient at any start, or not finite: filter 0, 2" in done.stdout
    assert sorted(path.name for path in (net / "out").glob("?.png")) == ["1.png", "3.png"]
    alone = onnxvis(*words, "--filter", "0,2", "--batch", 2, cwd=net)
    assert "no gradient at any start, or not finite: filter 0, 2" in alone.stdout


def test_an_interrupted_batch_keeps_what_is_there(
    net: Path, onnxvis: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxvis.maximize import _Loop  # noqa: PLC0415 - where Ctrl-C arrives

    step, calls = _Loop._step, []

    def interrupted(self: _Loop, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        step(self, *arguments)

    monkeypatch.setattr(_Loop, "_step", interrupted)
    words = ("visualize", "net.onnx", "--node", "conv2", "--filter", "0-5", "--batch", 2, "--steps", 5, "-o", "out")
    done = onnxvis(*words, cwd=net)
    assert done.returncode == 130
    assert sorted(path.name for path in (net / "out").glob("?.png")) == ["0.png", "1.png", "2.png", "3.png"]
    assert read_png(net / "out" / "0.png")[1]["interrupted"] is False
    assert read_png(net / "out" / "3.png")[1]["interrupted"] is True
    assert (net / "out" / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--filter", "0-2", "-o", "a.png"), "give -o a folder"),
        (("--filter", "0-2", "--filter", "4"), "stands alone"),
        (("--filter", "0-9"), "Filter 6 is out of range: 'conv2' has 6 filters"),
        (("--filter", "0-2", "--animation", "a.gif"), "are of one picture"),
        (("--filter", "1", "--animation", "a.mp4"), ".gif"),
        (("--filter", "1", "--history", "a.txt"), ".json"),
        (("--filter", "1", "--minimize", "--reach", "2"), "contradict"),
        (("--filter", "1", "--backprop", "guiding"), "guided"),
        (("--filter", "1", "--gradient-modifier", "half"), "small_values"),
        (("--filter", "1", "--gradient-modifier", "negate", "--reach", "1"), "has no opposite"),
        (("--filter", "1", "--neuron", "9,9"), "give 2 numbers below 8, 8"),
        (("--filter", "1", "--input", "image"), "NAME=FILE.npy"),
        (("--filter", "1", "-o", "a.jpg"), ".npy"),
    ],
)
def test_requests_that_cannot_be_are_one_line(
    net: Path, onnxvis: Callable[..., Done], words: tuple[str, ...], reason: str
) -> None:
    line = error_line(onnxvis("visualize", "net.onnx", "--node", "conv2", "--steps", 1, *words, cwd=net))
    assert reason in line
    assert not list(net.glob("*.png"))
    assert not list(net.glob("net-*"))


def test_a_backward_pass_without_rectifiers_is_an_error(net: Path, onnxvis: Callable[..., Done]) -> None:
    line = error_line(onnxvis("visualize", "net.onnx", "--node", "conv1", "--backprop", "guided", cwd=net))
    assert "Relu" in line


def test_animation_and_history_are_written_beside_the_picture(net: Path, onnxvis: Callable[..., Done]) -> None:
    words = ("visualize", "net.onnx", "--node", "conv2", "--filter", 1, "--steps", 4, "-o", "a.png")
    done = onnxvis(*words, "--animation", "a.webp", "--history", "a.json", cwd=net)
    assert done.returncode == 0, done.stderr
    assert "a.png, a.webp, a.json (16x16, 4 steps" in done.stdout
    assert len(json.loads((net / "a.json").read_text())["activation"]) == 4
    with Image.open(net / "a.webp") as image:
        assert image.n_frames == 5  # type: ignore[attr-defined] # of animated pictures: the last is the result


def test_replay_says_whether_it_is_the_same(net: Path, onnxvis: Callable[..., Done]) -> None:
    onnxvis("visualize", "net.onnx", "--node", "conv2", "--filter", 1, "--steps", 4, "-o", "a.png", cwd=net)
    done = onnxvis("replay", "a.png", "net.onnx", cwd=net)
    assert done.returncode == 0, done.stderr
    assert "replay      the same bits" in done.stdout
    first, again = (read_png(net / name) for name in ("a.png", "a-replay.png"))
    assert np.array_equal(np.asarray(first[0]), np.asarray(again[0]))
    assert first[1]["recipe"] == again[1]["recipe"]
    quiet = onnxvis("replay", "a.png", "net.onnx", "-q", cwd=net)
    assert quiet.stdout == "a-replay.png\n"
    onnx.save(conv_net(w1=np.ones((4, 3, 3, 3), np.float32)), net / "other.onnx")
    changed = onnxvis("replay", "a.png", "other.onnx", "-o", "b.png", cwd=net)
    assert changed.returncode == 1
    assert "the model has changed: other.onnx is not the file" in changed.stdout
    assert "replay      not the same bits" in changed.stdout


def test_every_goal_is_reached_from_the_command_line(net: Path, onnxvis: Callable[..., Done]) -> None:
    words = ("visualize", "net.onnx", "--node", "conv2", "--filter", 1, "--steps", 40, "--neuron", "center")
    found = {}
    for name, more in {"up": (), "down": ("--minimize",), "reach": ("--reach", 0.1)}.items():
        done = onnxvis(*words, *more, "-o", f"{name}.png", cwd=net)
        assert done.returncode == 0, done.stderr
        found[name] = read_png(net / f"{name}.png")[1]["measured"]["activation"]
    assert found["down"] < found["reach"] < found["up"]
    assert found["reach"] == pytest.approx(0.1, abs=0.02)


def test_a_value_that_is_not_reached_is_said(net: Path, onnxvis: Callable[..., Done]) -> None:
    words = ("visualize", "net.onnx", "--node", "conv2", "--filter", 1, "--steps", 4, "-o", "a.png")
    assert "100 was not reached: try more --steps" in onnxvis(*words, "--reach", 100, cwd=net).stdout
    assert "was not reached" not in onnxvis(*words, cwd=net).stdout
