"""The crystal surface of a slab, as settings of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np

from sikff.forcefield.environment import Environment
from sikff.groups.matrices import unit_vector
from sikff.surface import SlabSurface, Wallpaper, find_wallpaper
from sikff.surface.lattice import describe
from sikff.surface.near_symmetry import find_at_larger_tolerance, find_without_top

from ..config import TrainConfig
from ..slab_settings import FOUND, SlabConfig, split_slab
from .batches import Graphs
from .dataset import Dataset
from .reading import read_structures

DIGITS = 10  # of coordinates in settings: normals must agree to 1e-8
AT_PLANE = 0.1  # Å
Z = (0.0, 0.0, 1.0)


class Findings(NamedTuple):
    """The surface of a slab.

    Attributes:
        slab: its atoms.
        notes: on the file.
        near: on symmetry that the slab nearly has.
    """

    slab: ase.Atoms
    found: SlabSurface
    notes: tuple[str, ...]
    near: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """All notes."""
        return [f"note: {text}" for text in (*self.notes, *self.near)]


def read_slab(path: Path) -> tuple[ase.Atoms, list[str]]:
    """The last structure of a file, and a note if there are others.

    Raises:
        FileNotFoundError, ValueError: if there is none that can be used.
    """
    structures = read_structures(path).atoms
    notes = []
    if len(structures) > 1:
        notes.append(f"the last of {len(structures)} structures of {str(path)!r} is the slab")
    return structures[-1], notes


def find_surface(settings: SlabConfig) -> Findings:
    """The surface of a slab, and the symmetry that it nearly has.

    Raises:
        FileNotFoundError, ValueError: for a file without a slab.
    """
    slab, notes = read_slab(settings.slab)
    try:
        found = find_wallpaper(
            slab, settings.slab_tolerance, settings.slab_side, settings.slab_depth
        )
    except ValueError as error:
        raise ValueError(f"{str(settings.slab)!r}: {error}") from error
    return Findings(slab, found, tuple(notes), tuple(_near_symmetry(slab, found, settings)))


def _near_symmetry(slab: ase.Atoms, found: SlabSurface, settings: SlabConfig) -> Iterator[str]:
    """Larger groups at a larger tolerance, or without the topmost atoms, in words."""
    tolerance, side, depth = settings.slab_tolerance, settings.slab_side, settings.slab_depth
    larger = find_at_larger_tolerance(slab, found, tolerance, side, depth)
    if larger is not None:
        other, of_other = larger
        yield (
            f"within {other:g} Å the slab has {_words(of_other)}, from which its atoms are up to "
            f"{of_other.misfit:.2g} Å off; if that is meant, set the tolerance to {other:g} (it is "
            f"{tolerance:g})"
        )
    bare = None if depth else find_without_top(slab, found, tolerance, side)
    if bare is not None:
        atoms = Counter(slab.symbols[i] for i in bare.removed)
        yield (
            f"without its {outermost(side)} atoms ({_listed(atoms)}) the slab has "
            f"{_words(bare.found)}; if they are adsorbates, remove them: the slab is the surface "
            "alone"
        )


def surface_settings(found: SlabSurface) -> dict[str, Any]:
    """The surface as under ``model`` of a training configuration, in plain numbers.

    The plane of heights goes through the centre of the outermost atom, and its origin is a site of
    the highest symmetry, that of the International Tables.
    """
    w = found.wallpaper
    environment = {
        "plane_origin": _numbers(found.origin),
        "lattice": [_numbers(vector) for vector in w.lattice],
        "wallpaper": _group(w),
    }
    is_z = np.abs(found.normal - Z).max() < 1e-9
    axis = {} if is_z else {"axis": _numbers(found.normal)}
    return {**axis, "environment": environment}


def with_surface(config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """A run with the surface of ``model.environment.slab`` in place of the file, and notes on it.

    Raises:
        FileNotFoundError, ValueError: for a file without a slab; an axis that is not its normal;
            settings that do not fit the surface; a slab without symmetry, unless it has none
            without its topmost atoms or at a larger tolerance either.
    """
    slab, others = split_slab(config.model)
    if slab is None:
        return config, []
    findings = find_surface(slab)
    found = findings.found
    if found.wallpaper.name == "p1" and findings.near:
        raise ValueError(
            f"{str(slab.slab)!r} has no symmetry but translations (p1): "
            f"{'. '.join(findings.near)}. If p1 is meant, give the lines that `sikff surface FILE` "
            "prints instead of slab"
        )
    settings = surface_settings(found)
    _check_axis(config.model.get("axis"), found, slab)
    model = {**config.model, **settings, "environment": {**others, **settings["environment"]}}
    line = (
        f"surface of {str(slab.slab)!r}: {_words(found)}, from which atoms are up to "
        f"{round(found.misfit, 6):.2g} Å off; heights are from its {outermost(slab.slab_side)} "
        f"atom, the origin is {settings['environment']['plane_origin']} Å"
    )
    return _with_model(config, model), [line, *findings.lines]


def with_surface_of(config: TrainConfig, model: Mapping[str, Any]) -> TrainConfig:
    """A run with the surface of an earlier one's ``model`` in place of its slab, if it has one."""
    slab, others = split_slab(config.model)
    if slab is None:
        return config
    before = model.get("environment") or {}
    environment = {**others, **{key: before[key] for key in FOUND if key in before}}
    axis = {"axis": model["axis"]} if "axis" in model else {}
    return _with_model(config, {**config.model, **axis, "environment": environment})


def check_data_above(dataset: Dataset) -> list[str]:
    """A note if many training structures seem to hold the atoms of the slab themselves.

    Raises:
        ValueError: if they name several surfaces.
    """
    surfaces = dataset.model.environment.surfaces
    if len(surfaces) > 1:
        raise ValueError(
            f"the training data name the surfaces {', '.join(surfaces)}, and a slab is one; "
            "give lattice and wallpaper of each by its name (`sikff surface FILE` prints them)"
        )
    environment = Environment(dataset.model)
    heights = []
    for graph in Graphs(dataset.train):
        if not (graph.surface >= 0).all():
            continue
        normal = environment.normal.to(graph.positions.dtype)
        heights.append((graph.positions - environment.origins(graph)[graph.batch]) @ normal)
    if not heights:
        return []
    count = sum(bool(h.min() < AT_PLANE) for h in heights)
    if count <= len(heights) / 2:
        return []
    return [
        f"note: {count} of {len(heights)} training structures have atoms at or below the outermost "
        "atom of the slab. If these are the slab's, remove them, with their forces: the surface of "
        "this model is no set of atoms"
    ]


def _with_model(config: TrainConfig, model: Mapping[str, Any]) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), "model": model})


def _check_axis(axis: Any, found: SlabSurface, slab: SlabConfig) -> None:
    """Raises ValueError for an axis other than the normal, such as that of the other side."""
    if axis is not None and not unit_vector(axis) @ found.normal > 1 - 1e-6:
        raise ValueError(
            f"model.axis is {list(axis)}, but the normal of {str(slab.slab)!r} is "
            f"{_numbers(found.normal)} (slab_side: {slab.slab_side}); leave axis out, or choose "
            "the other side"
        )


def _group(wallpaper: Wallpaper) -> str | list[str]:
    """The name of a group if that, with its lattice, makes it again; else its operations."""
    lattice = [_numbers(vector) for vector in wallpaper.lattice]
    if Wallpaper(wallpaper.name, lattice) == wallpaper:
        return wallpaper.name
    return [str(operation) for operation in wallpaper.operations[1:]]


def _numbers(vector: np.ndarray) -> list[float]:
    """Coordinates as plain numbers, rounded, without -0."""
    return [round(float(x), DIGITS) + 0.0 for x in vector]


def _words(found: SlabSurface) -> str:
    return f"{found.wallpaper.name} with {describe(found.wallpaper.lattice)}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {symbol}" for symbol, number in counts.items())


def outermost(side: str) -> str:
    """Which atom of a slab is the outermost one on a side."""
    return "topmost" if side == "top" else "lowest"
