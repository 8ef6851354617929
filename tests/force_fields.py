"""Small force fields and structures that several tests share."""

from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import torch
from ase.build import bulk, fcc111, molecule

from sikff import ForceField, ForceFieldConfig, SymmetryGroup
from sikff.forcefield import EnergyModel, Prediction
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions

ELEMENTS = ("H", "C", "O", "Al")
SMALL = {
    "channels": 4,
    "max_frequency": 2,
    "kernel_fields": 3,
    "kernel_width": 8,
    "cutoff": 4.0,
    "average_neighbours": 8.0,
    "atomic_energies": {"H": -13.6, "C": -1030.0, "O": -2040.0, "Al": -5.0},
}
GROUPS = ("O(3)", "SO(3)", "C_inf_v", "SO(2)", "D_inf_h", "C6v", "Oh", "C1")
# one model with each kind of energy, by group
MODELS: dict[str, dict[str, Any]] = {
    "O(3)": {},
    "C_inf_v": {"environment": {"field": True}},
    "SO(2)": {"environment": {"plane_origin": (0, 0, -2.0)}, "vacuum_group": "O(3)"},
    "C6v": {"zbl": True},
    "SO(3)": {"environment": {"charge": True, "spin": True}},
}


def force_field(group: str = "O(3)", seed: int = 0, **options: Any) -> ForceField:
    """A small float64 model with random weights, all of them different from zero."""
    given = {"elements": ELEMENTS, "group": group, **SMALL, **options}
    config = ForceFieldConfig(**given)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ForceField(config).double().eval()
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def ethanol(seed: int = 0) -> ase.Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def crystal() -> ase.Atoms:
    atoms = bulk("Al", "fcc", a=4.05) * (3, 1, 1)
    atoms.set_cell(atoms.cell + np.array([[0, 0, 0], [0.3, 0, 0], [0, -0.2, 0.1]]))
    atoms.rattle(0.1, seed=1)
    return atoms


def slab() -> ase.Atoms:
    atoms = fcc111("Al", (2, 1, 2), vacuum=6.0)
    atoms.rattle(0.1, seed=2)
    atoms.pbc = [True, True, False]
    return atoms


def slope(energy: Callable[[float], float], step: float = 2e-3) -> float:
    """dE/dx at 0 by the central difference of fourth order."""
    e = [energy(k * step) for k in (-2, -1, 1, 2)]
    return (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * step)


def graph_of(model: EnergyModel, atoms: ase.Atoms, **conditions: Any) -> AtomicGraph:
    """The graph that the model reads; the conditions are fields of Conditions."""
    return AtomicGraph.from_atoms(
        atoms,
        model.cutoff,
        model.elements,
        conditions=Conditions(**conditions) if conditions else None,
        surfaces=model.surfaces,
    )


def predict(
    model: EnergyModel,
    atoms: ase.Atoms,
    stress: bool = False,
    dipole: bool = False,
    **conditions: Any,
) -> Prediction:
    return model(graph_of(model, atoms, **conditions), stress=stress, dipole=dipole)


def moved(atoms: ase.Atoms, matrix: np.ndarray) -> ase.Atoms:
    """The structure after x -> matrix x (cell included)."""
    atoms = atoms.copy()
    atoms.positions = atoms.positions @ matrix.T
    atoms.cell = atoms.cell.array @ matrix.T
    return atoms


def elements_of(group: SymmetryGroup, n: int = 4) -> list[np.ndarray]:
    return [g.numpy() for g in group.sample(n, seed=7)]
