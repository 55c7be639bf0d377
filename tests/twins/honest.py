"""Re-exports that mean the same as their source: other operators, names, layouts, sizes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnxruntime as ort
from onnx import ModelProto

from tests.twins import conversions, layouts, rewrites
from tests.twins.edits import Rewrite, editing
from tests.twins.float16 import to_float16
from tests.twins.sources import (
    BLOBS,
    CIFAR,
    DEEPLAB,
    ESPCN,
    GREY,
    GTCRN,
    KERAS,
    MNIST,
    MOBILENET,
    RESIDUAL,
    SHUFFLENET,
    SHUFFLENET_INT8,
    SIGNALS,
    SQUEEZENET,
    TEXTURES,
    TEXTURES_INT8,
    TRUNK,
    VITTRACK,
    VOLUMES,
    YUNET,
    label,
    slug,
)
from tests.twins.torch_exports import exported_again


@dataclass(frozen=True)
class Honest:
    """A re-export that means the same.

    Attributes:
        name: Unique and readable.
        source: File name under samples/ or ../shared/models, or a key of `GENERATED`.
        kind: What was done.
        make: The twin of a source, which is left as it is.
        permuted: Whether channels inside come in another order.
        input_axes: For each input that is laid out differently, by its place: the source's axes in the twin's order.
        output_axes: The same of the outputs.
        tolerance: How far an output may be off, as a share of the largest of the source's.
        valid: Whether onnx's checker accepts the file: onnxruntime saves what it alone accepts.
    """

    name: str
    source: str
    kind: str
    make: Callable[[ModelProto], ModelProto]
    permuted: bool = False
    input_axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    output_axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    tolerance: float = 1e-4
    valid: bool = True

    @property
    def id(self) -> str:
        """The name without spaces."""
        return slug(self.name)


def _honest(source: str, kind: str, what: str, make: Callable[[ModelProto], ModelProto], **more: object) -> Honest:
    return Honest(name=f"{label(source)}: {what}", source=source, kind=kind, make=make, **more)  # type: ignore[arg-type]


def _edited(source: str, kind: str, what: str, *steps: Rewrite, **more: object) -> Honest:
    def rewrite(model: ModelProto) -> None:
        for step in steps:
            step(model)

    return _honest(source, kind, what, editing(rewrite), **more)


_LAST = {0: layouts.NHWC_OF_NCHW}
_BASIC, _EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED

_VERSIONS = {
    BLOBS: (18,),
    TEXTURES: (18, 20, 21),
    SIGNALS: (21,),
    VOLUMES: (20,),
    KERAS: (20,),
    SQUEEZENET: (11, 13, 18),
    CIFAR: (13, 17, 21),
    MNIST: (11, 13),
    SHUFFLENET: (13, 18),
    MOBILENET: (17, 20),
    YUNET: (13, 18),
    VITTRACK: (18,),
    DEEPLAB: (10,),
    GTCRN: (17,),
    ESPCN: (13,),
}
_BY_ONNXRUNTIME = {
    _BASIC: (TEXTURES, KERAS, SQUEEZENET, SHUFFLENET, MOBILENET, VITTRACK, YUNET, GTCRN, TEXTURES_INT8),
    _EXTENDED: (TEXTURES, KERAS, SIGNALS, VOLUMES, CIFAR, MNIST, MOBILENET, VITTRACK, ESPCN),
}
_BY_ONNXSCRIPT = (TEXTURES, KERAS, CIFAR, MOBILENET, VITTRACK, YUNET, RESIDUAL)
_EXPORTS = (
    (False, 11, True),
    (False, 17, True),
    (False, 20, False),
    (True, 18, True),
    (True, 20, True),
    (True, 21, True),
)
_FIRST_TWO = ("conv1_1", "fire2/squeeze1x1_1")  # of squeezenet: nobody else reads the first

HONEST: Sequence[Honest] = (
    *(
        _honest(source, "opset", f"opset {version}", conversions.at_opset(version))
        for source, versions in _VERSIONS.items()
        for version in versions
    ),
    # Its last number has steps of 1/255, and one step is what another rounding inside may cost.
    _honest(TEXTURES_INT8, "opset", "opset 21", conversions.at_opset(21), tolerance=5e-2),
    *(
        _honest(
            source,
            "onnxruntime",
            f"optimized by onnxruntime, {level.name}",
            conversions.optimized_by_onnxruntime(level),
            valid=level is _BASIC or source not in {MNIST, VITTRACK},
        )
        for level, sources in _BY_ONNXRUNTIME.items()
        for source in sources
    ),
    *(_honest(s, "onnxscript", "optimized by onnxscript", conversions.optimized_by_onnxscript) for s in _BY_ONNXSCRIPT),
    *(
        _honest(
            RESIDUAL,
            "exporter",
            f"{'dynamo' if dynamo else 'TorchScript'}, opset {version}{'' if folded else ', not folded'}",
            exported_again(dynamo=dynamo, version=version, folded=folded),
        )
        for dynamo, version, folded in _EXPORTS
    ),
    *(
        _edited(s, "folded", "batch normalization folded", rewrites.fold_batch_normalization)
        for s in (MOBILENET, TRUNK, RESIDUAL)
    ),
    _edited(MOBILENET, "rewritten", "batch normalization as Mul and Add", rewrites.multiply_and_add),
    _edited(TRUNK, "rewritten", "batch normalization as Mul and Add", rewrites.multiply_and_add),
    _edited(SQUEEZENET, "identity", "Dropout removed", conversions.drop_dropout),
    _edited(TEXTURES, "identity", "Identity everywhere", conversions.insert_identities),
    _edited(CIFAR, "identity", "Identity everywhere", conversions.insert_identities),
    *(
        _edited(s, "renamed", "all names replaced", conversions.rename_all)
        for s in (TEXTURES, KERAS, SIGNALS, SQUEEZENET, VITTRACK, YUNET)
    ),
    *(
        _edited(s, "reordered", "nodes in another order", conversions.reorder_nodes)
        for s in (SQUEEZENET, VITTRACK, YUNET)
    ),
    *(
        _edited(s, "constants", "initializers as Constant", conversions.constants_from_initializers)
        for s in (TEXTURES, SQUEEZENET)
    ),
    *(
        _edited(s, "constants", "Constant as initializers", conversions.initializers_from_constants)
        for s in (CIFAR, VITTRACK)
    ),
    *(
        _edited(s, "constants", "initializers among the inputs", conversions.list_initializers_as_inputs)
        for s in (CIFAR, GREY)
    ),
    _edited(SQUEEZENET, "sizes", "dynamic batch", conversions.with_sizes("N", None, None, None)),
    _edited(DEEPLAB, "sizes", "dynamic batch", conversions.with_sizes("N", None, None, None)),
    _edited(TEXTURES, "sizes", "fixed batch", conversions.with_sizes(1, None, None, None)),
    _edited(VOLUMES, "sizes", "fixed batch", conversions.with_sizes(1, None, None, None, None)),
    _edited(TEXTURES, "sizes", "dynamic height and width", conversions.with_sizes(None, None, "H", "W")),
    _edited(SQUEEZENET, "sizes", "dynamic height and width", conversions.with_sizes(None, None, "H", "W")),
    _edited(YUNET, "sizes", "fixed size", conversions.with_sizes(1, None, 100, 120)),
    *(
        _edited(s, "layout", "NHWC, transposed first", layouts.channels_last_outside, input_axes=_LAST)
        for s in (TEXTURES, SQUEEZENET, CIFAR, MOBILENET)
    ),
    *(
        _edited(s, "layout", "NHWC inside", layouts.channels_last_inside, input_axes=_LAST)
        for s in (TEXTURES, GREY, BLOBS)
    ),
    _edited(SQUEEZENET, "layout", "NHWC inside", layouts.channels_last_inside, input_axes=_LAST, output_axes=_LAST),
    _edited(KERAS, "layout", "NCHW", layouts.channels_first, input_axes={0: layouts.NCHW_OF_NHWC}),
    _edited(SQUEEZENET, "float16", "float16", to_float16(keep_io=False), tolerance=2e-2),
    *(
        _edited(s, "float16", "float16 between float32 ends", to_float16(keep_io=True), tolerance=2e-2)
        for s in (TEXTURES, SIGNALS, BLOBS, CIFAR, MOBILENET)
    ),
    *(_edited(s, "rewritten", "Gemm as MatMul and Add", rewrites.multiply_matrices) for s in (TEXTURES, BLOBS, CIFAR)),
    *(_edited(s, "padding", "Pad apart", rewrites.pad_apart) for s in (TEXTURES, SIGNALS)),
    *(_edited(s, "padding", "auto_pad", rewrites.pad_automatically) for s in (SQUEEZENET, VOLUMES)),
    _edited(MNIST, "padding", "pads as numbers", rewrites.pad_explicitly),
    _edited(MOBILENET, "rewritten", "Clip as Max and Min", rewrites.clip_in_two),
    _edited(VITTRACK, "rewritten", "HardSwish as x HardSigmoid", rewrites.hard_swish_in_two),
    *(
        _edited(s, "rewritten", "average by ReduceMean", rewrites.mean_by_reduction)
        for s in (TEXTURES, SQUEEZENET, VOLUMES)
    ),
    *(_edited(s, "rewritten", "Flatten as Reshape", rewrites.flatten_by_reshape) for s in (TEXTURES, SIGNALS)),
    _edited(KERAS, "rewritten", "rescaling as Sub and Div", rewrites.subtract_and_divide),
    _edited(TEXTURES, "permuted", "channels permuted", rewrites.permute_channels(("conv2", "conv3")), permuted=True),
    _edited(
        CIFAR, "permuted", "channels permuted", rewrites.permute_channels(("47", "50"), ("53", "56")), permuted=True
    ),
    _edited(SQUEEZENET, "permuted", "channels permuted", rewrites.permute_channels(_FIRST_TWO), permuted=True),
    _edited(
        SHUFFLENET_INT8, "quantization", "Conv between QuantizeLinear", rewrites.dequantize_convolutions, tolerance=5e-2
    ),
)
