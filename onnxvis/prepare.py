"""Everything before the first step, verified: from a model and a recipe to runs that are ready to start."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from onnxvis.assess import Assessor
from onnxvis.cppn import Cppn
from onnxvis.errors import SettingError
from onnxvis.graph import ancestors
from onnxvis.image_input import ImageInput
from onnxvis.images import Fourier, Pixel
from onnxvis.judges import Judge
from onnxvis.laplacian import Laplacian
from onnxvis.maco import Maco
from onnxvis.measure import Meter
from onnxvis.model import Model
from onnxvis.notes import notes_of
from onnxvis.ordinary import note_of
from onnxvis.photos import folder_checksum
from onnxvis.presets import settings_of
from onnxvis.problem import Variable
from onnxvis.recipe import Recipe
from onnxvis.render import read_array
from onnxvis.runs import Prepared, reaches
from onnxvis.seeds import HeldValue, SeedImage, checksums, seed_values
from onnxvis.units import Pictures, Units, find_units
from onnxvis.verify import Verification, compare, require


def prepare(
    model: Model,
    recipe: Recipe,
    *,
    pictures: Pictures | None = None,
    seeds: Sequence[int] | None = None,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    device: str = "auto",
    images: str | os.PathLike[str] | None = None,
    judge: Judge | str | os.PathLike[str] | None = None,
) -> Prepared:
    """Find the units, lower the model up to them, and verify that against onnxruntime.

    Args:
        model: The model.
        recipe: The settings.
        pictures: The filters of each picture, or "all"; None: one picture, of the recipe's filters.
        seeds: The seed of each picture; None: the recipe's for all.
        seed_image: What to start from; None: what the recipe says.
        inputs: What other inputs are held at, besides the recipe's.
        device: "auto", "cpu" or "cuda".
        images: A folder of natural images to measure the pictures against.
        judge: Another classifier that says what it sees in them, or its file.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong; nothing has been optimized yet.
    """
    spectrum = _spectrum(recipe)
    asked = judge if isinstance(judge, Judge) or judge is None else Judge.of(judge)
    units = find_units(model, recipe, _device(device), pictures=pictures, inputs=inputs)
    if recipe.patience is not None and reaches(units):
        message = "A value is approached over all steps, so patience does not go with it: leave --patience out."
        raise SettingError(message, patience=recipe.patience)
    found = units.inputs
    picture = next(iter(found.optimized.values()))
    image, described = seed_values(seed_image if seed_image is not None else recipe.seed_image, picture)
    _check_photo(units, image)
    meter = Meter.of(
        units.model, units.targets[0], found.optimized, found.held, neuron=units.neuron, extra=units.tensors
    )
    verification = _verified(units, meter, image)
    variables = {name: _variable(recipe, units, item) for name, item in found.optimized.items()}
    settled = _resolved(recipe, units, described)
    return Prepared(
        units=units,
        recipe=settled,
        seeds=_seeds(recipe, units) if seeds is None else tuple(seeds),
        variables=variables,
        meter=meter,
        assessor=Assessor.of(meter, units.targets[0], images=images, judge=asked),
        verification=verification,
        seed_image=image,
        left_out=_left_out(model, units.tensors),
        notes=(*notes_of(units), *verification.notes),
        sources={**checksums([described, *found.named.values(), _vector(settled)]), **spectrum},
    )


def _seeds(recipe: Recipe, units: Units) -> tuple[int, ...]:
    """Return the seed of each picture: one for all, unless a loss wants them to differ."""
    count = len(units.targets)
    return tuple(range(recipe.seed, recipe.seed + count)) if units.objective.distinct else (recipe.seed,) * count


def _vector(recipe: Recipe) -> str | None:
    """Return the file of the direction."""
    return recipe.direction if isinstance(recipe.direction, str) else None


def _spectrum(recipe: Recipe) -> dict[str, str]:
    """Return the checksum of the photos that the parameterization is made from."""
    path = getattr(recipe.parameterization, "spectrum", None)
    if path is None:
        return {}
    if Path(path).suffix.lower() != ".npy":
        return {path: folder_checksum(path)}
    read_array(path)
    return checksums([path])


def _check_photo(units: Units, photo: Tensor | None) -> None:
    """Refuse losses that compare with a photo where there is none."""
    if units.objective.compares and photo is None:
        message = "What is asked for compares the picture with a photo: give one with --from."
        raise SettingError(message, losses=units.objective.names)


def _variable(given: Recipe, units: Units, item: ImageInput) -> Variable:
    """Choose for each input by its own size what is not given for all."""
    chosen = settings_of(
        given.preset, dataclasses.replace(units.situation, size=item.size), given=given.parameterization
    )
    wanted = given.parameterization or chosen.parameterization
    if item.size and isinstance(wanted, Maco) and wanted.spectrum is not None:
        # Whatever is wrong with it is said before anything else happens.
        wanted.magnitudes(item.image_shape)
    if not item.size and isinstance(wanted, (Fourier, Laplacian, Maco, Cppn)):
        # Features have no spectrum.
        if getattr(wanted, "spectrum", None) is not None:
            message = f"Input {item.name!r} holds features, which have no spectrum: leave --spectrum out."
            raise SettingError(message, name=item.name)
        wanted = Pixel()
    transforms = chosen.transforms if given.transforms is None else given.transforms
    return Variable(item.image_shape, wanted, transforms)


def _resolved(given: Recipe, units: Units, described: str | None) -> Recipe:
    """Write down what was chosen by default, so that the picture can be made again when defaults have changed."""
    inputs = units.inputs
    picture = next(iter(inputs.optimized.values()))
    preprocess, names = picture.preprocess, tuple(inputs.optimized)
    # Inputs of several kinds have defaults of their own.
    shared = len(names) == 1
    variable = _variable(given, units, picture)
    return dataclasses.replace(
        units.recipe,
        seed_image=described,
        inputs=inputs.named or None,
        wrt=names[0] if shared else names,
        preprocess=None,
        range=preprocess.range,
        mean=preprocess.mean,
        std=preprocess.std,
        bgr=preprocess.bgr,
        layout=preprocess.layout,
        parameterization=variable.parameterization if shared else given.parameterization,
        transforms=variable.transforms if shared else given.transforms,
    )


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        message = f"No device {name!r}. There are auto, cpu and cuda."
        raise SettingError(message, device=name)
    if name == "cuda" and not torch.cuda.is_available():
        message = "torch finds no CUDA device. Use --device cpu, or install a torch build for your GPU."
        raise SettingError(message, device=name)
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _verified(units: Units, meter: Meter, seed_image: Tensor | None) -> Verification:
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(item.image_shape, generator=generator) for name, item in meter.inputs.items()}
    if seed_image is not None:
        images[next(iter(images))] = seed_image
    feeds = meter.feeds(images)
    report = compare(units.model, units.network, units.tensors, feeds, oracle=meter.oracle)
    given = units.recipe.backprop
    if not report.ok and given is not None and not isinstance(given, str):
        message = (
            f"The functions given as backprop for {', '.join(given)} change what the network computes, by "
            f"{report.max_rel_error:.1e}: they may replace the backward pass alone."
        )
        raise SettingError(message, report=report)
    require(units.model, report, units.inputs.shapes, feeds)
    note = note_of(units.model, units.tensors[:1], feeds)
    return report if note is None else dataclasses.replace(report, notes=(f"{note}; 'onnxvis check' says what helps",))


def _left_out(model: Model, tensors: Sequence[str]) -> dict[str, int]:
    needed = ancestors([model.values[tensor] for tensor in tensors])
    counts: dict[str, int] = {}
    for node in model.ir.graph:
        if node not in needed and node.op_type != "Constant":
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts
