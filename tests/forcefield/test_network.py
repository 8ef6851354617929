"""The force field: exact symmetry, exact derivatives, extensivity, smoothness."""

from collections.abc import Iterable

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from force_fields import (
    ELEMENTS,
    GROUPS,
    SMALL,
    crystal,
    elements_of,
    ethanol,
    force_field,
    moved,
    predict,
    slab,
    slope,
)
from sikff import ForceField, ForceFieldConfig, SymmetryGroup
from sikff.calculators import SIKFFCalculator
from sikff.graph import AtomicGraph
from symmetry_cases import outside
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
LARGER = {  # the group, or one of those, with next to nothing more
    "SO(3)": "O(3)",
    "C_inf_v": "D_inf_h",
    "SO(2)": "C_inf_v",
    "D_inf_h": "O(3)",
    "C6v": "C_inf_v",
    "Oh": "O(3)",
    "C1": "Cs",
    "C_inf_h": "D_inf_h",
    "D_inf": "D_inf_h",
    "Ci": "C2h",
    "Cs": "C2h",
    "C4": "C4v",
    "D3": "D3d",
    "D3h": "D6h",
    "Td": "Oh",
    "I": "Ih",
    "Ih": "O(3)",
    "S4": "D2d",
}
STRUCTURES = {"molecule": ethanol(), "crystal": crystal(), "slab": slab()}


def energy(model: ForceField, atoms: ase.Atoms) -> float:
    return float(predict(model, atoms).energy)


@pytest.mark.parametrize(
    ("name", "group"),
    [(name, group) for name in STRUCTURES for group in GROUPS]
    + [("molecule", group) for group in LARGER if group not in GROUPS],
)
def test_invariance_under_the_group_and_not_beyond(group: str, name: str) -> None:
    atoms, model = STRUCTURES[name], force_field(group)
    reference = predict(model, atoms, stress=bool(atoms.cell.rank == 3))
    assert reference.energies.std() > 1e-3
    assert reference.forces.abs().max() > 1e-3
    for g in elements_of(model.group):
        result = predict(model, moved(atoms, g), stress=bool(atoms.cell.rank == 3))
        turn = torch.from_numpy(g)
        assert (result.energies - reference.energies).abs().max() < LIMITS.invariance
        assert (result.forces - reference.forces @ turn.T).abs().max() < LIMITS.invariance
        if reference.stress is not None:
            expected = turn @ reference.stress @ turn.T
            assert (result.stress - expected).abs().max() < LIMITS.invariance
    if group == "O(3)":  # nothing larger
        return

    def change(elements: Iterable[np.ndarray]) -> float:
        return max(abs(energy(model, moved(atoms, g)) - float(reference.energy)) for g in elements)

    # the aluminium structures are nearly achiral, and nearly the same from six sides
    next_larger = outside(SymmetryGroup(LARGER[group]), model.group).numpy()
    assert change(next_larger) > (1e-4 if name == "molecule" else 10 * LIMITS.invariance)
    if group != "SO(3)":
        assert change(elements_of(SymmetryGroup("O(3)"))) > 1e-4


@pytest.mark.parametrize(
    ("group", "max_frequency"),
    [("C6v", 2), ("C7v", 2), ("Oh", 1), ("C1", 0), ("Cs", 0), ("C2", 0), ("D3", 0)],
)
def test_groups_that_are_refused_would_be_larger_ones(group: str, max_frequency: int) -> None:
    settings = {"elements": ELEMENTS, **SMALL, "group": group, "max_frequency": max_frequency}
    refused = group not in ("C6v", "C1", "Cs")
    if refused:
        with pytest.raises(ValueError, match=f"{group} with max_frequency {max_frequency} is one"):
            ForceFieldConfig(**settings)
    default = ForceFieldConfig(elements=ELEMENTS, **SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # some draws break the larger group by less than the control asks
        model = ForceField(default.model_copy(update=settings)).double().eval()
    larger = SymmetryGroup.from_generators(model.group.generators, lie_axes=[model.group.axis])
    atoms = ethanol()
    energies = [energy(model, moved(atoms, g.numpy())) for g in outside(larger, model.group)]
    change = np.abs(np.array(energies) - energy(model, atoms)).max()
    assert change < LIMITS.invariance if refused else change > 1e-4


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v", "C1"])
def test_translation_and_permutation(group: str) -> None:
    model = force_field(group)
    for atoms in STRUCTURES.values():
        reference = energy(model, atoms)
        order = np.random.default_rng(0).permutation(len(atoms))
        assert abs(energy(model, atoms[order]) - reference) < LIMITS.invariance * len(atoms)
        shifted = atoms.copy()
        shifted.positions += [100.3, -57.0, 1234.5]
        assert abs(energy(model, shifted) - reference) < LIMITS.invariance * len(atoms)


@pytest.mark.parametrize("group", ["O(3)", "SO(2)", "C6v"])
@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_forces_are_the_slope_of_the_energy(group: str, correlation: int) -> None:
    model, atoms = force_field(group, correlation=correlation, zbl=True), ethanol()
    forces = predict(model, atoms).forces
    for i, k in [(0, 0), (1, 2), (4, 1), (8, 2)]:

        def along(x: float, i: int = i, k: int = k) -> float:
            near = atoms.copy()
            near.positions[i, k] += x
            return energy(model, near)

        assert abs(float(forces[i, k]) + slope(along, 5e-4)) < LIMITS.forces_fd


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v"])
@pytest.mark.parametrize("atoms", [crystal(), slab()], ids=["crystal", "slab"])
def test_stress_is_the_slope_under_strain(group: str, atoms: ase.Atoms) -> None:
    model = force_field(group)
    stress = predict(model, atoms, stress=True).stress[0].numpy()
    assert np.abs(stress).max() > 1e-4
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]:

        def along(x: float, a: int = a, b: int = b) -> float:
            strain = np.eye(3)
            strain[a, b] += x / 2
            strain[b, a] += x / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return energy(model, strained)

        assert abs(stress[a, b] - slope(along) / atoms.get_volume()) < LIMITS.stress_fd


def test_a_batch_is_its_structures() -> None:
    model = force_field("SO(2)")
    graphs = [
        AtomicGraph.from_atoms(a, model.cutoff, ELEMENTS)
        for a in (ethanol(), slab(), ase.Atoms("H"), crystal())
    ]
    batch = model(AtomicGraph.batch_of(graphs))
    singles = [model(g) for g in graphs]
    assert batch.energy.shape == (4,)
    assert (batch.energy - torch.cat([s.energy for s in singles])).abs().max() < LIMITS.parity
    assert (batch.forces - torch.cat([s.forces for s in singles])).abs().max() < LIMITS.parity


@pytest.mark.parametrize("atoms", [crystal(), slab()], ids=["crystal", "slab"])
def test_a_supercell_is_its_cells(atoms: ase.Atoms) -> None:
    model = force_field("C6v")
    one, many = predict(model, atoms, stress=True), predict(model, atoms * (2, 3, 1), stress=True)
    assert abs(float(many.energy) - 6 * float(one.energy)) < 6 * len(atoms) * LIMITS.parity
    assert (many.forces - one.forces.repeat(6, 1)).abs().max() < LIMITS.invariance
    assert (many.stress - one.stress).abs().max() < LIMITS.invariance


def test_free_atoms_have_exactly_their_energies() -> None:
    model = force_field("O(3)")
    apart = ase.Atoms("HCO", positions=[[0, 0, 0], [50, 0, 0], [0, 50, 0]])
    result = predict(model, apart)
    expected = [SMALL["atomic_energies"][s] for s in "HCO"]
    assert result.energies.tolist() == expected
    assert not result.forces.any()
    both = apart + ethanol()
    both.positions[3:] += 200.0
    alone = energy(model, ethanol())
    assert abs(energy(model, both) - alone - sum(expected)) < LIMITS.invariance * 12


def test_an_atom_crosses_the_cutoff_smoothly() -> None:
    model = force_field("O(3)")

    def at(distance: float) -> tuple[float, float]:
        result = predict(model, ase.Atoms("CO", positions=[[0, 0, 0], [distance, 0, 0]]))
        return float(result.energy), float(result.forces[1, 0])

    free = SMALL["atomic_energies"]["C"] + SMALL["atomic_energies"]["O"]
    assert at(model.cutoff + 1e-9) == (free, 0.0)
    steps = np.array([0.2, 0.1, 0.05])
    values = np.array([at(model.cutoff - d) for d in steps])
    assert np.abs(values[0, 1]) > 1e-8  # it does act inside
    # C^3 envelope: energy falls at least as d^4, force as d^3 (a kink would fall as d^1 or d^0)
    order_energy = np.log2(np.abs(values[1, 0] - free) / np.abs(values[2, 0] - free))
    order_force = np.log2(np.abs(values[1, 1]) / np.abs(values[2, 1]))
    assert order_energy > 3.5
    assert order_force > 2.5


def test_the_default_model_is_invariant_in_float32() -> None:
    config = ForceFieldConfig(elements=ELEMENTS, average_neighbours=8.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForceField(config).eval()
    assert model.dtype == torch.float32
    atoms = ethanol()
    reference = predict(model, atoms)
    assert reference.energies.std() > 1e-2
    limit = 1e-6 * float((1 + reference.energies.abs()).sum())
    for g in elements_of(model.group, 8):
        turned = moved(atoms, g)
        turned.positions += [3.0, -20.0, 11.0]
        assert abs(float(predict(model, turned).energy - reference.energy)) < limit


@pytest.mark.parametrize(("group", "kept"), [("O(3)", [0, 1, 2]), ("C_inf_v", [2]), ("C1", [])])
def test_angular_momentum_is_kept_about_the_axes_of_symmetry(group: str, kept: list[int]) -> None:
    atoms = molecule("H2O")
    atoms.calc = SIKFFCalculator(force_field(group, energy_scale=0.5), device="cpu")
    momenta = np.random.default_rng(0).normal(size=(3, 3)) * 0.3
    atoms.set_momenta(momenta - momenta.mean(0))
    start = atoms.get_angular_momentum()
    VelocityVerlet(atoms, 0.2 * units.fs).run(60)
    change = np.abs(atoms.get_angular_momentum() - start)
    assert np.abs(atoms.get_momenta().sum(0)).max() < LIMITS.parity
    for axis in range(3):
        assert (change[axis] < LIMITS.invariance) == (axis in kept)


def test_gradients_reach_every_weight() -> None:
    model = force_field("SO(2)", environment={"field": True, "plane_origin": (0, 0, -3)}).train()
    result = predict(model, ethanol(), field=[0, 0, 0.3])
    (result.energy.sum() + result.forces.square().sum()).backward()
    # the species embedding reaches absent elements never, all other weights always
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
