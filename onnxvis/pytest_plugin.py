"""pytest --onnxvis: each check of each .onnx file is a test in pytest's own report.

Where no .onnx file is collected, nothing of onnxvis is imported but this module.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from onnxvis.config import CheckSettings, Config
    from onnxvis.outcomes import ModelReport, Outcome
    from onnxvis.workers import Workers

_WARNING = "onnxvis_warning"
"""The property of a test that holds a warning: it travels between processes, and into JUnit XML."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("onnxvis", "checks of ONNX models")
    group.addoption(
        "--onnxvis", action="store_true", help="Check the .onnx files that are named, or lie in folders that are."
    )
    group.addoption(
        "--onnxvis-config",
        metavar="FILE",
        help="Their settings. Default: onnxvis.toml or pyproject.toml here or above.",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ModelFile | None:
    """Collect .onnx files where that is asked."""
    if file_path.suffix != ".onnx" or not parent.config.getoption("--onnxvis"):
        return None
    return ModelFile.from_parent(parent, path=file_path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process in which models are checked."""
    bench = config.stash.get(_BENCH, None)
    if bench is not None:
        bench.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Say of a skipped check which model it is of: pytest would name the line in this module."""
    report = yield
    if isinstance(item, CheckItem) and report.skipped and isinstance(report.longrepr, tuple):
        report.longrepr = (item.nodeid, None, report.longrepr[2])
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the warnings: a test that has one passes."""
    lines = [
        f"{report.nodeid}: {text}"
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == _WARNING
    ]
    if lines:
        terminalreporter.section("onnxvis warnings")
        for line in lines:
            terminalreporter.line(line)


class ModelFile(pytest.File):
    """A model; the tests below it are its checks."""

    def collect(self) -> Iterable[CheckItem]:
        """Yield a test for each check that the settings ask for."""
        from onnxvis.config import chosen_checks  # noqa: PLC0415 - only where there is an .onnx file
        from onnxvis.errors import OnnxvisError  # noqa: PLC0415 - likewise

        try:
            chosen = chosen_checks(self.settings)
        except OnnxvisError as error:
            raise self.CollectError(error.message) from None
        for name in chosen:
            yield CheckItem.from_parent(self, name=name)

    @cached_property
    def settings(self) -> CheckSettings:
        """What the configuration says of this model."""
        return _bench(self.config).config.settings_for(self.path)

    @cached_property
    def report(self) -> ModelReport:
        """What all checks of this model that are run have found; they are done together, once."""
        from onnxvis.config import overridden  # noqa: PLC0415 - only where there is an .onnx file

        wanted = tuple(item.name for item in self.session.items if item.parent is self)
        settings = overridden(self.settings, only=wanted)
        (report,) = _bench(self.config).workers.check([(self.path, settings)])
        return report


class CheckItem(pytest.Item):
    """One check of one model."""

    parent: ModelFile

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if self.config.pluginmanager.hasplugin("xdist"):
            # With --dist loadgroup, as with loadfile, all checks of a model are in one process, which inspects it once.
            self.add_marker(pytest.mark.xdist_group(self.parent.nodeid))

    def runtest(self) -> None:
        """Report what the check has found."""
        outcome = self._outcome()
        if outcome.status == "skip":
            pytest.skip(outcome.text)
        fail_on = self.parent.settings.fail_on
        if not _is_good(outcome, fail_on):
            pytest.fail("\n".join(_lines(outcome)), pytrace=False)
        if outcome.status in {"warn", "fail"}:
            self.user_properties += [(_WARNING, line) for line in _lines(outcome)]

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the model's file."""
        return self.path, None, f"{self.parent.nodeid}: {self.name}"

    def _outcome(self) -> Outcome:
        """Return what the check has found; where the process did not survive it, that."""
        outcomes = {outcome.check: outcome for outcome in self.parent.report.outcomes}
        return outcomes[self.name] if self.name in outcomes else next(iter(outcomes.values()))


class _Bench:
    """What all models of a session share: the configuration and the process in which they are checked."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    @cached_property
    def config(self) -> Config:
        from onnxvis.config import Config  # noqa: PLC0415 - only where there is an .onnx file

        return Config.of(None if self._path is None else Path(self._path))

    @cached_property
    def workers(self) -> Workers:
        from onnxvis.workers import Workers  # noqa: PLC0415 - likewise

        return Workers(1)

    def close(self) -> None:
        if "workers" in self.__dict__:
            self.workers.close()


_BENCH = pytest.StashKey[_Bench]()


def _bench(config: pytest.Config) -> _Bench:
    return config.stash.setdefault(_BENCH, _Bench(config.getoption("--onnxvis-config")))


def _is_good(outcome: Outcome, fail_on: Any) -> bool:
    from onnxvis.outcomes import is_good  # noqa: PLC0415 - likewise

    return is_good(outcome.status, fail_on)


def _lines(outcome: Outcome) -> list[str]:
    """Return the text of an outcome, and what its details say besides."""
    from onnxvis.summaries import further  # noqa: PLC0415 - likewise

    return [outcome.text, *(f"{detail.status}: {detail.text}" for detail in further(outcome))]
