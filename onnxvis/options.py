"""The words of the command line: each option's type, spelling and help; its default stands in the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.")]
Pattern = Annotated[
    str | None,
    typer.Argument(metavar="PATTERN", help="Only names that contain this, or match it with * and ?."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Node = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The layer: a node, tensor or scope name, or Conv:3. Default: the first output."),
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="N|CLASS",
        help="A filter's number or class name; several are maximized together. 0-15,20 or all: one picture for each. "
        "Default: the whole tensor.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The PNG (or .npy) to write; for many pictures their folder. Default: MODEL-NODE-FILTER.png here.",
    ),
]
Steps = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Steps of the optimizer. Default: by the preset, mostly 256.")
]
LearningRate = Annotated[float | None, typer.Option(metavar="X", help="Size of a step. Default: by the preset.")]
Seed = Annotated[
    int, typer.Option(metavar="N", min=0, help="Of all random numbers: the same seed makes the same picture.")
]
SeedImage = Annotated[
    Path | None,
    typer.Option("--from", "--seed-image", metavar="FILE", help="A picture or .npy file to start from, not noise."),
]
Preset = Annotated[
    str,
    typer.Option(metavar="NAME", help="What chooses the settings: auto, keras-vis, lucid, maco, deepdream or fast."),
]
Objective = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="activation, margin (a class above all others), deepdream, direction or caricature (of --from). "
        "Default: by the preset.",
    ),
]
Direction = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A .npy file with a vector along the layer's filters: maximize that."),
]
Near = Annotated[str | None, typer.Option(metavar="NAME", help="A layer in which the picture stays near --from.")]
NearWeight = Annotated[float, typer.Option(metavar="X", help="How near.")]
Diversity = Annotated[int | None, typer.Option(metavar="N", help="So many pictures that differ from one another.")]
Seeds = Annotated[int | None, typer.Option(metavar="N", help="So many pictures of other seeds, and how they agree.")]
Interpolate = Annotated[
    int | None, typer.Option(metavar="N", help="So many pictures from the first of two filters to the second.")
]
Views = Annotated[
    int | None, typer.Option(metavar="N", help="Random views in each step. Default: by the preset, mostly 1.")
]
Spectrum = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Photos whose spectrum and colors the picture has (maco), or its colors."),
]
Transparency = Annotated[
    bool | None,
    typer.Option("--transparency/--opaque", help="Show in an alpha channel where the gradients were."),
]
Images = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Photos to compare the activation with.")]
Judge = Annotated[Path | None, typer.Option(metavar="MODEL", help="Another classifier: what does it call the picture?")]
JudgePreprocess = Annotated[
    str | None, typer.Option(metavar="NAME", help="How the judge wants pictures, as --preprocess.")
]
Neuron = Annotated[
    str | None,
    typer.Option(metavar="AT", help="One position instead of the mean over all: center, or Y,X."),
]
Token = Annotated[
    int | None,
    typer.Option(metavar="N", help="One token of a transformer's layer, from 0: the same as --neuron N."),
]
Minimize = Annotated[bool, typer.Option("--minimize", help="Make the activation as small as possible.")]
Reach = Annotated[
    str | None, typer.Option(metavar="X", help="Make the activation this number; X,Y,Z: a picture for each.")
]
Backprop = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Replace the backward pass of rectifiers: guided or deconvnet."),
]
GradientModifier = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="absolute, invert, relu, small_values, or negate (the same as --minimize)."),
]
Input = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=FILE", help="Hold another input at a .npy file or a number instead of zero."),
]
Patience = Annotated[
    int | None, typer.Option(metavar="N", help="Stop when the loss has hardly fallen over so many steps.")
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Pictures that are optimized at once. Default: what fits into memory."),
]
Animation = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the run as an animated .gif, .webp or .png, with step numbers."),
]
Strip = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture at steps 1, 2, 4... in a row.")]
History = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the losses before each step as .json, or as a .png figure.")
]
Picture = Annotated[Path, typer.Argument(metavar="PICTURE", help="A PNG that onnxvis wrote.")]
ReplayOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The PNG to write. Default: PICTURE-replay.png beside it."),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="224, HEIGHTxWIDTH, LENGTH or DxHxW, where the model leaves them open."),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="imagenet, caffe, tf, unit, raw255 or none. Default: as the file says, else a guess, which is printed.",
    ),
]
Range = Annotated[
    str | None,
    typer.Option("--range", metavar="LOW,HIGH", help="What black and white are before normalization."),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="X,X,X", help="Subtracted: one number, or one for each channel, in the model's order."),
]
Std = Annotated[str | None, typer.Option(metavar="X,X,X", help="Divided by, likewise.")]
Bgr = Annotated[bool | None, typer.Option("--bgr/--rgb", help="The order of the model's colors.")]
Layout = Annotated[
    str | None,
    typer.Option(metavar="AXES", help="The input's axes: NCHW, NHWC, NCW, NCDHW, NC... Default: as the graph shows."),
]
Wrt = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="The input to optimize, or several. Default: the first picture."),
]
ChannelAxis = Annotated[
    int | None,
    typer.Option(metavar="N", help="Where the layer's filters are, if the graph does not tell."),
]
Logits = Annotated[
    bool,
    typer.Option("--logits/--no-logits", help="Maximize the input of a softmax or sigmoid instead of its output."),
]
Parameterization = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="fourier, pixel, laplacian, maco or cppn. Default: by the preset."),
]
Jitter = Annotated[
    str | None,
    typer.Option(
        metavar="X",
        help="Roll the image by up to so many pixels (or a fraction of its size) instead of the default views.",
    ),
]
TvWeight = Annotated[float | None, typer.Option(metavar="X", help="Weight of the total variation: higher is smoother.")]
TvBeta = Annotated[float, typer.Option(metavar="X", help="Its exponent.")]
LpWeight = Annotated[float | None, typer.Option(metavar="X", help="Weight of the Lp norm: higher is greyer.")]
LpP = Annotated[float, typer.Option(metavar="X", help="Its exponent.")]
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="What half-precision models compute in: float32, or declared, where gradients can vanish."
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print a table of the losses.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the picture's path.")]
