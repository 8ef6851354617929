"""Checks of data: wrong units are named, right ones pass for all kinds of materials."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111, graphene, molecule, mx2
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from ase.data import chemical_symbols, reference_states
from ase.units import Bohr, GPa, Hartree, Rydberg, kcal, kJ, mol
from hypothesis import given, settings
from hypothesis import strategies as st

from made_labels import scaled, with_labels
from sikff.training.config import TrainConfig
from sikff.training.data.check_labels import check_labels
from sikff.training.data.check_strain import wrong_stress
from sikff.training.data.check_units import (
    check_units,
    thomas_fermi,
    wrong_isolated,
    wrong_lengths,
    wrong_totals,
)
from sikff.training.data.check_work import wrong_work
from sikff.training.data.dataset import load_dataset
from sikff.training.data.labels import LabelKeys
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures, split_isolated

METHANOL = Path(__file__).parents[3] / "examples" / "data" / "methanol_field.xyz"


def stretched(atoms: ase.Atoms, factor: float) -> ase.Atoms:
    """Positions and cell multiplied."""
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array * factor, scale_atoms=False)
    atoms.positions *= factor
    return atoms


def computed(structures: Sequence[ase.Atoms], calculator: Calculator) -> Structures:
    """Structures labelled by a calculator."""
    energies, forces = [], []
    for atoms in structures:
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        atoms.calc = None
    return with_labels(structures, energy=energies, forces=forces)


def rattled(atoms: ase.Atoms, count: int, size: float, seed: int = 0) -> list[ase.Atoms]:
    rng = np.random.default_rng(seed)
    frames = [atoms.copy() for _ in range(count)]
    for each in frames:
        each.positions += rng.normal(0, size, each.positions.shape)
    return frames


@pytest.fixture(scope="module")
def methanol() -> Structures:
    """Molecules with energies of all electrons, in and out of a field."""
    structures, _ = split_isolated(read_structures(METHANOL))
    return structures.select(range(0, len(structures), 2)).with_labels(LabelKeys())


# Lengths


def crystals() -> dict[str, ase.Atoms]:
    """The reference states of the elements in ASE, and some compounds."""
    found = {}
    for symbol, state in zip(chemical_symbols, reference_states, strict=False):
        if (state or {}).get("symmetry") in ("fcc", "bcc", "hcp") and "basis" not in state:
            found[symbol] = bulk(symbol)
    for formula, structure, a in [
        ("NaCl", "rocksalt", 5.64),
        ("MgO", "rocksalt", 4.21),
        ("RbI", "rocksalt", 7.34),
        ("PbTe", "rocksalt", 6.46),
        ("PdH", "rocksalt", 4.1),
        ("CsCl", "cesiumchloride", 4.12),
        ("Si", "diamond", 5.43),
        ("GaAs", "zincblende", 5.65),
        ("UO2", "fluorite", 5.47),
    ]:
        found[formula] = bulk(formula, structure, a)
    return found


def water_box() -> ase.Atoms:
    water = molecule("H2O")
    water.cell = [3.1] * 3
    water.pbc = True
    return water * (3, 3, 3)


def water_dimer(distance: float) -> ase.Atoms:
    other = molecule("H2O")
    other.translate([0, 0, distance])
    return molecule("H2O") + other


def apart(symbols: str, distance: float) -> ase.Atoms:
    return ase.Atoms(symbols, [[0, 0, 0], [0, 0, distance]])


def test_molecules_and_crystals_are_in_angstrom() -> None:
    structures = {name: molecule(name) for name in g2.names} | crystals()
    assert not [name for name, each in structures.items() if wrong_lengths(Structures.of([each]))]


SPARSE = {
    "solid argon": [bulk("Ar")],
    "argon gas": [ase.Atoms("Ar27", np.indices((3, 3, 3)).reshape(3, -1).T * 12.0)],
    "metal vapour": [
        ase.Atoms("Cu8", np.random.default_rng(n).uniform(0, 15, (8, 3))) for n in range(20)
    ],
    "dimers taken apart": [apart("Zn2", d) for d in (4.0, 4.5, 5.0)],
    "dissociation": [apart("H2", d) for d in np.arange(0.5, 6, 0.1)],
    "free atoms": [ase.Atoms("C"), ase.Atoms("Na")],
    "free atoms in boxes": [ase.Atoms(s, cell=[12] * 3, pbc=True) for s in ("C", "Na")],
    "expanded crystals": [bulk("Cu", a=a) for a in np.arange(3.0, 7.0, 0.2)],
    "water dimers": [water_dimer(d) for d in (2.5, 3.0, 4.0, 6.0)],
    "unknown radius": [ase.Atoms("Fm4", np.eye(4)[:, :3] * 2)],
}
DENSE = {
    "water": [water_box()],
    "graphene": [graphene()],
    "mos2": [mx2()],
    "molecules": [molecule(name) for name in g2.names],
    "crystals": list(crystals().values()),
    "copper": [bulk("Cu")],
    "salt": [bulk("NaCl", "rocksalt", 5.64)],
    "ethanol": [molecule("CH3CH2OH")],
}


@pytest.mark.parametrize("name", [*SPARSE, *DENSE])
def test_lengths_that_pass(name: str) -> None:
    assert wrong_lengths(Structures.of((SPARSE | DENSE)[name])) is None


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(("unit", "size"), [("Bohr", Bohr), ("nm", 10.0)])
def test_lengths_in_other_units_are_named(name: str, unit: str, size: float) -> None:
    frames = Structures.of(stretched(atoms, 1 / size) for atoms in DENSE[name])
    assert f"positions seem to be in {unit}; expected Å" in str(wrong_lengths(frames))


def test_a_structure_without_a_cell_is_named() -> None:
    frames = Structures.of([bulk("Cu"), ase.Atoms("Cu", pbc=True)])
    with pytest.raises(ValueError, match="structure 1: "):
        wrong_lengths(frames)


# Energies against forces

MIXTURES = {
    "energies in Hartree with forces in eV/Å": (1 / Hartree, 1.0),
    "energies in Rydberg with forces in eV/Å": (1 / Rydberg, 1.0),
    "energies in kcal/mol with forces in eV/Å": (mol / kcal, 1.0),
    "energies in kJ/mol with forces in eV/Å": (mol / kJ, 1.0),
    "energies in eV with forces in Hartree/Bohr": (1.0, Bohr / Hartree),
    "energies in eV with forces in kcal/mol/Å": (1.0, mol / kcal),
    "energies in eV with forces in eV/Bohr": (1.0, Bohr),
    "energies in eV with forces in kJ/mol/nm": (1.0, 10 * mol / kJ),
    "energies per atom": (1 / 6, 1.0),
    "their sign is wrong": (1.0, -1.0),
    "their sign is wrong, which fits energies in eV with forces in Hartree/Bohr": (
        1.0,
        -Bohr / Hartree,
    ),
}


@pytest.mark.parametrize("text", MIXTURES)
def test_mixed_units_are_named(methanol: Structures, text: str) -> None:
    assert wrong_work(methanol) is None
    energy, forces = MIXTURES[text]
    assert text in str(wrong_work(scaled(methanol, energy=energy, forces=forces)))


def test_consistent_units_pass(methanol: Structures) -> None:
    assert wrong_work(scaled(methanol, energy=1 / Hartree, forces=1 / Hartree)) is None


def curve(start: float, step: float, symbol: str) -> list[ase.Atoms]:
    return [apart(f"{symbol}2", d) for d in np.arange(start, 6.0, step)]


@pytest.mark.parametrize("size", [0.01, 0.1, 0.2])
@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", cubic=True),
        molecule("CH3CH2OH"),
        molecule("H2O"),
        fcc111("Al", (2, 2, 2), vacuum=6),
    ],
    ids=["copper", "ethanol", "water", "slab"],
)
def test_work_and_energy_of_rattled_structures_agree(atoms: ase.Atoms, size: float) -> None:
    assert wrong_work(computed(rattled(atoms, 15, size), EMT())) is None


@pytest.mark.parametrize("step", [0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("start", [0.6, 0.9])
@pytest.mark.parametrize(
    "calculator",
    [LennardJones(sigma=1.0, rc=30.0), MorsePotential(epsilon=4.7, r0=0.74, rho0=1.44)],
    ids=["lj", "morse"],
)
def test_coarse_curves_pass(calculator: Calculator, start: float, step: float) -> None:
    """On a steep wall the rule is off by a factor of five; one wall must not decide."""
    assert wrong_work(computed(curve(start, step, "H"), calculator)) is None


def test_rotated_and_unrelated_structures(methanol: Structures) -> None:
    """Free molecules may be turned before they are compared; too few or random ones say nothing."""
    rng = np.random.default_rng(0)
    structures = computed(rattled(molecule("CH3CH2OH"), 30, 0.05), EMT())
    energies, forces = structures.values("energy"), structures.values("forces")
    for place, atoms in enumerate(structures.atoms):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        atoms.positions = atoms.positions @ turn + rng.normal(size=3)
        forces[place] = forces[place] @ turn
    turned = with_labels(structures.atoms, energy=energies, forces=forces)
    assert wrong_work(turned) is None
    wrong = scaled(turned, forces=-1)
    assert "their sign is wrong" in str(wrong_work(wrong))
    assert wrong_work(wrong.select([0, 1, 2])) is None
    some = [force if place % 2 else None for place, force in enumerate(wrong.values("forces"))]
    partly = with_labels(structures.atoms, energy=energies, forces=some)
    assert "their sign is wrong" in str(wrong_work(partly))
    order = rng.permutation(len(forces))
    shuffled = [-forces[k] for k in order]
    assert wrong_work(with_labels(structures.atoms, energy=energies, forces=shuffled)) is None


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.floats(-9, 9), negative=st.booleans())
def test_the_ratio_in_a_harmonic_solid_decides(seed: int, exponent: float, negative: bool) -> None:
    """The rule is exact there, whatever the force constants."""
    crystal = bulk("Cu", cubic=True)
    frames = rattled(crystal, 12, 0.05, seed)
    moves = [(atoms.positions - crystal.positions).ravel() for atoms in frames]
    root = np.random.default_rng(seed).normal(size=(12, 4, 3))
    root = (root - root.mean(1, keepdims=True)).reshape(12, 12)  # moving all atoms costs nothing
    hessian = root.T @ root
    ratio = -math.exp(exponent) if negative else math.exp(exponent)
    labels = {
        "energy": [np.array(0.5 * ratio * move @ hessian @ move) for move in moves],
        "forces": [-(hessian @ move).reshape(4, 3) for move in moves],
    }
    complaint = wrong_work(with_labels(frames, **labels))
    if negative:
        assert "their sign is wrong" in str(complaint)
    elif 1 / 1.4 < ratio < 1.4:
        assert complaint is None
    elif complaint is not None:
        assert f"energies change by {ratio:.3g} times the work against the forces" in complaint


# Totals


def composed(formulas: Sequence[str], total: Callable[[np.ndarray], np.ndarray]) -> Structures:
    """Loose atoms of each composition, with the sum of `total` over their atomic numbers."""
    atoms = [ase.Atoms(formula) for formula in formulas]
    for each in atoms:
        each.positions[:, 0] = np.arange(len(each))
    return with_labels(atoms, energy=[total(each.numbers).sum() for each in atoms])


UNITS = {"Hartree": 1.0, "Rydberg": Hartree / Rydberg}
UNITS |= {"kcal/mol": Hartree * mol / kcal, "kJ/mol": Hartree * mol / kJ}
LIGHT = ("C2H6O", "CH4O", "C6H6", "NH2CHO")
HEAVY = ("C2H6SO", "CHCl3", "C4H4S", "C2H5Cl", "CH4O", "C6H6")


def test_estimates_of_total_energies() -> None:
    """Hartree-Fock energies of free atoms, textbook numbers (Hartree)."""
    known = {6: -37.689, 7: -54.401, 8: -74.809, 14: -288.854, 16: -397.505, 18: -526.818}
    estimates = thomas_fermi(np.array(list(known)))
    assert estimates == pytest.approx(np.array(list(known.values())), rel=0.01)


@pytest.mark.parametrize("unit", UNITS)
def test_totals_of_all_electrons_are_named(methanol: Structures, unit: str) -> None:
    isolated = {a.symbols[0]: a.info["REF_energy"] for a in ase.io.read(METHANOL, ":3")}
    assert set(isolated) == {"C", "H", "O"}
    factor = UNITS[unit] / Hartree
    assert wrong_totals(methanol, isolated) is None
    complaint = wrong_totals(
        scaled(methanol, energy=factor), {e: factor * energy for e, energy in isolated.items()}
    )
    assert f"those of all electrons in {unit}" in str(complaint)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("formulas", [LIGHT, HEAVY], ids=["light", "heavy"])
def test_compositions_determine_the_unit(formulas: Sequence[str], unit: str) -> None:
    structures = composed(formulas, lambda z: 1.01 * UNITS[unit] * thomas_fermi(z))
    assert f"all electrons in {unit}" in str(wrong_totals(structures, {}))
    structures = composed(formulas, lambda z: 1.04 * UNITS[unit] * thomas_fermi(z))
    assert wrong_totals(structures, {}) is None


@pytest.mark.parametrize(
    ("formulas", "total"),
    [
        (HEAVY, lambda z: Hartree * thomas_fermi(z)),
        (HEAVY, lambda z: -5.0 * np.ones(len(z))),
        (LIGHT, lambda z: np.select([z == 1, z == 6, z == 7], [-13.4, -155.0, -270.0], -430.0)),
        (LIGHT, lambda z: np.select([z == 1, z == 6, z == 7], [-12.5, -55.0, -78.0], -115.0)),
        (("C2H6O",), lambda z: np.full(len(z), -310.05 / 9)),  # GFN2-xTB: 2.02 times the estimate
        (("CHCl3",), thomas_fermi),  # one composition with heavy atoms may come near by accident
        (("C2H6SO",), lambda z: 2 * thomas_fermi(z)),
        (("H2", "H3", "H4"), thomas_fermi),
        (("V2", "V3"), lambda z: 2 * thomas_fermi(z)),  # so does a pseudopotential of vanadium
        (LIGHT, lambda z: -thomas_fermi(z)),
        (LIGHT, lambda z: 0 * thomas_fermi(z)),
    ],
    ids=range(11),
)
def test_other_totals_pass(formulas: Sequence[str], total: Callable) -> None:
    assert wrong_totals(composed(formulas, total), {}) is None


def test_isolated_atoms_of_another_unit() -> None:
    structures = composed(("C2H6O", "CH4O"), lambda z: -5 + Hartree * thomas_fermi(z))
    free = dict(zip("HCO", Hartree * thomas_fermi(np.array([1, 6, 8])), strict=True))
    assert wrong_isolated(structures, free) is None
    assert wrong_isolated(structures, {"C": 0.0, "H": 0.0}) is None  # O is missing
    complaint = wrong_isolated(structures, {e: v / Hartree for e, v in free.items()})
    assert "eV per atom from those of isolated atoms" in str(complaint)


def test_stress() -> None:
    stress = np.diag([0.02, -0.03, 0.05])
    assert wrong_stress(with_labels([bulk("Cu")] * 2, stress=[stress, -stress])) is None
    assert wrong_stress(with_labels([bulk("Cu")], stress=[None])) is None
    large = with_labels([bulk("Cu")], stress=[stress / GPa * 100])
    assert "GPa or kbar" in str(wrong_stress(large))


# Labels that nobody computed


def test_constant_energies() -> None:
    atoms = rattled(bulk("Cu", cubic=True), 4, 0.1)
    check_labels(computed(atoms, EMT()))
    with pytest.raises(
        ValueError, match=r"^structures: 4 of 4 energies are -3 eV, though structures diff"
    ):
        check_labels(with_labels(atoms, energy=[-3.0] * 4))
    with pytest.raises(ValueError, match="3 of 4 energies are -3 eV"):
        check_labels(with_labels(atoms, energy=[-3.0, -3.0, -3.0, -2.0]))
    check_labels(with_labels(atoms, energy=[-3.0, -3.0, -2.0, -1.0]))
    check_labels(with_labels([atoms[0]] * 4, energy=[-3.0] * 4))


def test_zero_forces() -> None:
    structures = computed(rattled(bulk("Cu", cubic=True), 4, 0.1), EMT())
    energies, zero = structures.values("energy"), [np.zeros((4, 3))] * 4
    with pytest.raises(ValueError, match=r"all forces are zero, .* \(loss.forces: 0\)$"):
        check_labels(with_labels(structures.atoms, energy=energies, forces=zero))
    forces = [zero[0], None, None, None]
    check_labels(with_labels(structures.atoms, energy=energies, forces=forces))
    symmetric = computed([bulk("Cu", cubic=True, a=a) for a in (3.5, 3.6, 3.7)], EMT())
    check_labels(scaled(symmetric, forces=0))  # another cell, no forces by symmetry


# The switch


def test_checks_can_be_switched_off(config: TrainConfig) -> None:
    load_dataset(config)
    frames = ase.io.read(config.data.train, ":-2")
    for atoms in frames:
        results = atoms.calc.results
        atoms.positions, atoms.cell = atoms.positions / Bohr, atoms.cell.array / Bohr
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(config.data.train, frames)
    with pytest.raises(ValueError, match=r"train.xyz: atoms are .* set data.check_units: false"):
        load_dataset(config)
    data = config.data.model_copy(update={"check_units": False})
    dataset = load_dataset(config.model_copy(update={"data": data}))
    assert len(dataset.train) == 9


def test_all_checks_together(methanol: Structures) -> None:
    check_units(methanol, {})
    for energy, forces in ((1 / Hartree, 1 / Hartree), (1.0, -1.0)):
        with pytest.raises(ValueError, match=r"expected eV|sign") as caught:
            check_units(scaled(methanol, energy=energy, forces=forces), {})
        assert "\n" not in str(caught.value)
    labels = {name: methanol.values(name) for name in ("energy", "forces")}
    stress = [np.full((3, 3), 99.0)] * len(methanol)
    with pytest.raises(ValueError, match="GPa"):
        check_units(with_labels(methanol.atoms, **labels, stress=stress), {})
