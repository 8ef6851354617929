"""Harmonic frequencies, against ASE and closed forms."""

from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from ase.vibrations import Vibrations as Oracle

from force_fields import force_field
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.vibrations import harmonic_frequencies


def relaxed_water() -> ase.Atoms:
    atoms = molecule("H2O", calculator=EMT())
    atoms.rotate(35, (1, 2, 3))
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return atoms


def test_frequencies_are_those_of_ase(tmp_path: Path) -> None:
    atoms = relaxed_water()
    found = harmonic_frequencies(atoms)
    oracle = Oracle(atoms, name=str(tmp_path / "vibrations"), delta=0.01)
    oracle.run()
    expected = oracle.get_frequencies()
    expected = np.sort(expected.real - expected.imag)
    assert found.wavenumbers == pytest.approx(expected, abs=0.5)
    assert found.wavenumbers[-1] > 1000
    assert found.kinds.count("translation") == found.kinds.count("rotation") == 3
    assert found.kinds[-3:] == ["internal"] * 3


def test_a_free_molecule_has_no_imaginary_frequency() -> None:
    atoms = ase.Atoms("Ar3", [[0, 0, 0], [1.1, 0, 0], [0.5, 1, 0]], calculator=LennardJones(rc=50))
    BFGS(atoms, logfile=None).run(fmax=1e-5)
    found = harmonic_frequencies(atoms)
    assert found.n_imaginary == 0
    assert sorted(found.kinds) == ["internal"] * 3 + ["rotation"] * 3 + ["translation"] * 3


def test_a_dimer_vibrates_as_its_closed_form() -> None:
    atoms = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 2 ** (1 / 6)]], calculator=LennardJones(rc=50))
    frequency = np.sqrt(57.146 * 2 / atoms.get_masses()[0] * units._e * 1e20 / units._amu)
    found = harmonic_frequencies(atoms, 1e-4)
    wavenumber = frequency / (2 * np.pi * units._c * 100)
    assert found.wavenumbers[-1] == pytest.approx(wavenumber, rel=1e-4)
    assert found.zero_point_energy == pytest.approx(wavenumber * units.invcm / 2, rel=1e-2)
    assert found.kinds[-1] == "internal"


def test_held_atoms_do_not_move_and_saddle_points_have_an_imaginary_frequency() -> None:
    ends = [[-1.1, 0, 0], [1.1, 0, 0]]
    atoms = ase.Atoms("Ar3", [[0, 0, 0], *ends], calculator=LennardJones())
    atoms.set_constraint(FixAtoms([1, 2]))
    before = atoms.positions.copy()
    found = harmonic_frequencies(atoms)
    assert found.modes.shape == (3, 1, 3)
    assert np.array_equal(atoms.positions, before)
    assert found.n_imaginary == 2  # two directions away from the line lead downhill
    assert found.kinds == ["translation"] * 3


def test_frequencies_of_a_force_field_are_those_of_its_hessian(tmp_path: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.set_constraint(FixAtoms([1]))
    atoms.calc = SIKFFCalculator(force_field(zbl=True), device="cpu")
    found = harmonic_frequencies(atoms)
    oracle = Oracle(atoms, [0, 2, 3, 4, 5], name=str(tmp_path / "vibrations"), delta=0.002)
    oracle.run()
    expected = oracle.get_frequencies()
    expected = np.sort(expected.real - expected.imag)
    assert found.wavenumbers == pytest.approx(expected, rel=1e-3, abs=1.0)
    assert found.modes.shape == (15, 5, 3)


def test_what_cannot_vibrate_is_refused() -> None:
    atoms = relaxed_water()
    with pytest.raises(ValueError, match="positive displacement"):
        harmonic_frequencies(atoms, 0.0)
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    with pytest.raises(ValueError, match="no atom may move"):
        harmonic_frequencies(atoms)
    atoms.calc = None
    with pytest.raises(ValueError, match="no calculator"):
        harmonic_frequencies(atoms)
