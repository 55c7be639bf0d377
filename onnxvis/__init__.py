"""See what the units of an ONNX model look for."""

from onnxvis.api import to_torch
from onnxvis.callbacks import Animation, History
from onnxvis.errors import OnnxvisError
from onnxvis.figures import history_plot
from onnxvis.images import Fourier, Pixel
from onnxvis.losses import ActivationMaximization, Loss, LpNorm, Objective, Scene, TotalVariation
from onnxvis.maximize import Step
from onnxvis.model import Model, load
from onnxvis.recipe import Recipe
from onnxvis.replay import Replay, replay
from onnxvis.result import Result, VisualizationInterrupted
from onnxvis.sheets import contact_sheet
from onnxvis.transforms import Invertible, Jitter, RandomAffine
from onnxvis.verify import Verification, verify
from onnxvis.visualize import visualize, visualize_filters

__all__ = [
    "ActivationMaximization",
    "Animation",
    "Fourier",
    "History",
    "Invertible",
    "Jitter",
    "Loss",
    "LpNorm",
    "Model",
    "Objective",
    "OnnxvisError",
    "Pixel",
    "RandomAffine",
    "Recipe",
    "Replay",
    "Result",
    "Scene",
    "Step",
    "TotalVariation",
    "Verification",
    "VisualizationInterrupted",
    "contact_sheet",
    "history_plot",
    "load",
    "replay",
    "to_torch",
    "verify",
    "visualize",
    "visualize_filters",
]
