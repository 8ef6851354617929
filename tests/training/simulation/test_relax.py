"""Relaxation on pair potentials."""

import re
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from force_fields import force_field
from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from sikff.training.simulation.md import run_md
from sikff.training.simulation.relax import forces_round_by, relax
from sikff.training.simulation.settings import MDSettings, RelaxationSettings


@pytest.mark.parametrize("optimiser", ["bfgs", "lbfgs", "fire"])
def test_relaxation_reaches_zero_force(atoms: ase.Atoms, optimiser: str) -> None:
    atoms.set_cell(1.3 * atoms.cell, scale_atoms=True)
    assert relax(atoms, RelaxationSettings(fmax=0.01, optimiser=optimiser))
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01
    volume = atoms.get_volume()
    assert not relax(atoms, RelaxationSettings(fmax=1e-9, steps=2, optimiser=optimiser, cell=True))
    assert atoms.get_volume() > volume


class Methods(list[str]):
    """Names of the optimisers that write their steps into it, as a file."""

    def write(self, text: str) -> None:
        self.extend(re.findall("^(\\w+): ", text))

    def flush(self) -> None: ...


@pytest.mark.parametrize(("size", "method"), [(100, "BFGS"), (101, "LBFGS")])
def test_large_systems_relax_by_lbfgs_unless_told_otherwise(size: int, method: str) -> None:
    atoms = (bulk("Cu", cubic=True) * 3)[:size]
    for optimiser, used in (("auto", method), ("bfgs", "BFGS"), ("fire", "FIRE")):
        atoms.calc, log = EMT(), Methods()
        relax(atoms, RelaxationSettings(steps=1, optimiser=optimiser), log)
        assert set(log) == {used}


@pytest.mark.parametrize("cell", [False, True], ids=["atoms", "atoms and cell"])
def test_lbfgs_takes_as_many_steps_as_bfgs(cell: bool) -> None:
    ends = []
    for optimiser in ("lbfgs", "bfgs"):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.1, seed=0)
        atoms.calc, log = EMT(), Methods()
        assert relax(atoms, RelaxationSettings(fmax=1e-3, optimiser=optimiser, cell=cell), log)
        ends.append((len(log), atoms.get_potential_energy()))
    (steps, energy), (most, expected) = ends
    assert steps <= 1.2 * most
    assert energy == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("optimiser", ["lbfgs", "fire"])
def test_relaxations_with_models_in_single_precision_converge(optimiser: str) -> None:
    """To forces near their rounding, where energies have none left to compare."""
    atoms = bulk("Cu", a=4.2, cubic=True) * 2
    atoms.rattle(0.1, seed=0)
    atoms.calc = SIKFFCalculator(PairModel(), device="cpu", dtype="float32")
    assert relax(atoms, RelaxationSettings(fmax=1e-5, optimiser=optimiser))
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 1e-5


@pytest.mark.parametrize("pbc", [(True, True, False), (False, False, True), (True, True, True)])
def test_only_periodic_vectors_relax(pbc: tuple[bool, bool, bool]) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array * 0.97, scale_atoms=True)
    atoms.pbc = pbc
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    before = atoms.cell.array.copy()
    relax(atoms, RelaxationSettings(fmax=0.02, steps=15, cell=True))
    change = abs(atoms.cell.array - before)
    assert not change[~atoms.pbc].any() and not change[:, ~atoms.pbc].any()
    assert all(np.diag(change)[atoms.pbc] > 1e-3)


def test_a_cell_without_separate_periodic_directions_raises() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    tilted = atoms.copy()
    tilted.cell[2, 0] = 0.5
    for each, pbc in ((atoms, (False, False, False)), (tilted, (True, True, False))):
        each.calc, each.pbc = EMT(), pbc
        with pytest.raises(ValueError, match="the cell cannot relax: it is"):
            relax(each, RelaxationSettings(cell=True))


def test_cells_relax_under_pressure() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    assert relax(atoms, RelaxationSettings(fmax=1e-4, cell=True, pressure=10))
    assert atoms.get_stress() / units.GPa == pytest.approx([-10] * 3 + [0] * 3, abs=0.01)
    with pytest.raises(ValueError, match="pressure is 10 GPa; expected none, or"):
        relax(atoms, RelaxationSettings(pressure=10))
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match="periodic in three directions and whose cell may relax"):
        relax(atoms, RelaxationSettings(cell=True, pressure=10))


def test_a_relaxation_of_overlapping_atoms_raises_and_names_the_step(atoms: ase.Atoms) -> None:
    with pytest.raises(CalculationFailed, match=r"relaxation stopped in step \d+: atoms "):
        # such pairs repel less and less: nothing keeps crowded atoms apart
        relax(atoms, RelaxationSettings())


@pytest.mark.parametrize("cell", [False, True], ids=["atoms", "atoms and cell"])
def test_symmetry_is_kept_where_it_would_break(cell: bool) -> None:
    """Of copper under tension, whose atoms would gather if they were not all alike."""
    pytest.importorskip("spglib")
    distances = []
    for symmetry in (True, False):
        atoms = bulk("Cu", a=4.7, cubic=True) * (2, 1, 1)
        atoms.rattle(0.002, seed=0)
        atoms.calc = EMT()
        settings = RelaxationSettings(symmetry=symmetry, cell=cell and symmetry, fmax=1e-3)
        relax(atoms, settings)
        assert not atoms.constraints
        lengths = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        distances.append(np.ptp(lengths.min(axis=0)))
        if symmetry and cell:
            assert atoms.cell.lengths() / [2, 1, 1] == pytest.approx([3.59] * 3, abs=0.02)
    assert distances[0] < 1e-9
    assert distances[1] > 0.1


def test_symmetry_without_spglib_or_of_no_crystal_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, settings = bulk("Cu", cubic=True), RelaxationSettings(symmetry=True)
    atoms.calc = EMT()
    monkeypatch.setattr("sikff.training.simulation.relax.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"symmetry needs spglib; .*sikff\[crystals\]"):
        relax(atoms, settings)
    monkeypatch.setattr("sikff.training.simulation.relax.find_spec", lambda name: "there")
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match=r"\[True, True, True\] and FixAtoms constraints"):
        relax(atoms, settings)
    atoms.set_constraint()
    atoms.pbc = False
    with pytest.raises(ValueError, match=r"got pbc \[False, False, False\] and no constraints"):
        relax(atoms, settings)


def test_rounding_of_forces_is_measured() -> None:
    model, atoms = force_field(), bulk("Al", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = SIKFFCalculator(model, device="cpu")
    assert forces_round_by(atoms) == 0
    exact = atoms.get_forces()
    atoms.calc = SIKFFCalculator(model, device="cpu", dtype="float32")
    error = forces_round_by(atoms)
    assert error == pytest.approx(np.abs(atoms.get_forces() - exact).max(), rel=0.5)
    assert 0 < error < 1e-3
    atoms.calc = EMT()
    assert forces_round_by(atoms) == 0


@pytest.mark.parametrize("fmax", [0.0, -1.0, float("nan")])
def test_settings_without_a_positive_force_limit_raise(fmax: float) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        RelaxationSettings(fmax=fmax)


def test_cells_periodic_across_a_plane_of_the_model_do_not_change(tmp_path: Path) -> None:
    box = molecule("CH3OH", vacuum=2.0, pbc=True)
    model = force_field("C_inf_v", environment={"plane_origin": (0.0, 0.0, -2.0)})
    box.calc = SIKFFCalculator(model, device="cpu")
    with pytest.warns(UserWarning, match="leads through the plane: it is treated as open"):
        box.get_forces()
    for change in (
        lambda: relax(box, RelaxationSettings(cell=True)),
        lambda: run_md(box, MDSettings(ensemble="npt"), tmp_path / "md.csv"),
    ):
        with pytest.raises(ValueError, match="the model sees a plane, which no pressure moves"):
            change()
    assert not list(tmp_path.iterdir())
