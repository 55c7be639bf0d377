"""See what the units of an ONNX model look for."""

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
