"""Parameters computed from the data: E0s, energy scale, number of neighbours."""

import ase
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list

from sikff.forcefield import ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.training.data.data_statistics import (
    atomic_energies,
    average_neighbours,
    compositions,
    energy_scale,
)
from sikff.training.data.labels import LabelKeys
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
MODEL = ForceFieldConfig(elements=("Ni", "Cu"), cutoff=4.0)


def with_labels(atoms: list[ase.Atoms]) -> Structures:
    return Structures.of(atoms).with_labels(LabelKeys())


def test_atomic_energies_are_recovered_by_least_squares(frames: list[ase.Atoms]) -> None:
    true = {"Ni": -3.0, "Cu": 5.0}
    for atoms in frames:
        atoms.calc.results["energy"] = sum(true[symbol] for symbol in atoms.symbols)
    structures = with_labels(frames)
    energies = structures.values("energy")
    counts = compositions(structures, MODEL.elements)
    assert counts.sum(1).tolist() == [len(atoms) for atoms in frames]
    for known in ({}, {"Ni": -3.0}, true):
        found, unique = atomic_energies(counts, energies, MODEL.elements, known)
        assert unique
        assert found == pytest.approx(true, abs=LIMITS.gradient)
    same = [place for place, count in enumerate(counts.tolist()) if count == [0, 4]]
    some = [energies[place] for place in same]
    assert not atomic_energies(counts[same], some, MODEL.elements, {})[1]


def test_the_scale_is_that_of_the_forces_or_else_of_the_energies(frames: list[ase.Atoms]) -> None:
    structures = with_labels(frames)
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    scale = energy_scale(structures, np.zeros(len(frames)))
    assert scale == pytest.approx(np.sqrt((forces**2).mean()), rel=LIMITS.parity)
    alone = with_labels([ase.Atoms("Cu", info={"energy": 0.0})] * 2)
    assert energy_scale(alone, np.zeros(2)) == 1.0
    left = np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames])
    for atoms in frames:
        atoms.calc.results["forces"] *= 1e-15
    scale = energy_scale(with_labels(frames), np.zeros(len(frames)))
    assert scale == pytest.approx(np.sqrt((left**2).mean()), rel=LIMITS.parity)


def test_neighbours_near_the_cutoff_count_less(frames: list[ase.Atoms]) -> None:
    x = np.concatenate([neighbor_list("d", atoms, 4.0) for atoms in frames]) / 4
    u = 1 - 84 * x**6 + 216 * x**7 - 189 * x**8 + 56 * x**9
    mean = np.sum(u**2) / sum(map(len, frames))
    assert 1 < mean < 0.7 * len(x) / sum(map(len, frames))
    graphs = [sample.graph for sample in make_samples(with_labels(frames), MODEL)]
    assert average_neighbours(graphs, 4.0) == pytest.approx(mean, rel=LIMITS.parity)
    far = ase.Atoms("Cu2", [[0, 0, 0], [3.9, 0, 0]])
    assert average_neighbours([AtomicGraph.from_atoms(far, 4.0, ("Cu",))], 4.0) == 1.0
