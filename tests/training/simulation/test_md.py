"""Molecular dynamics on a pair potential."""

import os
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLengths, FixCom

from disk import full_disk
from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.plots import read_log
from sikff.training.simulation.md import run_md, thermal_momenta
from sikff.training.simulation.settings import MDSettings
from sikff.training.simulation.structure_files import read_structure
from tolerances import TOLERANCES, WRITTEN

LIMITS = TOLERANCES[torch.float64]


def test_nve_conserves_energy_and_logs_it(tmp_path: Path, atoms: ase.Atoms) -> None:
    steps: list[int] = []
    settings = MDSettings(steps=60, timestep=1.0, every=20)
    summary = run_md(atoms, settings, tmp_path / "new" / "md.csv", on_step=steps.append)
    log = read_log(tmp_path / "new" / "md.csv")
    assert log["step"].tolist() == [0, 20, 40, 60]
    assert log["time_fs"].tolist() == [0, 20, 40, 60]
    assert np.abs(log["epot_eV"] + log["ekin_eV"] - log["etot_eV"]).max() < LIMITS.invariance
    assert np.ptp(log["etot_eV"]) < 0.01 * np.ptp(log["ekin_eV"])
    slope = np.polyfit(log["time_fs"] / 1000, 1000 * log["etot_eV"] / len(atoms), 1)[0]
    assert summary["drift_mev_per_atom_per_ps"] == pytest.approx(slope)
    assert log["temperature_K"][-1] == pytest.approx(atoms.get_temperature())
    assert steps == list(range(61))


class Ideal(Calculator):
    """Atoms that do not feel each other."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def test_an_ideal_gas_has_the_volumes_of_its_ensemble(tmp_path: Path) -> None:
    """V^N exp(-PV/kT): of mean (N + 1) kT/P and standard deviation sqrt(N + 1) kT/P."""
    count, pressure, temperature = 4, 0.02, 400.0
    unit = units.kB * temperature / (pressure * units.GPa)
    atoms = ase.Atoms(f"Ar{count}", np.zeros((count, 3)), cell=3 * [unit ** (1 / 3)], pbc=True)
    atoms.calc = Ideal()
    settings = {"ensemble": "npt", "steps": 15_000, "timestep": 10.0, "friction": 0.1, "every": 10}
    settings |= {"pressure": pressure, "temperature": temperature}
    run_md(atoms, MDSettings.model_validate(settings), tmp_path / "md.csv")
    log = {name: column[200:] for name, column in read_log(tmp_path / "md.csv").items()}
    volumes = log["volume_A3"] / unit
    assert volumes.mean() == pytest.approx(count + 1, rel=0.1)
    assert volumes.std() == pytest.approx((count + 1) ** 0.5, rel=0.2)
    assert log["temperature_K"].mean() == pytest.approx(temperature, rel=0.05)
    kinetic = units.kB * log["temperature_K"] * count / log["volume_A3"]
    assert np.abs(log["pressure_GPa"] - kinetic / units.GPa).max() < 1e-9


def test_npt_keeps_the_pressure_of_a_crystal(tmp_path: Path) -> None:
    settings = {"ensemble": "npt", "steps": 300, "timestep": 4.0, "friction": 0.05}
    volumes = []
    for pressure in (0.0, 20.0):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        shape = atoms.cell.array / atoms.get_volume() ** (1 / 3)
        atoms.calc = EMT()
        settings["pressure"] = pressure
        summary = run_md(atoms, MDSettings.model_validate(settings), tmp_path / "md.csv")
        log = read_log(tmp_path / "md.csv")
        assert log["pressure_GPa"][10:].mean() == pytest.approx(pressure, abs=2)
        assert log["volume_A3"][-1] == pytest.approx(atoms.get_volume())
        assert summary["volume_A3"] == pytest.approx(log["volume_A3"].mean())
        assert np.abs(atoms.cell.array / atoms.get_volume() ** (1 / 3) - shape).max() < 1e-9
        volumes.append(log["volume_A3"][10:].mean())
    assert volumes[1] < 0.92 * volumes[0]  # a bulk modulus of some 140 GPa


def test_npt_raises_for_settings_and_structures_that_it_cannot_run(
    tmp_path: Path, atoms: ase.Atoms
) -> None:
    with pytest.raises(ValueError, match="pressure is 1 GPa, but nvt keeps the cell; take npt"):
        MDSettings(ensemble="nvt", pressure=1)
    with pytest.raises(ValueError, match="temperature is 0 K; npt expects one above"):
        MDSettings(ensemble="npt", temperature=0)
    npt, log = MDSettings(ensemble="npt"), tmp_path / "md.csv"
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="npt moves all atoms with the cell; remove FixAtoms"):
        run_md(atoms, npt, log)
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"periodic in three directions; got pbc \[True, True, F"):
        run_md(atoms, npt, log)
    assert not log.exists()


@pytest.mark.parametrize("name", ["a.traj", "a.xyz", "a.extxyz"])
def test_trajectory_holds_every_recorded_frame(tmp_path: Path, atoms: ase.Atoms, name: str) -> None:
    settings = MDSettings(ensemble="nvt", steps=10, every=5, temperature=500)
    summary = run_md(atoms, settings, tmp_path / "md.csv", tmp_path / name)
    assert "drift_mev_per_atom_per_ps" not in summary
    frames = ase.io.read(tmp_path / name, index=":")
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies == pytest.approx(read_log(tmp_path / "md.csv")["epot_eV"].tolist(), abs=WRITTEN)
    assert np.abs(frames[-1].get_momenta() - atoms.get_momenta()).max() < WRITTEN


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
    assert np.abs(momenta.sum(0)).max() < LIMITS.invariance
    assert thermal_momenta(ase.Atoms("H"), 300.0, np.random.default_rng(0)).any()


HELD = {
    "none": ([], 300.0 * 999 / 1000),
    "atoms": ([FixAtoms(range(500))], 300.0),
    "bonds": ([FixBondLengths([(k, k + 1) for k in range(0, 1000, 2)])], 300.0 * 2497 / 2500),
    "centre of mass": ([FixCom()], 300.0),
    "atoms and bonds": ([FixAtoms(range(700)), FixBondLengths([(800, 801), (802, 803)])], 300.0),
}


@pytest.mark.parametrize("name", HELD)
def test_thermal_momenta_obey_constraints(name: str) -> None:
    """Unless something holds them, atoms do not drift: three degrees of freedom stay empty."""
    constraints, expected = HELD[name]
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("HCu" * 500, rng.uniform(0, 30, (1000, 3)), constraint=constraints)
    temperatures = []
    for _ in range(40):
        momenta = thermal_momenta(atoms, 300.0, rng)
        atoms.set_momenta(momenta, apply_constraint=False)
        temperatures.append(atoms.get_temperature())
        atoms.set_momenta(momenta)
        assert np.abs(atoms.get_momenta() - momenta).max() < LIMITS.invariance
        drifts = np.abs(momenta.sum(0)).max() > LIMITS.invariance
        assert drifts == ("atoms" in name)
    error = np.std(temperatures) / len(temperatures) ** 0.5
    assert abs(np.mean(temperatures) - expected) < 4 * error
    assert error < 3


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_constraints_stay_in_force(tmp_path: Path, atoms: ase.Atoms, ensemble: str) -> None:
    calculator, atoms = atoms.calc, atoms * (2, 2, 2)
    atoms.calc = calculator
    atoms.set_constraint([FixAtoms([0]), FixBondLengths([(1, 2)])])
    atoms.set_momenta(np.ones((32, 3)), apply_constraint=False)
    start = atoms.copy()
    run_md(atoms, MDSettings(ensemble=ensemble, steps=20), tmp_path / "md.csv", tmp_path / "a.traj")
    assert np.array_equal(atoms.positions[0], start.positions[0])
    bond = start.get_distance(1, 2)
    assert atoms.get_distance(1, 2) == pytest.approx(bond, rel=LIMITS.invariance)
    assert np.abs(atoms.positions[3] - start.positions[3]).max() > 1e-3
    assert not read_structure(tmp_path / "a.traj").get_momenta()[0].any()
    atoms.set_constraint(FixAtoms(range(32)))
    with pytest.raises(ValueError, match="no degree of freedom"):
        run_md(atoms, MDSettings(), tmp_path / "md.csv")


@pytest.mark.parametrize("name", ["a.traj", "a.xyz"])
def test_log_and_frames_are_readable_during_a_run(
    tmp_path: Path, atoms: ase.Atoms, name: str
) -> None:
    def look(step: int) -> None:
        assert len(read_log(tmp_path / "md.csv")["step"]) == 1 + step // 2
        assert len(ase.io.read(tmp_path / name, index=":")) == 1 + step // 2
        seen.append(step)

    seen: list[int] = []
    run_md(atoms, MDSettings(steps=5, every=2), tmp_path / "md.csv", tmp_path / name, on_step=look)
    assert seen == list(range(6))


def test_failing_dynamics_keep_their_frames(tmp_path: Path, atoms: ase.Atoms) -> None:
    def collide(step: int) -> None:
        if step == 5:
            atoms.positions[0] = atoms.positions[1]
            atoms.set_momenta(np.zeros((4, 3)))

    settings = MDSettings(steps=9, every=2)
    with pytest.raises(CalculationFailed, match=r"in step 6 of 9 \(frames kept: 3\); .* rest: at"):
        run_md(atoms, settings, tmp_path / "md.csv", tmp_path / "a.traj", on_step=collide)
    assert read_log(tmp_path / "md.csv")["step"].tolist() == [0, 2, 4]
    assert len(ase.io.read(tmp_path / "a.traj", index=":")) == 3


def test_an_unknown_element_raises_before_a_file_is_opened(
    tmp_path: Path, atoms: ase.Atoms
) -> None:
    atoms.symbols[0] = "Xe"
    with pytest.raises(ValueError, match="Xe"):
        run_md(atoms, MDSettings(), tmp_path / "md.csv", tmp_path / "a.traj")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shared", ["md.csv", "md.traj"])
def test_files_of_a_simulation_that_runs_are_refused(
    tmp_path: Path, atoms: ase.Atoms, shared: str
) -> None:
    files = {"log": tmp_path / "md.csv", "trajectory": tmp_path / "md.traj"}
    others = {
        name: path if path.name == shared else tmp_path / name for name, path in files.items()
    }
    refused = []

    def start_another(step: int) -> None:
        with pytest.raises(BlockingIOError, match=rf"{shared}' is in use by process .* name$"):
            run_md(atoms, MDSettings(steps=1), **others)
        refused.append(step)

    run_md(atoms, MDSettings(steps=4, every=1), **files, on_step=start_another)
    assert refused == [0, 1, 2, 3, 4]
    assert len(read_log(files["log"])["step"]) == len(ase.io.read(files["trajectory"], ":")) == 5
    assert len(os.listdir(tmp_path)) == 2


def test_a_full_disk_ends_the_run(tmp_path: Path, atoms: ase.Atoms) -> None:
    with full_disk(5000), pytest.raises(OSError, match="File too large"):
        run_md(atoms, MDSettings(steps=50, every=1), tmp_path / "md.csv", tmp_path / "a.xyz")
    assert len(ase.io.read(tmp_path / "a.xyz", index=":3")) == 3


def test_a_committee_logs_its_force_deviation(tmp_path: Path, atoms: ase.Atoms) -> None:
    models = [PairModel().double(), PairModel().double()]
    with torch.no_grad():
        models[1].weight.mul_(1.5)
    atoms.calc = SIKFFCalculator(models, device="cpu")
    run_md(atoms, MDSettings(steps=4, every=2), tmp_path / "md.csv")
    log = read_log(tmp_path / "md.csv")
    assert len(log["force_std_eV_per_A"]) == 3
    spread = 0.5 / 1.25 / 2**0.5  # of f and 1.5 f, relative to their mean 1.25 f
    assert log["force_std_eV_per_A"][-1] == pytest.approx(spread * np.abs(atoms.get_forces()).max())


def test_an_unknown_trajectory_format_raises(tmp_path: Path, atoms: ase.Atoms) -> None:
    with pytest.raises(ValueError, match=r"expected a name in \.traj, \.xyz or \.extxyz"):
        run_md(atoms, MDSettings(), tmp_path / "md.csv", tmp_path / "a.pdb")


def test_a_run_ends_when_it_is_told_and_records_the_last_step(atoms: ase.Atoms) -> None:
    """Without files: the frames are in a list, with the energies and forces of their step."""
    frames: list[ase.Atoms] = []
    seen: list[np.ndarray] = []

    def stop_when(now: ase.Atoms) -> bool:
        seen.append(now.positions.copy())
        return len(seen) == 7

    settings = MDSettings(steps=60, timestep=1.0, every=5)
    summary = run_md(atoms, settings, trajectory=frames, stop_when=stop_when)
    assert summary["steps"] == 7 and len(seen) == 7
    assert [len(frames), len(frames[0])] == [3, len(atoms)]
    assert np.array_equal(frames[-1].positions, atoms.positions)
    assert np.array_equal(frames[1].positions, seen[4])
    forces = frames[1].get_forces()
    frames[1].calc = atoms.calc
    assert frames[1].get_forces() == pytest.approx(forces, abs=LIMITS.invariance)
