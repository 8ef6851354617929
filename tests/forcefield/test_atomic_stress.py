"""The stress of every atom: pairs have closed forms, and the atoms sum to the stress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from force_fields import MODELS, crystal, ethanol, force_field, graph_of, slab
from pair_model import PairModel, structures
from sikff.forcefield import EnergyModel, ForceField
from sikff.forcefield.atomic_stress import predict_atomic_stress
from sikff.forcefield.zbl import ZBL
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
SUM = 1e-12  # relative: only the order of sums differs


class Pairs(EnergyModel):
    """The Lennard-Jones potential of ASE, cut and shifted."""

    elements, cutoff = ("Cu",), 5.0

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        x = (2.2 / graph.vectors().norm(dim=-1)) ** 6
        at_cutoff = (2.2 / self.cutoff) ** 6
        pair = 4 * 0.4 * (x * x - x - at_cutoff * at_cutoff + at_cutoff)
        return pair.new_zeros(graph.n_atoms).index_add(0, graph.edge_index[0], 0.5 * pair)


class Nuclei(EnergyModel):
    """The repulsion of nuclei alone."""

    elements, cutoff = ("H", "O"), 3.0

    def __init__(self) -> None:
        super().__init__()
        self.zbl = ZBL(self.elements, self.cutoff)

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        return self.zbl(graph.vectors().norm(dim=-1), graph)


class Detached(PairModel):
    """Its energies do not depend on the vectors that a graph gives."""

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        return super().atomic_energies(graph).detach() + 0 * graph.positions.sum(dim=-1)


def models() -> dict[str, ForceField]:
    """One with each kind of energy."""
    return {group: force_field(group, **options) for group, options in MODELS.items()}


def in_a_box(atoms: ase.Atoms) -> ase.Atoms:
    atoms.set_cell([9.0, 10.0, 11.0])
    return atoms


def test_atomic_stresses_of_pairs_are_those_of_ase() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.set_cell(atoms.cell @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0, 0, 1]]), True)
    atoms.rattle(0.2, seed=0)
    atoms.calc = LennardJones(sigma=2.2, epsilon=0.4, rc=5.0)
    model = Pairs()
    found = predict_atomic_stress(model, graph_of(model, atoms))
    expected = atoms.get_stresses()
    assert np.ptp(expected, axis=0).min() > 1e-3  # atoms differ
    stresses = full_3x3_to_voigt_6_stress(found.stresses.numpy())
    assert np.abs(stresses - expected).max() < LIMITS.rounding * 100
    assert np.abs(found.forces.numpy() - atoms.get_forces()).max() < LIMITS.parity
    assert np.abs(found.energies.numpy() - atoms.get_potential_energies()).max() < LIMITS.parity


def test_two_nuclei_share_the_stress_of_their_repulsion() -> None:
    """r F / 2 V for each, with F by differences of the closed form's energy."""
    model, axis, r, h = Nuclei(), np.array([0.6, 0.0, 0.8]), 0.7, 1e-5
    atoms = ase.Atoms("OH", [np.zeros(3), r * axis], cell=[5.0, 6.0, 7.0])

    def energy(length: float) -> float:
        moved = atoms.copy()
        moved.positions[1] = length * axis
        return model(graph_of(model, moved), forces=False).energy.item()

    slope = (energy(r + h) - energy(r - h)) / (2 * h)
    expected = 0.5 * r * slope * np.outer(axis, axis) / atoms.get_volume()
    for stress in predict_atomic_stress(model, graph_of(model, atoms)).stresses.numpy():
        assert np.abs(stress - expected).max() < 1e-7 * np.abs(expected).max()


@pytest.mark.parametrize("group", MODELS)
@pytest.mark.parametrize("make", [crystal, slab, ethanol])
def test_atoms_sum_to_the_prediction_of_the_model(make: Any, group: str) -> None:
    """Energies, forces and stress, too, are those of the model itself."""
    model, atoms = models()[group], in_a_box(make()) if make is ethanol else make()
    given = {"field": (0.0, 0.0, 0.3)} if group == "C_inf_v" else {}
    graph = graph_of(model, atoms, **given)
    found, expected = predict_atomic_stress(model, graph), model(graph, stress=True)
    total = found.stresses.sum(dim=0, keepdim=True)
    scale = expected.stress.abs().max()
    assert scale > 1e-6
    assert (total - expected.stress).abs().max() < SUM * max(scale, found.stresses.abs().max())
    for name in ("energy", "energies", "forces", "stress"):
        error = (getattr(found, name) - getattr(expected, name)).abs().max()
        assert error < LIMITS.parity * max(1.0, getattr(expected, name).abs().max()), name
    assert torch.equal(found.stresses, found.stresses.mT)
    assert not found.stresses.requires_grad


@dataclass(frozen=True, eq=False)
class Stretched(AtomicGraph):
    """A graph whose edge vectors are stretched, each by a factor and a strain."""

    strain: Tensor
    weights: Tensor

    def vectors(self) -> Tensor:
        vectors = super().vectors()
        return vectors + self.weights[:, None] * (vectors @ self.strain)


def test_an_atom_has_half_of_what_stretching_its_edges_costs() -> None:
    """By differences, with messages from atom to atom."""
    model, atoms, h = force_field(), crystal(), 1e-4
    graph = graph_of(model, atoms)
    found = predict_atomic_stress(model, graph).stresses[1] * atoms.get_volume()
    tensors = {entry.name: getattr(graph, entry.name) for entry in dataclasses.fields(graph)}
    weights = 0.5 * (graph.edge_index == 1).sum(dim=0)
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        strain = torch.zeros(3, 3).double()
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        energies = [
            model.atomic_energies(Stretched(**tensors, strain=sign * strain, weights=weights)).sum()
            for sign in (1, -1)
        ]
        assert abs((energies[0] - energies[1]).item() / (2 * h) - found[a, b]) < LIMITS.forces_fd


def test_a_batch_has_the_atomic_stresses_of_its_structures() -> None:
    """NaN for structures without a volume."""
    model = PairModel().double().eval()
    graphs = [graph_of(model, atoms) for atoms in structures()]
    together = predict_atomic_stress(model, AtomicGraph.batch_of(graphs))
    sizes, alone = [g.n_atoms for g in graphs], [predict_atomic_stress(model, g) for g in graphs]
    assert torch.isnan(alone[3].stresses).all() and torch.isfinite(alone[0].stresses).all()
    for one, each in zip(alone, together.stresses.split(sizes), strict=True):
        assert torch.allclose(one.stresses, each, rtol=0, atol=1e-14, equal_nan=True)


def test_the_dipole_comes_with_atomic_stresses() -> None:
    model = PairModel().double().eval()
    graph = graph_of(model, structures()[0], field=(0.1, 0.0, 0.2))
    found, expected = predict_atomic_stress(model, graph, dipole=True), model(graph, dipole=True)
    assert (found.dipole - expected.dipole).abs().max() < LIMITS.parity
    assert found.dipole.abs().max() > 1e-3


def test_energies_without_a_gradient_in_edge_vectors_raise() -> None:
    model = Detached().double().eval()
    with pytest.raises(RuntimeError, match="have no gradient"):
        predict_atomic_stress(model, graph_of(model, structures()[0]))


def test_atomic_stresses_inside_inference_mode_equal_those_outside() -> None:
    model, graph = force_field(), graph_of(force_field(), crystal())
    expected = predict_atomic_stress(model, graph).stresses
    with torch.inference_mode():
        assert torch.equal(predict_atomic_stress(model, graph).stresses, expected)
