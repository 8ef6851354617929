"""Friction and noise near a surface: the canonical distribution there, nothing elsewhere."""

from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixBondLengths, FixCom, FixLinearTriatomic
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from pydantic import ValidationError

from force_fields import force_field
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.plots import read_log
from sikff.training.simulation.md import run_md
from sikff.training.simulation.settings import MDSettings
from sikff.training.simulation.surface_friction import LocalLangevin, SurfaceFriction
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
FLAT = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 8.0}
PLACES = {**FLAT, "lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm", "stars": 1}
TEMPERATURE = 600.0
KT = units.kB * TEMPERATURE


class Well(Calculator):
    """Atoms that feel a Morse potential of the height, a weak spring far up, and nothing else."""

    implemented_properties = ("energy", "forces")

    @staticmethod
    def energies(z: np.ndarray) -> np.ndarray:
        return 0.15 * (1 - np.exp(-1.2 * (z - 2.5))) ** 2 + 0.04 * np.maximum(z - 4, 0) ** 2

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        z, forces = atoms.positions[:, 2], np.zeros((len(atoms), 3))
        decay = np.exp(-1.2 * (z - 2.5))
        forces[:, 2] = -0.36 * (1 - decay) * decay - 0.08 * np.maximum(z - 4, 0)
        self.results = {"energy": self.energies(z).sum(), "forces": forces}


class Nothing(Calculator):
    """Atoms that feel nothing."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def with_momenta(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    spread = np.sqrt(atoms.get_masses() * KT)[:, None]
    atoms.set_momenta(spread * rng.standard_normal((len(atoms), 3)))
    return atoms


def ours(
    atoms: ase.Atoms, step: float, friction: Callable, rng: np.random.Generator
) -> MolecularDynamics:
    return LocalLangevin(atoms, step, TEMPERATURE, friction, rng)


def ase_with_an_array(
    atoms: ase.Atoms, step: float, friction: Callable, rng: np.random.Generator
) -> MolecularDynamics:
    """ASE's integrator, whose friction is set anew before each step."""
    start = friction(atoms)[:, None]
    dynamics = Langevin(
        atoms, step, temperature_K=TEMPERATURE, friction=start, fixcm=False, rng=rng
    )
    dynamics.attach(lambda: dynamics.set_friction(friction(atoms)[:, None]))
    return dynamics


@pytest.mark.parametrize("integrator", [ours, ase_with_an_array])
def test_atoms_in_a_well_are_canonical(integrator: Callable) -> None:
    """Heights, energies and momenta against quadrature, where friction falls steeply. ASE's own
    integrator, which takes an array of frictions, draws atoms to where friction is high."""
    grid = np.linspace(1, 12, 5001)
    weights = np.exp(-Well.energies(grid) / KT)
    weights /= weights.sum()
    rng = np.random.default_rng(0)
    count = 1200
    atoms = ase.Atoms(f"H{count}", np.zeros((count, 3)), masses=np.full(count, 2.0))
    atoms.positions[:, 2] = rng.choice(grid, count, p=weights)
    atoms.calc = Well()
    shape = SurfaceFriction(0.05, 2.5, 0.5, 8.0)
    seen: list[tuple] = []

    def observe() -> None:
        z, p = atoms.positions[:, 2], atoms.get_momenta()[:, 2]
        seen.append((z.mean(), Well.energies(z).mean(), (p**2).mean() / 2, (z < 2.5).mean()))

    def friction(atoms: ase.Atoms) -> np.ndarray:
        return shape.at(atoms.positions[:, 2]) / units.fs

    dynamics = integrator(with_momenta(atoms, rng), 5 * units.fs, friction, rng)
    dynamics.attach(observe)
    dynamics.run(1500)
    blocks = np.array([part.mean(axis=0) for part in np.array_split(seen[150:], 15)])
    errors = blocks.std(axis=0, ddof=1) / len(blocks) ** 0.5
    low = grid < 2.5
    expected = [weights @ grid, weights @ Well.energies(grid), KT, weights[low].sum()]
    off = np.abs(blocks.mean(axis=0) - expected) / errors
    assert (errors < 0.01 * np.array(expected)).all()
    if integrator is ours:
        assert off.max() < 4
    else:
        assert off[0] > 6


@pytest.mark.parametrize("held", [FixBondLengths([(0, 1)]), FixCom()], ids=["bond", "com"])
def test_atoms_that_constraints_tie_stay_canonical(held: object) -> None:
    """A free dumbbell with strong friction at one end only: every free direction has kT/2. With
    other frictions in one bond the drift along it had two thirds of that, and so had what FixCom
    leaves."""
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("OO", [[0, 0, 0], [1.0, 0.2, 0.1]], constraint=held)
    atoms.calc = Nothing()
    strong = np.array([5.0, 0.0]) / units.fs
    moving = with_momenta(atoms, rng)
    dynamics = LocalLangevin(moving, 1 * units.fs, TEMPERATURE, lambda _: strong, rng)
    seen = []

    def observe() -> None:
        p, bond = atoms.get_momenta(), atoms.positions[1] - atoms.positions[0]
        drift = p.sum(axis=0) @ bond / np.linalg.norm(bond)
        seen.append((atoms.get_kinetic_energy(), drift**2 / (2 * atoms.get_masses().sum())))

    dynamics.attach(observe)
    dynamics.run(2500)
    total, along_bond = np.mean(seen[50:], axis=0) / (KT / 2)
    rigid = isinstance(held, FixBondLengths)
    assert total == pytest.approx(5 if rigid else 3, rel=0.1)
    assert along_bond == pytest.approx(1 if rigid else 0, abs=0.15)


def test_constraints_share_friction_among_the_atoms_they_tie() -> None:
    """Those of single atoms tie none; those that are not known tie all."""
    atoms = ase.Atoms("H6", np.random.default_rng(0).uniform(0, 9, (6, 3)))
    frictions = np.arange(6.0)

    def kept(*constraints: object) -> list[float]:
        moving = atoms.copy()
        moving.set_constraint(list(constraints))
        moving.set_momenta(np.ones((6, 3)), apply_constraint=False)
        moving.calc = Nothing()
        rng = np.random.default_rng(0)
        dynamics = LocalLangevin(moving, 1.0, 0.0, lambda _: frictions, rng)
        moving.set_constraint()
        dynamics.step()
        return (-np.log(moving.get_momenta()[:, 0])).tolist()

    assert kept() == pytest.approx(frictions)
    assert kept(FixAtoms([0, 2])) == pytest.approx(frictions)
    assert kept(FixBondLengths([(1, 2), (4, 5), (2, 3)])) == pytest.approx([0, 2, 2, 2, 4.5, 4.5])
    assert kept(FixLinearTriatomic([(0, 1, 2)])) == pytest.approx([2.5] * 6)


def water(height: float, environment: dict, group: str = "C_inf_v") -> ase.Atoms:
    """Water near a surface, and water above it."""
    positions = np.array([[0, 0, 0], [0.76, 0.1, 0.59], [-0.76, 0, 0.59]])
    near, far = (positions + np.array(shift) for shift in ([0.3, 0.4, height], [1.0, 0.0, 30.0]))
    atoms = with_momenta(ase.Atoms("OH2OH2", [*near, *far]), np.random.default_rng(2))
    group = "C4v" if "lattice" in environment else group
    atoms.calc = SIKFFCalculator(force_field(group, environment=environment), device="cpu")
    return atoms


@pytest.mark.parametrize("environment", [FLAT, PLACES], ids=["flat", "places"])
def test_without_friction_and_without_a_surface_atoms_move_as_in_nve(
    tmp_path: Path, environment: dict
) -> None:
    ends = {}
    for strength in (None, 0.0, 0.05):
        atoms = water(2.6, environment)
        settings = MDSettings(steps=20, timestep=0.2, surface_friction=strength)
        assert settings.ensemble == ("nve" if strength is None else "nvt")
        run_md(atoms, settings, tmp_path / "md.csv")
        ends[strength] = np.hstack([atoms.positions, atoms.get_momenta()])
    assert np.array_equal(ends[0.0], ends[None])
    change = np.abs(ends[0.05] - ends[None])
    assert change[3:].max() < LIMITS.invariance
    assert change[:3].max() > 0.01


def test_friction_is_per_femtosecond_and_ends_with_the_surface() -> None:
    atoms = water(2.0, FLAT)
    atoms.positions[:, 2] = [-1.0, 3.0, 4.0, 5.5, 8.0, 20.0]
    friction = SurfaceFriction.of(atoms, MDSettings(surface_friction=0.01))
    found = friction(atoms) * units.fs
    assert found[:2] == pytest.approx([0.01, 0.01], rel=LIMITS.rounding)
    assert found[2] == pytest.approx(0.01 * np.exp(-1) * 0.94208)
    assert found[3] == pytest.approx(0.01 * np.exp(-2.5) / 2)
    assert found[4:].tolist() == [0.0, 0.0]
    heights = np.linspace(-3, 9, 2000)
    assert (np.diff(friction.at(heights)) <= 0).all()
    assert np.abs(np.diff(friction.at(heights))).max() < 1e-4  # continuous
    atoms.info["surface_origin"] = [0.0, 0.0, 2.0]
    atoms.positions[:, 2] += 2
    assert friction(atoms) * units.fs == pytest.approx(found, rel=1e-12)


def test_both_walls_of_a_slit_have_friction() -> None:
    atoms = water(2.0, {**FLAT, "slit_width": 18.0})
    atoms.positions[:, 2] = [1.0, 17.0, 4.0, 14.0, 9.0, 9.0]
    settings = MDSettings(surface_friction=0.02, friction_height=2.0, friction_decay=0.7)
    found = SurfaceFriction.of(atoms, settings)(atoms) * units.fs
    assert found[0] == pytest.approx(0.02)
    assert found[::2] == pytest.approx(found[1::2], rel=1e-12)
    assert 0 < found[2] < 0.02 * np.exp(-2 / 0.7)
    assert found[4] == 0.0


def test_momenta_along_a_flat_surface_decay_with_the_friction(tmp_path: Path) -> None:
    """At 0 K, of atoms that feel no force along it; far above it they stay as they are."""
    atoms = ase.Atoms("OO", [[0, 0, 2.0], [0, 0, 20.0]], momenta=[[0.5, -0.2, 0.0]] * 2)
    model = force_field("C_inf_v", environment={**FLAT, "height_min": 1.9})
    atoms.calc = SIKFFCalculator(model, device="cpu")
    settings = MDSettings(
        surface_friction=0.01, friction_height=7.9, temperature=0.0, steps=20, timestep=0.5
    )
    summary = run_md(atoms, settings, tmp_path / "md.csv")
    assert "drift_mev_per_atom_per_ps" not in summary
    along = atoms.get_momenta()[:, :2] / [0.5, -0.2]
    assert along[0] == pytest.approx([np.exp(-0.1)] * 2, rel=1e-9)
    assert along[1] == pytest.approx([1, 1], rel=1e-12)


def test_seeds_repeat_a_run_and_its_momenta_go_on(tmp_path: Path) -> None:
    ends = []
    for seed in (1, 1, 2):
        atoms = water(2.6, PLACES)
        settings = MDSettings(surface_friction=0.05, steps=5, timestep=0.2, seed=seed)
        run_md(atoms, settings, tmp_path / "md.csv", tmp_path / "md.traj")
        ends.append(atoms.get_momenta())
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
    kinetic = atoms.get_kinetic_energy()
    run_md(atoms, settings, tmp_path / "next.csv")
    assert read_log(tmp_path / "next.csv")["ekin_eV"][0] == pytest.approx(kinetic)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ensemble": "nve", "surface_friction": 0.1}, "but the ensemble is nve; take nvt"),
        ({"ensemble": "npt", "surface_friction": 0.1}, "but the ensemble is npt; take nvt"),
        ({"friction": 0.1, "surface_friction": 0.2}, "friction is 0.1 1/fs everywhere"),
        ({"friction_decay": 2.0}, "friction_decay shape surface_friction, which is not given"),
        ({"surface_friction": -0.1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_contradict_each_other_raise(given: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MDSettings.model_validate(given)
    assert MDSettings.model_validate(MDSettings(surface_friction=0.1).model_dump())


def test_friction_without_a_surface_raises_before_a_file_is_opened(tmp_path: Path) -> None:
    settings = MDSettings(surface_friction=0.01)
    atoms = water(2.6, FLAT)
    atoms.info["surface"] = "vacuum"
    blind = atoms.copy()
    blind.info = {}
    blind.calc = SIKFFCalculator(force_field(), device="cpu")
    for each in (atoms, blind):
        with pytest.raises(ValueError, match="the model sees none for this structure"):
            run_md(each, settings, tmp_path / "md.csv")
    del atoms.info["surface"]
    high = MDSettings(surface_friction=0.01, friction_height=8)
    with pytest.raises(ValueError, match="expected one below the range of the surface, 8 Å"):
        run_md(atoms, high, tmp_path / "md.csv")
    assert not list(tmp_path.iterdir())


def test_a_molecule_far_from_the_surface_conserves_its_energy() -> None:
    """Bit for bit as velocity Verlet, though friction is switched on."""
    ends = []
    for has_friction in (True, False):
        atoms = water(15.0, PLACES)
        step, rng = 0.2 * units.fs, np.random.default_rng(0)
        friction = SurfaceFriction.of(atoms, MDSettings(surface_friction=0.5))
        dynamics = VelocityVerlet(atoms, step)
        if has_friction:
            dynamics = LocalLangevin(atoms, step, 300.0, friction, rng)
        dynamics.run(30)
        ends.append(np.hstack([atoms.positions, atoms.get_momenta()]))
    assert np.array_equal(*ends)
