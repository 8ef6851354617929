"""Trajectories as a file of structures that every program reads: extended XYZ.

A structure is a system in the first frame: positions, and for each particle ``velocities``,
``displacements`` (the label: from the first frame to the second), ``lengths``, and
``initial_charges``, as ASE calls charges. ``springs``, a row of the adjacency matrix, is written
only if it is not hidden; axis and stiffness never are. The element of all particles is H, as the
format needs one.
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
        hidden: whether the springs are left out.
    """
    columns = {
        "velocities": trajectories.velocities,
        "displacements": trajectories.target_positions - trajectories.positions,
        "lengths": trajectories.attributes.lengths,
        "initial_charges": trajectories.attributes.charges,
    }
    if not hidden:
        columns["springs"] = trajectories.attributes.springs.astype(np.float64)
    structures = []
    for t, positions in enumerate(trajectories.positions):
        structures.append(ase.Atoms(f"H{len(positions)}", positions))
        structures[-1].arrays.update({name: column[t] for name, column in columns.items()})
    with complete(path) as temporary:
        ase.io.write(temporary, structures, format="extxyz")


def holds_particles(structures: Structures) -> bool:
    """Whether these are systems of moving particles and not structures of atoms."""
    return all({"velocities", "displacements"} <= atoms.arrays.keys() for atoms in structures.atoms)


def particles(
    structures: Structures, axis: tuple[float, float, float] | np.ndarray = (0.0, 0.0, 1.0)
) -> tuple[ParticleGraphs, Tensor]:
    """The systems and their displacements [T, n, 3], in float64.

    Args:
        structures: T of them, with the columns of :func:`write_particles`; missing lengths and
            charges are zero, missing springs have the mean of hidden ones.
        axis: that models get, [3], of any length.

    Raises:
        ValueError: a column that is missing or misshapen, or systems of different sizes.
    """
    n = len(structures.atoms[0])
    other = [p for p, atoms in enumerate(structures.atoms) if len(atoms) != n]
    structures.raise_for(
        other, f"not {n} particles, as in the first,", "; expected one number in all"
    )
    columns = {name: _column(structures, name, shape) for name, shape in COLUMNS.items()}
    springs = MEAN_SPRING * (1 - torch.eye(n).double()).repeat(len(structures.atoms), 1, 1)
    if any("springs" in atoms.arrays for atoms in structures.atoms):
        springs = _column(structures, "springs", (n,))
    positions = torch.from_numpy(np.stack([atoms.positions for atoms in structures.atoms]))
    graphs = ParticleGraphs(
        positions,
        columns["velocities"],
        torch.stack([columns["lengths"], columns["initial_charges"]], dim=-1),
        springs,
        torch.from_numpy(unit_vector(axis)),
    )
    return graphs, columns["displacements"]


def _column(structures: Structures, name: str, shape: tuple[int, ...]) -> Tensor:
    """A column of all structures, [T, n, ...]; zero if it is optional and none has it."""
    n = len(structures.atoms[0])
    optional = name in ("lengths", "initial_charges")
    if optional and not any(name in atoms.arrays for atoms in structures.atoms):
        return torch.zeros(len(structures.atoms), n, *shape, dtype=torch.float64)
    lacking = [p for p, atoms in enumerate(structures.atoms) if name not in atoms.arrays]
    structures.raise_for(lacking, f"no column {name}", "; give it to all structures")
    columns = [np.asarray(atoms.arrays[name]) for atoms in structures.atoms]
    wrong = [
        p
        for p, column in enumerate(columns)
        if column.dtype.kind not in "iuf"
        or column.shape != (n, *shape)
        or not np.isfinite(column).all()
    ]
    structures.raise_for(wrong, f"{name} is not {shape or 'one'} finite numbers for each particle")
    return torch.from_numpy(np.stack(columns).astype(np.float64))
