"""Trajectories as a file of structures that every program reads: extended XYZ.

A structure is a system in the first frame: positions, and for each particle ``velocities``,
``displacements`` (the label: from the first frame to the second), ``lengths``, and
``initial_charges``, as ASE calls charges. ``springs``, a row of the adjacency matrix, is there only
if that is not hidden. Neither axis nor stiffness is told. Every particle is called H, because such
files want an element.
"""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import torch
from torch import Tensor

from sikff.atomic_write import complete
from sikff.groups.matrices import unit_vector

from ...data.structures import Structures
from .particle_graphs import MEAN_SPRING, ParticleGraphs
from .particle_systems import Trajectories

COLUMNS = {"velocities": (3,), "displacements": (3,), "lengths": (), "initial_charges": ()}


def write_particles(path: str | Path, trajectories: Trajectories, *, hidden: bool = True) -> None:
    """Writes trajectories; the file appears when it is complete.

    Args:
        path: ends in .xyz or .extxyz.
        trajectories: T of them.
        hidden: whether it is not told which pairs are joined.

    Raises:
        OSError: it cannot be written.
    """
    attributes = trajectories.attributes
    displacements = trajectories.target_positions - trajectories.positions
    frames = []
    for t, positions in enumerate(trajectories.positions):
        atoms = ase.Atoms(f"H{len(positions)}", positions)
        atoms.arrays["velocities"] = trajectories.velocities[t]
        atoms.arrays["displacements"] = displacements[t]
        atoms.arrays["lengths"] = attributes.lengths[t]
        atoms.arrays["initial_charges"] = attributes.charges[t]
        if not hidden:
            atoms.arrays["springs"] = attributes.springs[t].astype(np.float64)
        frames.append(atoms)
    with complete(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def holds_particles(frames: Structures) -> bool:
    """Whether these are systems of moving particles and not structures of atoms."""
    return all({"velocities", "displacements"} <= atoms.arrays.keys() for atoms in frames.atoms)


def particles(
    frames: Structures, axis: tuple[float, float, float] | np.ndarray = (0.0, 0.0, 1.0)
) -> tuple[ParticleGraphs, Tensor]:
    """The systems and their displacements [T, n, 3], in float64.

    Args:
        frames: T of them, with the columns of :func:`write_particles`; lengths and charges that are
            not there are zero, springs that are not there are hidden.
        axis: that is told to models, [3], of any length.

    Raises:
        ValueError: a column that is missing or misshapen, or systems of different sizes.
    """
    n = len(frames.atoms[0])
    other = [p for p, atoms in enumerate(frames.atoms) if len(atoms) != n]
    frames.refuse(other, f"not {n} particles, as in the first,", "; expected one number in all")
    columns = {name: _column(frames, name, shape) for name, shape in COLUMNS.items()}
    springs = MEAN_SPRING * (1 - torch.eye(n).double()).repeat(len(frames.atoms), 1, 1)
    if any("springs" in atoms.arrays for atoms in frames.atoms):
        springs = _column(frames, "springs", (n,))
    positions = torch.from_numpy(np.stack([atoms.positions for atoms in frames.atoms]))
    graphs = ParticleGraphs(
        positions,
        columns["velocities"],
        torch.stack([columns["lengths"], columns["initial_charges"]], dim=-1),
        springs,
        torch.from_numpy(unit_vector(axis)),
    )
    return graphs, columns["displacements"]


def _column(frames: Structures, name: str, shape: tuple[int, ...]) -> Tensor:
    """A column of all frames, [T, n, ...]; zero if no frame has it and it may be left out."""
    n = len(frames.atoms[0])
    optional = name in ("lengths", "initial_charges")
    if optional and not any(name in atoms.arrays for atoms in frames.atoms):
        return torch.zeros(len(frames.atoms), n, *shape, dtype=torch.float64)
    lacking = [p for p, atoms in enumerate(frames.atoms) if name not in atoms.arrays]
    frames.refuse(lacking, f"no column {name}", "; give it to all structures")
    columns = [np.asarray(atoms.arrays[name]) for atoms in frames.atoms]
    wrong = [
        p
        for p, column in enumerate(columns)
        if column.dtype.kind not in "iuf"
        or column.shape != (n, *shape)
        or not np.isfinite(column).all()
    ]
    frames.refuse(wrong, f"{name} is not {shape or 'one'} finite numbers for each particle")
    return torch.from_numpy(np.stack(columns).astype(np.float64))
