"""Dynamics and relaxation on a pair potential."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk

from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from sikff.training.md import (
    MDSettings,
    read_structure,
    relax,
    run_md,
    thermal_momenta,
    write_structure,
)
from sikff.training.plots import read_log


@pytest.fixture
def atoms() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=0)
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    return atoms


def test_nve_conserves_energy_and_logs_it(tmp_path: Path, atoms: ase.Atoms) -> None:
    steps: list[int] = []
    settings = MDSettings(steps=60, timestep=1.0, every=20)
    summary = run_md(atoms, settings, tmp_path / "new" / "md.csv", on_step=steps.append)
    log = read_log(tmp_path / "new" / "md.csv")
    assert log["step"].tolist() == [0, 20, 40, 60]
    assert log["time_fs"].tolist() == [0, 20, 40, 60]
    assert np.abs(log["epot_eV"] + log["ekin_eV"] - log["etot_eV"]).max() < 1e-9
    assert np.ptp(log["etot_eV"]) < 0.01 * np.ptp(log["ekin_eV"])
    slope = np.polyfit(log["time_fs"] / 1000, 1000 * log["etot_eV"] / len(atoms), 1)[0]
    assert summary["drift_mev_per_atom_per_ps"] == pytest.approx(slope)
    assert log["temperature_K"][-1] == pytest.approx(atoms.get_temperature())
    assert steps == list(range(61))


@pytest.mark.parametrize("name", ["a.traj", "a.xyz", "a.extxyz"])
def test_trajectory_holds_every_recorded_frame(tmp_path: Path, atoms: ase.Atoms, name: str) -> None:
    settings = MDSettings(ensemble="nvt", steps=10, every=5, temperature=500)
    summary = run_md(atoms, settings, tmp_path / "md.csv", tmp_path / name)
    assert "drift_mev_per_atom_per_ps" not in summary
    frames = ase.io.read(tmp_path / name, index=":")
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies == pytest.approx(read_log(tmp_path / "md.csv")["epot_eV"].tolist(), abs=1e-6)
    assert np.abs(frames[-1].get_momenta() - atoms.get_momenta()).max() < 1e-6


def test_a_seed_repeats_a_simulation(tmp_path: Path, atoms: ase.Atoms) -> None:
    ends = []
    for seed in (1, 1, 2):
        start = atoms.copy()
        start.calc = atoms.calc
        run_md(start, MDSettings(ensemble="nvt", steps=5, seed=seed), tmp_path / "md.csv")
        ends.append(start.positions)
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_friction_is_per_femtosecond(tmp_path: Path, atoms: ase.Atoms) -> None:
    free = ase.Atoms("H", momenta=[[1.0, 0, 0]])
    free.calc = atoms.calc
    settings = MDSettings(ensemble="nvt", temperature=0, steps=100, timestep=1.0, friction=0.01)
    run_md(free, settings, tmp_path / "md.csv")
    assert free.get_momenta()[0, 0] == pytest.approx(np.exp(-1), rel=0.01)


def test_momenta_of_the_structure_are_kept(tmp_path: Path, atoms: ase.Atoms) -> None:
    atoms.set_momenta(np.ones((4, 3)))
    energy = atoms.get_kinetic_energy()
    run_md(atoms, MDSettings(steps=1, every=1), tmp_path / "md.csv")
    assert read_log(tmp_path / "md.csv")["ekin_eV"][0] == pytest.approx(energy)


def test_thermal_momenta_have_their_temperature() -> None:
    atoms = ase.Atoms("H2000Cu2000")
    momenta = thermal_momenta(atoms, 300.0, np.random.default_rng(0))
    kinetic = (momenta**2).sum(1) / (2 * atoms.get_masses())
    for element in ("H", "Cu"):
        mean = kinetic[atoms.symbols == element].mean()
        assert mean == pytest.approx(1.5 * units.kB * 300, rel=0.05)
    assert np.abs(momenta.sum(0)).max() < 1e-9
    assert thermal_momenta(ase.Atoms("H"), 300.0, np.random.default_rng(0)).any()


def test_an_unknown_trajectory_format_is_refused(tmp_path: Path, atoms: ase.Atoms) -> None:
    with pytest.raises(ValueError, match=r"expected a name in \.traj, \.xyz or \.extxyz"):
        run_md(atoms, MDSettings(), tmp_path / "md.csv", tmp_path / "a.pdb")


@pytest.mark.parametrize("optimiser", ["bfgs", "fire"])
def test_relaxation_reaches_zero_force(atoms: ase.Atoms, optimiser: str) -> None:
    assert relax(atoms, fmax=0.01, optimiser=optimiser)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01
    volume = atoms.get_volume()
    assert not relax(atoms, fmax=1e-9, steps=2, optimiser=optimiser, cell=True)
    assert atoms.get_volume() > volume


def test_structures_survive_a_file(tmp_path: Path, atoms: ase.Atoms) -> None:
    write_structure(tmp_path / "s.extxyz", atoms)
    assert np.abs(read_structure(tmp_path / "s.extxyz").positions - atoms.positions).max() < 1e-6
    with pytest.raises(FileNotFoundError, match="no structure file"):
        read_structure(tmp_path / "absent.xyz")
    (tmp_path / "bad.xyz").write_text("x")
    with pytest.raises(ValueError, match="ASE cannot read"):
        read_structure(tmp_path / "bad.xyz")
