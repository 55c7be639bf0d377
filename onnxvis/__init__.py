"""See what the units of an ONNX model look for."""

from onnxvis.api import to_torch
from onnxvis.errors import OnnxvisError
from onnxvis.images import Fourier, Pixel
from onnxvis.losses import ActivationMaximization, Loss, LpNorm, Objective, Scene, TotalVariation
from onnxvis.model import Model, load
from onnxvis.recipe import Recipe
from onnxvis.result import Result, VisualizationInterrupted
from onnxvis.transforms import Jitter, RandomAffine
from onnxvis.verify import Verification, verify
from onnxvis.visualize import visualize

__all__ = [
    "ActivationMaximization",
    "Fourier",
    "Jitter",
    "Loss",
    "LpNorm",
    "Model",
    "Objective",
    "OnnxvisError",
    "Pixel",
    "RandomAffine",
    "Recipe",
    "Result",
    "Scene",
    "TotalVariation",
    "Verification",
    "VisualizationInterrupted",
    "load",
    "to_torch",
    "verify",
    "visualize",
]
