"""See what the units of an ONNX model look for, and whether a file still holds the network that it should.

Names are imported when they are first used: who only asks for one of them does not wait for torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxvis.api import to_torch
    from onnxvis.assess import Assessment
    from onnxvis.baseline import Baseline
    from onnxvis.baseline import record as record_baseline
    from onnxvis.callbacks import Animation, History, Strip
    from onnxvis.check import check
    from onnxvis.config import CheckSettings, Config, DiffSettings
    from onnxvis.cppn import Cppn
    from onnxvis.diff import Difference, diff
    from onnxvis.distortions import Blur, ColorShift, Noise
    from onnxvis.errors import OnnxvisError
    from onnxvis.figures import history_plot
    from onnxvis.frames import Crop, Pad
    from onnxvis.groups import Alignment, Diversity, Interpolation, Tuning
    from onnxvis.images import Fourier, Pixel
    from onnxvis.judges import Judge
    from onnxvis.laplacian import Laplacian
    from onnxvis.losses import ActivationMaximization, Loss, LpNorm, Objective, Scene, TotalVariation
    from onnxvis.maco import Maco
    from onnxvis.maximize import Step
    from onnxvis.model import Model, load
    from onnxvis.objectives import DeepDream, Direction, Head, Margin
    from onnxvis.outcomes import CheckReport, Detail, ModelReport, Outcome
    from onnxvis.photos import photo_statistics
    from onnxvis.recipe import Recipe
    from onnxvis.references import Caricature, Nearness, PixelDistance
    from onnxvis.replay import Replay, replay
    from onnxvis.result import Result, VisualizationInterrupted
    from onnxvis.sheets import contact_sheet
    from onnxvis.strips import strip
    from onnxvis.transforms import Invertible, Jitter, RandomAffine
    from onnxvis.variations import Variation
    from onnxvis.verify import Verification, verify
    from onnxvis.views import Box, Flip, Rotate, Scale
    from onnxvis.visualize import visualize, visualize_filters, visualize_variations
    from onnxvis.workers import check_models

__all__ = [
    "ActivationMaximization",
    "Alignment",
    "Animation",
    "Assessment",
    "Baseline",
    "Blur",
    "Box",
    "Caricature",
    "CheckReport",
    "CheckSettings",
    "ColorShift",
    "Config",
    "Cppn",
    "Crop",
    "DeepDream",
    "Detail",
    "DiffSettings",
    "Difference",
    "Direction",
    "Diversity",
    "Flip",
    "Fourier",
    "Head",
    "History",
    "Interpolation",
    "Invertible",
    "Jitter",
    "Judge",
    "Laplacian",
    "Loss",
    "LpNorm",
    "Maco",
    "Margin",
    "Model",
    "ModelReport",
    "Nearness",
    "Noise",
    "Objective",
    "OnnxvisError",
    "Outcome",
    "Pad",
    "Pixel",
    "PixelDistance",
    "RandomAffine",
    "Recipe",
    "Replay",
    "Result",
    "Rotate",
    "Scale",
    "Scene",
    "Step",
    "Strip",
    "TotalVariation",
    "Tuning",
    "Variation",
    "Verification",
    "VisualizationInterrupted",
    "check",
    "check_models",
    "contact_sheet",
    "diff",
    "history_plot",
    "load",
    "photo_statistics",
    "record_baseline",
    "replay",
    "strip",
    "to_torch",
    "verify",
    "visualize",
    "visualize_filters",
    "visualize_variations",
]

_HOMES = {
    "ActivationMaximization": ("losses", "ActivationMaximization"),
    "Alignment": ("groups", "Alignment"),
    "Animation": ("callbacks", "Animation"),
    "Assessment": ("assess", "Assessment"),
    "Baseline": ("baseline", "Baseline"),
    "Blur": ("distortions", "Blur"),
    "Box": ("views", "Box"),
    "Caricature": ("references", "Caricature"),
    "CheckReport": ("outcomes", "CheckReport"),
    "CheckSettings": ("config", "CheckSettings"),
    "ColorShift": ("distortions", "ColorShift"),
    "Config": ("config", "Config"),
    "Cppn": ("cppn", "Cppn"),
    "Crop": ("frames", "Crop"),
    "DeepDream": ("objectives", "DeepDream"),
    "Detail": ("outcomes", "Detail"),
    "DiffSettings": ("config", "DiffSettings"),
    "Difference": ("diff", "Difference"),
    "Direction": ("objectives", "Direction"),
    "Diversity": ("groups", "Diversity"),
    "Flip": ("views", "Flip"),
    "Fourier": ("images", "Fourier"),
    "Head": ("objectives", "Head"),
    "History": ("callbacks", "History"),
    "Interpolation": ("groups", "Interpolation"),
    "Invertible": ("transforms", "Invertible"),
    "Jitter": ("transforms", "Jitter"),
    "Judge": ("judges", "Judge"),
    "Laplacian": ("laplacian", "Laplacian"),
    "Loss": ("losses", "Loss"),
    "LpNorm": ("losses", "LpNorm"),
    "Maco": ("maco", "Maco"),
    "Margin": ("objectives", "Margin"),
    "Model": ("model", "Model"),
    "ModelReport": ("outcomes", "ModelReport"),
    "Nearness": ("references", "Nearness"),
    "Noise": ("distortions", "Noise"),
    "Objective": ("losses", "Objective"),
    "OnnxvisError": ("errors", "OnnxvisError"),
    "Outcome": ("outcomes", "Outcome"),
    "Pad": ("frames", "Pad"),
    "Pixel": ("images", "Pixel"),
    "PixelDistance": ("references", "PixelDistance"),
    "RandomAffine": ("transforms", "RandomAffine"),
    "Recipe": ("recipe", "Recipe"),
    "Replay": ("replay", "Replay"),
    "Result": ("result", "Result"),
    "Rotate": ("views", "Rotate"),
    "Scale": ("views", "Scale"),
    "Scene": ("losses", "Scene"),
    "Step": ("maximize", "Step"),
    "Strip": ("callbacks", "Strip"),
    "TotalVariation": ("losses", "TotalVariation"),
    "Tuning": ("groups", "Tuning"),
    "Variation": ("variations", "Variation"),
    "Verification": ("verify", "Verification"),
    "VisualizationInterrupted": ("result", "VisualizationInterrupted"),
    "check": ("check", "check"),
    "check_models": ("workers", "check_models"),
    "contact_sheet": ("sheets", "contact_sheet"),
    "diff": ("diff", "diff"),
    "history_plot": ("figures", "history_plot"),
    "load": ("model", "load"),
    "photo_statistics": ("photos", "photo_statistics"),
    "record_baseline": ("baseline", "record"),
    "replay": ("replay", "replay"),
    "strip": ("strips", "strip"),
    "to_torch": ("api", "to_torch"),
    "verify": ("verify", "verify"),
    "visualize": ("visualize", "visualize"),
    "visualize_filters": ("visualize", "visualize_filters"),
    "visualize_variations": ("visualize", "visualize_variations"),
}
"""Where each public name lives: its module, and its name there."""


class _Package(ModuleType):
    """A package whose functions are not hidden by the modules of the same name, once these are imported."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            message = f"module {self.__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        module, own = _HOMES[name]
        found = getattr(import_module(f"{self.__name__}.{module}"), own)
        super().__setattr__(name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
