"""Operators that normalize."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, axes_of, axis_of, broadcast_to, chosen, shapes, spread
from tests.ops.one_node import Case

FIRST_WITHOUT_SPATIAL = 9
FIRST_OF_EACH_CHANNEL = 21
FIRST_WITH_AXES = 9
EPSILONS = (None, 1e-3, 0.1)


@compares("BatchNormalization")
def batch_normalization(draw: Draw, version: int) -> Case:
    """Statistics of each channel and, before opset 9, of each element."""
    shape = shapes(draw, (2, 5), 3)
    attributes = chosen(draw, epsilon=EPSILONS)
    of_each = shape[1:2]
    if version < FIRST_WITHOUT_SPATIAL and draw(st.booleans()):
        attributes["spatial"], of_each = 0, shape[1:]
    parts = [spread(draw, of_each) for _ in range(3)]
    return Case([spread(draw, shape), *parts, spread(draw, of_each, 0.5, 2)], attributes)


@compares("InstanceNormalization", precision="float32")
def instance_normalization(draw: Draw) -> Case:
    """One to three spatial axes."""
    shape = (*shapes(draw, 2, 3), *draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    return Case([spread(draw, shape), *(spread(draw, shape[1:2]) for _ in "sb")], chosen(draw, epsilon=EPSILONS))


@compares("GroupNormalization", oldest=18, precision="float32")
def group_normalization(draw: Draw, version: int) -> Case:
    """Scale and bias of each group, and of each channel from opset 21 on."""
    groups, inside = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 2)), groups * inside, *draw(st.lists(st.integers(2, 4), min_size=1, max_size=2)))
    count = groups * inside if version >= FIRST_OF_EACH_CHANNEL else groups
    attributes = {"num_groups": groups, **chosen(draw, epsilon=EPSILONS)}
    return Case([spread(draw, shape), *(spread(draw, (count,)) for _ in "sb")], attributes)


@compares("LayerNormalization", oldest=17, precision="float32")
def layer_normalization(draw: Draw) -> Case:
    """From any axis on, with and without a bias, with the statistics."""
    shape = (*shapes(draw, (1, 3), 3), draw(st.integers(2, 5)))
    axis = axis_of(draw, len(shape))
    parts = [spread(draw, shape[axis:]) for _ in range(draw(st.integers(1, 2)))]
    attributes = {"axis": axis, **chosen(draw, epsilon=EPSILONS)}
    return Case([spread(draw, shape), *parts], attributes, outputs=draw(st.sampled_from([1, 3])))


@compares("SimplifiedLayerNormalization")
def simplified(draw: Draw) -> Case:
    """The root mean square under the name that onnxruntime gives it in the default domain."""
    shape = (*shapes(draw, (1, 3), 3), draw(st.integers(2, 5)))
    axis = axis_of(draw, len(shape))
    return Case([spread(draw, shape), spread(draw, shape[axis:])], {"axis": axis, **chosen(draw, epsilon=EPSILONS)})


@compares("RMSNormalization", oldest=23)
def rms_normalization(draw: Draw) -> Case:
    """From any axis on, with a scale that broadcasts."""
    shape = (*shapes(draw, (1, 3), 3), draw(st.integers(2, 5)))
    axis = axis_of(draw, len(shape))
    scale = shape[axis:] if draw(st.booleans()) else broadcast_to(draw, shape[axis:])
    return Case([spread(draw, shape), spread(draw, scale)], {"axis": axis, **chosen(draw, epsilon=EPSILONS)})


@compares("LRN", precision="float32")
def lrn(draw: Draw) -> Case:
    """Odd numbers of channels: onnxruntime has no others."""
    attributes = chosen(draw, alpha=(None, 0.5), beta=(None, 0.5), bias=(None, 2.0), size=(1, 3, 5))
    return Case([spread(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 6)), *shapes(draw, 2, 3)))], attributes)


@compares("MeanVarianceNormalization", precision="float32")
def mean_variance(draw: Draw, version: int) -> Case:
    """Over any axes, or with the switches of old; more than one element, whose variance is not zero."""
    shape = draw(st.lists(st.integers(2, 3), min_size=4, max_size=4))
    if version < FIRST_WITH_AXES:
        return Case([spread(draw, shape)], chosen(draw, across_channels=(0, 1), normalize_variance=(0, 1)))
    axes = axes_of(draw, 4, negative=False)
    return Case([spread(draw, shape)], chosen(draw, axes=(None, sorted(axes))))
