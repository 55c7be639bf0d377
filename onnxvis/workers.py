"""Models checked in processes of their own: one that crashes its process, or never ends, takes no other along.

A process is given one model after the other, and replaced when it dies. Whatever happens, none is left in the end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch

from onnxvis.check import check
from onnxvis.config import CheckSettings
from onnxvis.crashes import crashed, late, raised, unstarted, untried
from onnxvis.outcomes import ModelReport

Task = tuple[Path, CheckSettings]
Work = Callable[[Path, CheckSettings], ModelReport]

_STDOUT, _STDERR = 1, 2
_STARTING = 120.0
"""Seconds in which a process takes its model: it may have to import torch from a slow disk first."""


def check_models(
    paths: Iterable[Path],
    settings_for: Callable[[Path], CheckSettings],
    *,
    jobs: int = 1,
    timeout: float | None = None,
    fresh: bool = False,
    done: Callable[[ModelReport], None] | None = None,
) -> tuple[ModelReport, ...]:
    """Check models, each out of reach of the others.

    Args:
        paths: The files.
        settings_for: Gives the settings of each file, before the first is checked.
        jobs: How many are checked side by side; 0: as many as there are cores. They share the cores.
        timeout: Seconds that each may take; None: what its settings say.
        fresh: Whether this process has computed nothing yet, so that starting others takes no time: see `start_method`.
        done: Called with each report as soon as it is there.

    Returns:
        tuple: One report for each path, in their order. Where a process died or ran out of time it has one outcome,
            of the check `process`.
    """
    tasks = [(path, settings_for(path)) for path in paths]
    wanted = jobs if jobs > 0 else cores()
    with Workers(min(wanted, len(tasks)), fresh=fresh) as workers:
        return workers.check(tasks, timeout=timeout, done=done)


def start_method(*, fresh: bool) -> Literal["fork", "spawn"]:
    """Return how processes are started here.

    A fork takes milliseconds, while a process started anew imports torch and onnxruntime again, for seconds. But the
    threads in which these compute do not survive a fork, and the locks that they hold are never opened again: so only
    a process that has computed nothing yet is forked, and only on Linux, whose system libraries bear it.

    Args:
        fresh: Whether this process has computed nothing yet.
    """
    is_alone = threading.active_count() == 1
    return "fork" if fresh and is_alone and sys.platform == "linux" else "spawn"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = os.cpu_count()
    return 1 if count is None else count


def _threads(count: int) -> int:
    """Return how many threads each of some processes has: its share of the cores, and no more than the user allows."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores() // count)
    return min(share, max(1, int(allowed))) if allowed.isdecimal() else share


class Workers:
    """Processes that check models; a context manager that leaves none behind.

    Args:
        count: How many; they share the cores.
        fresh: As `start_method` takes it.
        work: What is done with each model. It can be pickled.
    """

    def __init__(self, count: int, *, fresh: bool = False, work: Work = check) -> None:
        self.count = count
        self._context = multiprocessing.get_context(start_method(fresh=fresh))
        self._work = work
        self._workers: list[_Worker] = []
        self._logs = tempfile.TemporaryDirectory(prefix="onnxvis-")
        self._started = 0
        self._has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes at once."""
        for worker in list(self._workers):
            self._end(worker)
        self._logs.cleanup()

    def check(
        self,
        tasks: Sequence[Task],
        *,
        timeout: float | None = None,
        done: Callable[[ModelReport], None] | None = None,
    ) -> tuple[ModelReport, ...]:
        """Check models; processes that are still there afterwards serve the next call too.

        Args:
            tasks: The files, and the settings of each.
            timeout: Seconds that each may take; None: what its settings say.
            done: Called with each report as soon as it is there.
        """
        waiting = deque(enumerate(tasks))
        reports: dict[int, ModelReport] = {}
        try:
            while len(reports) < len(tasks):
                self._hand_out(waiting, timeout)
                for index, report in self._news(waiting):
                    reports[index] = report
                    if done is not None:
                        done(report)
        finally:
            # After Ctrl-C some are in the middle of a model that nobody waits for any more.
            for worker in [worker for worker in self._workers if worker.is_busy]:
                self._end(worker)
        return tuple(reports[index] for index in range(len(tasks)))

    def _news(self, waiting: deque[tuple[int, Task]]) -> Iterator[tuple[int, ModelReport]]:
        """Yield the reports that are there by now; all that are left where no process starts."""
        for worker in self._stirring():
            index, report = worker.index, self._collect(worker, waiting)
            if report is not None:
                yield index, report
            if report is not None and not self._has_begun:
                yield from self._given_up(waiting, report.model)
                return

    def _hand_out(self, waiting: deque[tuple[int, Task]], timeout: float | None) -> None:
        """Give each idle process a model, and start more of them while there are models left."""
        while waiting:
            idle = [worker for worker in self._workers if not worker.is_busy]
            if not idle and len(self._workers) == self.count:
                return
            worker = idle[0] if idle else self._start()
            worker.give(*waiting.popleft(), timeout)

    def _stirring(self) -> list[_Worker]:
        """Wait until a process says something, dies, or runs out of time, and return all that do."""
        busy = {worker.connection: worker for worker in self._workers if worker.is_busy}
        nearest = min(worker.deadline for worker in busy.values())
        left = None if math.isinf(nearest) else max(0.0, nearest - time.monotonic())
        ready = wait(list(busy), left)
        return [worker for worker in busy.values() if worker.connection in ready or worker.is_late]

    def _given_up(self, waiting: deque[tuple[int, Task]], first: str) -> list[tuple[int, ModelReport]]:
        """Report all models that are left: no process starts, and another one would not either."""
        for worker in [worker for worker in self._workers if worker.is_busy]:
            waiting.append((worker.index, worker.task))
            self._end(worker)
        left = [(index, untried(path, first)) for index, (path, _) in waiting]
        waiting.clear()
        return left

    def _collect(self, worker: _Worker, waiting: deque[tuple[int, Task]]) -> ModelReport | None:
        """Take what a process has to say; None: no report yet."""
        path, _ = worker.task
        try:
            if not worker.connection.poll():
                self._end(worker)
                if worker.has_begun:
                    return late(path, worker.limit, worker.seconds)
                return unstarted(path, None, worker.seconds)
            report: ModelReport | None = worker.connection.recv()
        except (EOFError, OSError):
            # It has closed the pipe, and so is about to end.
            worker.process.join()
            self._end(worker)
            if not worker.is_used and not worker.has_begun:
                return unstarted(path, worker.process.exitcode, worker.seconds)
            if not worker.is_used:
                return crashed(path, worker.process.exitcode, worker.log, worker.seconds)
            # What an earlier model broke is not this one's fault: it is tried again in a new process.
            waiting.appendleft((worker.index, worker.task))
            return None
        if report is None:
            worker.begin()
            self._has_begun = True
        else:
            worker.is_busy, worker.is_used = False, True
        return report

    def _start(self) -> _Worker:
        self._started += 1
        log = Path(self._logs.name) / f"{self._started}.txt"
        ours, theirs = self._context.Pipe()
        threads = _threads(self.count)
        arguments = (theirs, log, threads, self._work)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined] # each has it
        with _interrupts_held(), warnings.catch_warnings():
            # Python warns of forks beside any thread; those that NumPy starts when it is imported do survive them.
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
            process.start()
            theirs.close()
            worker = _Worker(process, ours, log)
            self._workers.append(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


class _Worker:
    """A process, and what it is doing.

    Args:
        process: The process.
        connection: The end of the pipe on this side.
        log: The file in which all lands that it prints.
    """

    def __init__(self, process: BaseProcess, connection: Connection, log: Path) -> None:
        self.process = process
        self.connection = connection
        self.log = log
        self.is_busy = self.is_used = self.has_begun = False
        self.index = 0
        self.task: Task = (Path(), CheckSettings())
        self.limit = self.deadline = math.inf
        self._began = 0.0

    @property
    def is_late(self) -> bool:
        """Whether the time of its model is up."""
        return time.monotonic() >= self.deadline

    @property
    def seconds(self) -> float:
        """How long it has had its model."""
        return time.monotonic() - self._began

    def give(self, index: int, task: Task, timeout: float | None) -> None:
        """Hand a model over; a process that has died meanwhile is found out when it is listened to."""
        with contextlib.suppress(OSError):
            self.connection.send(task)
        self.is_busy, self.has_begun, self.index, self.task = True, False, index, task
        limit = task[1].timeout if timeout is None else timeout
        self.limit = math.inf if limit is None else limit
        self._began = time.monotonic()
        self.deadline = self._began + _STARTING

    def begin(self) -> None:
        """Start the clock: what the process itself needed is not the model's time."""
        self.has_begun = True
        self._began = time.monotonic()
        self.deadline = self._began + self.limit


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from a process until it can ignore it, and from its parent until that can end the process.

    A mask is of one thread alone, and whichever other receives the signal has Python interrupt the main one: so that is
    held too.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    told: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if told:
            os.kill(os.getpid(), signal.SIGINT)


def _serve(connection: Connection, log: Path, threads: int, work: Work) -> None:
    """Check models until there are no more: what a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # What libraries print belongs to no report.
    written = log.open("w", encoding="utf-8", buffering=1)
    for number in (_STDOUT, _STDERR):
        os.dup2(written.fileno(), number)
    sys.stdout = sys.stderr = written
    faulthandler.enable(_STDERR, all_threads=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    while True:
        path, settings = connection.recv()
        connection.send(None)
        connection.send_bytes(_answer(path, settings, work))


def _end_with_parent() -> None:
    """Leave when the parent is gone, however it went: nobody waits for a report any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(path: Path, settings: CheckSettings, work: Work) -> bytes:
    """Return the pickled report of a model."""
    began = time.perf_counter()
    try:
        return pickle.dumps(work(path, settings))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other models are checked
        return pickle.dumps(raised(path, error, time.perf_counter() - began))
