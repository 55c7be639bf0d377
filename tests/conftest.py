"""What all tests share: one thread each, reproducible hypotheses, and the models that may lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)  # the tests run side by side already, and one thread adds up in one order
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow tests first, so that all workers end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and photos beside the repository; without it the test is skipped."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the models and photos of ../shared, which are no part of the repository")
    return folder


@pytest.fixture(scope="session")
def shared_models(shared: Path) -> Path:
    """The folder of real exported models."""
    folder = shared / "models"
    if not folder.is_dir():
        pytest.skip("needs the models of ../shared/models, which are no part of the repository")
    return folder
