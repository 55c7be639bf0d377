"""What is said before the first step: what was assumed, and what was decided."""

from __future__ import annotations

from onnxvis.losses import ActivationMaximization
from onnxvis.seeds import is_mask
from onnxvis.units import Units
from onnxvis.verify import is_half


def _held_notes(units: Units) -> list[str]:
    """Say at what the inputs are held that nobody has given."""
    silent = [name for name in units.inputs.held if name not in units.inputs.named]
    masks = [spec.name for spec in units.model.inputs if spec.name in silent and is_mask(spec)]
    zero = [name for name in silent if name not in masks]
    return [
        f"inputs held at {value}: {', '.join(names)}; --input changes it"
        for value, names in (("zero", zero), ("one", masks))
        if names
    ]


def notes_of(units: Units) -> list[str]:
    """Return what was assumed or decided on the way to some units, a sentence each."""
    recipe, notes = units.recipe, []
    target, inputs = units.targets[0], units.inputs
    if target.moved:
        notes.append(
            f"target moved before {target.asked_op} to the logits {target.name!r}, where the gradient does not vanish"
        )
    if units.margin:
        notes.append("of classes that exclude each other the margin over the strongest others is maximized")
    shape, axis = target.shape, target.channel_axis
    count = shape[axis] if shape is not None and axis is not None else None
    is_mean = isinstance(units.objective.terms[0][0], ActivationMaximization)
    if is_mean and not target.filters and isinstance(count, int) and count > 1:
        notes.append(f"the mean of all {count} filters; --filter picks one, --filter all makes a picture of each")
    idle = [name for name in inputs.named if name not in inputs.shapes]
    if idle:
        notes.append(f"the target does not depend on {', '.join(idle)}")
    notes += _held_notes(units)
    for number, (name, item) in enumerate(inputs.optimized.items()):
        if "assumed" in item.preprocess.source:
            which = "" if number == 0 else f" of {name}"
            notes.append(f"preprocessing{which} {item.preprocess}")
    if recipe.backprop is not None:
        counts = ", ".join(f"{count} {op}" for op, count in sorted(units.network.replaced.items()))
        kind = recipe.backprop if isinstance(recipe.backprop, str) else "replaced"
        notes.append(f"{kind} backward pass of {counts}")
    if not units.model.tensors[target.tensor].is_float:
        notes.append("the target holds quantized integers: its activation is counted in steps of the quantizer")
    if is_half(units.model, [target.tensor]):
        in_float32 = recipe.precision == "float32"
        computed = "torch in float32: half-precision gradients vanish" if in_float32 else "and torch too, as asked"
        notes.append(f"the file computes in half precision, {computed}")
    return notes
