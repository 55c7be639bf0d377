from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxvis import workers
from onnxvis.config import CheckSettings
from onnxvis.outcomes import ModelReport, Outcome
from onnxvis.workers import Task, Work, Workers, check_models, cores, start_method

ROOT = Path(__file__).parents[1]
TEXTURES = ROOT / "samples" / "textures.onnx"
PROMPT = CheckSettings(timeout=0.5)


def work(path: Path, settings: CheckSettings) -> ModelReport:
    """Do what the name of the model says."""
    name = path.name.partition("-")[0]
    if name == "sleep":
        time.sleep(60)
    if name == "raise":
        message = "nobody\nthought of this"
        raise RuntimeError(message)
    if name == "exit":
        os._exit(3)
    if name == "abort":
        os.abort()
    if name == "segfault":
        faulthandler._sigsegv()  # type: ignore[attr-defined] # what the standard library tests itself with
    if name == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    if name == "print":
        os.write(1, b"printed\n")
        sys.stderr.write("printed\n")
    return ModelReport(str(path), (Outcome("load", "pass", f"in {os.getpid()}, seed {settings.seed}"),))


def second(path: Path, settings: CheckSettings) -> ModelReport:
    """Die over the second model that one process is given."""
    if os.environ.get("ONNXVIS_TEST_SECOND"):
        os.abort()
    os.environ["ONNXVIS_TEST_SECOND"] = "1"
    return work(path, settings)


def tasks(*names: str, settings: CheckSettings | None = None) -> list[Task]:
    return [(Path(name), CheckSettings() if settings is None else settings) for name in names]


def checked(*names: str, count: int = 1, settings: CheckSettings | None = None, do: Work = work) -> list[Outcome]:
    """Return the one outcome of each model, from forks: nothing of torch runs in them."""
    with Workers(count, fresh=True, work=do) as workers:
        reports = workers.check(tasks(*names, settings=settings))
    assert [report.model for report in reports] == list(names)
    return [outcome for report in reports for outcome in report.outcomes]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the threads of the test runner, which only wait."""
    monkeypatch.setattr("threading.active_count", lambda: 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("abort", "crashed by signal 6 (SIGABRT); other models are not concerned: --only NAME tells"),
        ("segfault", "crashed by signal 11 (SIGSEGV); other models"),
        ("memory", "crashed by signal 9 (SIGKILL), as Linux ends what takes too much memory; other"),
        ("exit", "its process ended with exit status 3 before there was a report; other models"),
        ("raise", "could not be checked: RuntimeError: nobody thought of this"),
    ],
)
def test_a_model_that_ends_its_process_is_reported_and_the_others_finish(name: str, text: str) -> None:
    first, bad, last = checked("a", name, "b")
    assert (bad.check, bad.status) == ("process", "error")
    assert bad.text.startswith(text)
    assert (first.status, last.status) == ("pass", "pass")


def test_the_line_in_which_a_process_crashed_is_told() -> None:
    (outcome,) = checked("segfault")
    assert [(item.status, item.text) for item in outcome.details] == [
        ("error", f"Fatal Python error: Segmentation fault, in work (test_workers.py, line {_line_of('_sigsegv()')})")
    ]
    (without,) = checked("memory")
    assert without.details == ()


def _line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if f"faulthandler.{text}" in line)


def test_a_model_that_never_ends_runs_out_of_time() -> None:
    began = time.monotonic()
    slow, good = checked("sleep", "a", settings=PROMPT)
    assert (slow.check, slow.status) == ("process", "error")
    assert slow.text == "did not finish in 0.5 s: raise timeout, or skip what takes long"
    assert 0.5 <= slow.seconds < 2
    assert good.status == "pass"
    assert time.monotonic() - began < 10


def test_a_timeout_that_is_given_counts_before_the_settings() -> None:
    with Workers(1, fresh=True, work=work) as workers:
        (report,) = workers.check(tasks("sleep", settings=CheckSettings(timeout=1000)), timeout=0.25)
    assert report.outcomes[0].text.startswith("did not finish in 0.25 s")


def test_the_clock_does_not_run_while_a_model_waits() -> None:
    assert [item.status for item in checked("sleep-1", "sleep-2", "a", settings=PROMPT)] == ["error", "error", "pass"]


def test_reports_come_in_the_order_of_the_models() -> None:
    names = [f"{index}-{word}" for index in range(12) for word in ("a", "b")]
    assert [item.status for item in checked(*names, count=3)] == ["pass"] * 24


def test_models_are_checked_side_by_side() -> None:
    began = time.monotonic()
    checked(*(f"sleep-{index}" for index in range(4)), count=4, settings=PROMPT)
    assert time.monotonic() - began < 4 * 0.5


def test_one_process_serves_many_models() -> None:
    outcomes = checked("a", "b", "c")
    assert len({outcome.text for outcome in outcomes}) == 1
    assert str(os.getpid()) not in outcomes[0].text


def test_what_an_earlier_model_broke_is_tried_again() -> None:
    outcomes = checked("a", "b", "c", do=second)
    assert [outcome.status for outcome in outcomes] == ["pass"] * 3
    assert len({outcome.text for outcome in outcomes}) == 3


def test_a_process_that_died_between_two_calls_is_replaced() -> None:
    with Workers(1, fresh=True, work=work) as workers:
        workers.check(tasks("a"))
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        (report,) = workers.check(tasks("b"))
    assert report.status == "pass"


def test_what_a_model_prints_stays_out_of_the_report(capfd: pytest.CaptureFixture[str]) -> None:
    assert [outcome.status for outcome in checked("print", "segfault")] == ["pass", "error"]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_each_report_is_told_as_soon_as_it_is_there() -> None:
    told: list[str] = []
    with Workers(2, fresh=True, work=work) as workers:
        workers.check(tasks("sleep", "a", "b", settings=PROMPT), done=lambda report: told.append(report.model))
    assert told == ["a", "b", "sleep"]


def test_settings_are_asked_for_each_model_before_any_is_checked(tmp_path: Path) -> None:
    def refuse(path: Path) -> CheckSettings:
        raise ValueError(path.name)

    with pytest.raises(ValueError, match="b"):
        check_models([tmp_path / "b"], refuse, fresh=True)


def test_an_interrupt_is_left_to_the_parent() -> None:
    (outcome,) = checked("interrupt")
    assert outcome.status == "pass"


@pytest.mark.parametrize(("jobs", "models", "count"), [(1, 5, 1), (4, 5, 4), (4, 2, 2), (0, 5, 3)])
def test_there_are_no_more_processes_than_models_and_as_many_as_cores_if_that_is_left_open(
    monkeypatch: pytest.MonkeyPatch, jobs: int, models: int, count: int
) -> None:
    started: list[int] = []

    class Counted(Workers):
        def __init__(self, count: int, *, fresh: bool = False, **_: Any) -> None:
            started.append(count)
            super().__init__(count, fresh=fresh, work=work)

    monkeypatch.setattr("onnxvis.workers.cores", lambda: 3)
    monkeypatch.setattr("onnxvis.workers.Workers", Counted)
    paths = [Path(str(index)) for index in range(models)]
    reports = check_models(paths, lambda _: CheckSettings(), jobs=jobs, fresh=True)
    assert [report.model for report in reports] == list(map(str, paths))
    assert started == [count]


def test_no_models_are_no_reports() -> None:
    assert check_models([], lambda _: CheckSettings()) == ()


def test_only_a_fresh_process_on_linux_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert start_method(fresh=True) == "fork"
    assert start_method(fresh=False) == "spawn"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert start_method(fresh=True) == "spawn"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("threading.active_count", lambda: 2)
    assert start_method(fresh=True) == "spawn"


def test_a_process_that_starts_anew_survives_the_same() -> None:
    began = time.monotonic()
    with Workers(1, work=work) as workers:
        reports = workers.check(tasks("a", "segfault", "b", settings=CheckSettings(timeout=0.5, seed=7)))
    assert [report.status for report in reports] == ["pass", "error", "pass"]
    assert "SIGSEGV" in reports[1].outcomes[0].text
    assert "seed 7" in reports[0].outcomes[0].text
    # The seconds in which it imports torch are not the model's.
    assert time.monotonic() - began > 0.5


def test_there_is_at_least_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxvis.workers.cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for count, share in ((1, 6), (2, 3), (4, 1), (8, 1)):
        with Workers(count, fresh=True, work=threads) as workers:
            (report,) = workers.check(tasks("a"))
        assert report.model == str(share)


def threads(_path: Path, _settings: CheckSettings) -> ModelReport:
    import torch  # noqa: PLC0415 - in the process that is asked

    return ModelReport(str(torch.get_num_threads()), ())


def stillborn(*_: Any) -> None:
    """Die at once, or hang: what a process does that reads a script without a guard, or waits for a lock."""
    if os.environ["ONNXVIS_TEST_START"] == "hang":
        time.sleep(60)
    os._exit(1)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("start", "told"), [("die", "its process ended before"), ("hang", "its process hung for ")])
def test_a_process_that_does_not_start_is_told_once_and_started_once(
    monkeypatch: pytest.MonkeyPatch, start: str, told: str, count: int
) -> None:
    monkeypatch.setenv("ONNXVIS_TEST_START", start)
    monkeypatch.setattr("onnxvis.workers._STARTING", 0.3)
    monkeypatch.setattr("onnxvis.workers._serve", stillborn)
    began = time.monotonic()
    outcomes = checked("a", "b", "c", "d", count=count)
    (first,) = (item for item in outcomes if item.text.startswith(told))
    assert "__name__" in first.text
    rest = {item.text for item in outcomes if item is not first}
    assert rest <= {"not checked: no process starts here, see a", "not checked: no process starts here, see b"}
    assert time.monotonic() - began < 3


def test_a_script_without_a_guard_ends_with_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = "check_models(map(Path, 'abc'), lambda _: CheckSettings())"
    script.write_text(
        "from pathlib import Path\nfrom onnxvis.config import CheckSettings\nfrom onnxvis.workers import check_models\n"
        f"for report in {call}:\n    print(report.outcomes[0].text)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    first, *rest = done.stdout.splitlines()
    assert "guard what calls onnxvis" in first
    assert rest == ["not checked: no process starts here, see a"] * 2


SCRIPT = """
import sys
from pathlib import Path
from onnxvis.config import CheckSettings
from onnxvis.workers import Workers
from tests.test_workers import work

with Workers(2, fresh=True, work=work) as workers:
    workers.check([(Path("a"), CheckSettings())], done=lambda report: print(report.outcomes[0].text, flush=True))
    workers.check([(Path(name), CheckSettings()) for name in ("a", "sleep-1", "sleep-2")],
                  done=lambda report: print(report.outcomes[0].text, flush=True))
"""


@pytest.mark.parametrize(
    ("number", "to"),
    [(signal.SIGINT, os.killpg), (signal.SIGKILL, os.kill)],
    ids=["Ctrl-C on a terminal", "killed"],
)
def test_however_a_run_ends_no_process_is_left(
    number: signal.Signals, to: Callable[[int, int], None], tmp_path: Path
) -> None:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # What is killed leaves its logs.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, start_new_session=True, **pipes)
    assert run.stdout is not None
    told = [run.stdout.readline(), run.stdout.readline()]
    assert all(line.startswith("in ") for line in told)
    time.sleep(0.2)
    to(run.pid, number)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == -number
    assert errors.count("Traceback") == (number == signal.SIGINT)
    deadline = time.monotonic() + 5
    while _group(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _group(run.pid) == []


def _group(leader: int) -> list[int]:
    """Return the processes of a group that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize(("allowed", "threads"), [("1", 1), ("1000", 2), ("", 2), ("many", 2), ("0", 1)])
def test_no_process_has_more_threads_than_the_user_allows(
    allowed: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert workers._threads(2) == threads
