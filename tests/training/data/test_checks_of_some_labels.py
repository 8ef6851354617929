"""Checks of data where labels are missing: they look at those there are."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import fcc111
from ase.calculators.emt import EMT

from made_labels import scaled, with_labels
from sikff.training.data.check_labels import check_labels
from sikff.training.data.check_units import check_units, wrong_totals
from sikff.training.data.check_work import wrong_work
from sikff.training.data.labels import LabelKeys
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures, split_isolated

METHANOL = Path(__file__).parents[3] / "examples" / "data" / "methanol_field.xyz"


@pytest.fixture(scope="module")
def mixed() -> Structures:
    """Molecules, every third without an energy, every third without forces."""
    structures, _ = split_isolated(read_structures(METHANOL))
    structures = structures.select(range(0, 90)).with_labels(LabelKeys())
    energies = [None if n % 3 == 1 else e for n, e in enumerate(structures.values("energy"))]
    forces = [None if n % 3 == 2 else f for n, f in enumerate(structures.values("forces"))]
    return with_labels(structures.atoms, energy=energies, forces=forces)


def test_labels_of_some_structures_are_checked(mixed: Structures) -> None:
    check_labels(mixed)
    check_units(mixed, {})
    assert "Hartree" in wrong_totals(scaled(mixed, energy=1 / 27.2114), {})
    zero = scaled(mixed, forces=0.0)
    with pytest.raises(ValueError, match="all forces are zero"):
        check_labels(zero)
    same = with_labels(mixed.atoms, energy=[-1.0 if n % 2 else None for n in range(len(mixed))])
    with pytest.raises(ValueError, match="45 of 45 energies are -1 eV"):
        check_labels(same)


def test_structures_without_any_energy_pass(mixed: Structures) -> None:
    forces = mixed.having("forces")
    bare = with_labels(forces.atoms, forces=forces.values("forces"))
    check_labels(bare)
    check_units(bare, {"C": -1000.0, "H": -10.0, "O": -2000.0})


def slabs(moves_of_held: float) -> Structures:
    """Slabs whose two lower layers have no known forces, and move by so much (Å)."""
    rng = np.random.default_rng(0)
    start = fcc111("Cu", (2, 2, 3), a=3.6, vacuum=6)
    held = start.get_tags() > 1
    frames, energies, forces = [], [], []
    for _ in range(30):
        atoms = start.copy()
        steps = rng.normal(0, 0.04, (len(atoms), 3))
        steps[held] *= moves_of_held / 0.04
        atoms.positions += steps
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        forces[-1][held] = np.nan
        atoms.calc = None
        frames.append(atoms)
    return with_labels(frames, energy=energies, forces=forces)


def test_work_of_unknown_forces_on_held_atoms_is_zero() -> None:
    still = slabs(0.0)
    assert wrong_work(still) is None
    for factor, words in ((-1.0, "sign is wrong"), (1 / 27.2114, "Hartree")):
        assert words in wrong_work(scaled(still, forces=factor))


def test_work_of_unknown_forces_on_atoms_that_move_is_not_guessed() -> None:
    assert wrong_work(scaled(slabs(0.2), forces=-1.0)) is None
