"""keras-vis's activation maximization on ONNX models, number for number: its functions, its settings, its quirks.

What keras-vis (https://github.com/raghakot/keras-vis, version 0.5) computed comes out here, by the same optimizer as
everything else. An ONNX model stands where Keras's model or its input tensor stood. `onnxvis.visualize` does the same
job without the quirks; docs/from-keras-vis.md tells what they are.

All arrays that users see, seeds and results and what callbacks and modifiers get, are channels last, as in Keras.
"""

from onnxvis.keras_vis.activation import visualize_activation, visualize_activation_with_losses
from onnxvis.keras_vis.arrays import deprocess_input, draw_text, load_img, random_array, stitch_images
from onnxvis.keras_vis.callbacks import GifGenerator, OptimizerCallback, Print
from onnxvis.keras_vis.layers import find_layer_idx, find_logits
from onnxvis.keras_vis.losses import ActivationMaximization, LPNorm, TotalVariation
from onnxvis.keras_vis.modifiers import InputModifier, Jitter
from onnxvis.keras_vis.optimizer import Optimizer
from onnxvis.losses import Loss

__all__ = [
    "ActivationMaximization",
    "GifGenerator",
    "InputModifier",
    "Jitter",
    "LPNorm",
    "Loss",
    "Optimizer",
    "OptimizerCallback",
    "Print",
    "TotalVariation",
    "deprocess_input",
    "draw_text",
    "find_layer_idx",
    "find_logits",
    "load_img",
    "random_array",
    "stitch_images",
    "visualize_activation",
    "visualize_activation_with_losses",
]
