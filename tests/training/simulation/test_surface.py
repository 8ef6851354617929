"""Structures on surfaces that do not move: walls, open directions, momenta and stress."""

from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet

from force_fields import force_field, graph_of, slope
from force_fields import predict as prediction
from sikff import ForceField
from sikff.calculators import SIKFFCalculator
from sikff.forcefield.environment import WALL
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.predict import predict
from sikff.training.simulation.md import run_md, thermal_momenta
from sikff.training.simulation.relax import relax
from sikff.training.simulation.settings import MDSettings, RelaxationSettings
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
LOWEST = {"H": 1.3, "O": 1.9}
FLAT: dict[str, Any] = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 8.0}
SLIT = {**FLAT, "slit_width": 9.0}
PLACES = {**FLAT, "lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm", "stars": 1}


def model_of(environment: dict, group: str = "C_inf_v", **limits: object) -> ForceField:
    group = "C4v" if "lattice" in environment else group
    return force_field(group, environment={**environment, **limits})


def water(height: float, seed: int = 0, **cell: object) -> ase.Atoms:
    """Water, turned at random, whose oxygen is at a height."""
    atoms = molecule("H2O", **cell)
    rng = np.random.default_rng(seed)
    atoms.rotate(360 * rng.random(), rng.normal(size=3))
    atoms.translate([1.0, 0.5, height] - atoms.positions[0])
    return atoms


def on(model: ForceField, atoms: ase.Atoms) -> ase.Atoms:
    atoms.calc = SIKFFCalculator(model, device="cpu")
    return atoms


@pytest.mark.parametrize("environment", [FLAT, SLIT, PLACES], ids=["flat", "slit", "places"])
def test_the_wall_is_zero_in_the_data_and_cubic_below(environment: dict) -> None:
    free, walled = model_of(environment), model_of(environment, height_min=LOWEST)

    def added(height: float, **conditions: object) -> float:
        atoms = ase.Atoms("OH", [[0.3, 0.4, height], [0.3, 1.2, height]])
        energies = [prediction(m, atoms, **conditions).energy for m in (free, walled)]
        return float(energies[1] - energies[0])

    assert added(1.9001) == 0.0
    assert added(1.7) == pytest.approx(WALL * 0.2**3)
    assert added(1.1) == pytest.approx(WALL * (0.8**3 + 0.2**3))
    assert added(-5.0) > 1e4
    assert added(-5.0, surface="vacuum") == 0.0
    assert (added(9.0 - 1.7) > 0) == ("slit_width" in environment)
    atoms = water(1.6)
    found = prediction(walled, atoms).forces

    def shifted(x: float, atom: int) -> float:
        moved = atoms.copy()
        moved.positions[atom, 2] += x
        return float(prediction(walled, moved).energy)

    for atom in range(3):
        expected = -slope(lambda x, at=atom: shifted(x, at), 2e-4)
        assert float(found[atom, 2]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("energy", "timestep"), [(3.0, 0.5), (20.0, 0.25)])
def test_no_molecule_gets_through_the_wall(energy: float, timestep: float) -> None:
    """In other orientations; without a wall all do, past the untrained network."""
    for seed in range(2):
        lowest = []
        for limits in ({"height_min": LOWEST}, {"height_min": 1.3}):
            atoms = on(model_of(PLACES, **limits), water(2.6, seed))
            speed = np.sqrt(2 * energy / atoms.get_masses().sum())
            atoms.set_velocities(np.array([[0, 0, -speed]] * 3))
            with pytest.warns(UserWarning, match="lower than all of the training data"):
                VelocityVerlet(atoms, timestep * units.fs).run(
                    round(4 / speed / units.fs / timestep)
                )
            lowest.append(atoms.positions[:, 2].min())
        assert lowest[0] > 0.5
        assert lowest[1] < -0.5


def test_dynamics_stop_below_the_surface_and_say_so(tmp_path: Path) -> None:
    atoms = on(model_of(FLAT), water(2.0))
    atoms.set_velocities(np.array([[0, 0, -0.3]] * 3))
    with pytest.raises(CalculationFailed) as error:
        run_md(atoms, MDSettings(steps=200), tmp_path / "md.csv")
    words = str(error.value)
    assert "is through the surface, at the height of -" in words
    assert "time step" not in words
    assert atoms.positions[:, 2].min() < 0


def test_dynamics_that_stop_beyond_the_training_data_say_so(tmp_path: Path) -> None:
    model = force_field(distances_seen={"H-O": ((0.9, 1.1),), "H-H": ((1.4, 1.7),)})
    atoms = on(model, ase.Atoms("O2", [[0, 0, 0], [0, 0, 2.65]]))
    step = 1.29 / units.fs
    atoms.set_velocities([[0, 0, step], [0, 0, -step]])  # 0.07 Å apart after one
    with (
        pytest.warns(UserWarning, match="O and O are 2.65 Å apart, as no such pair"),
        pytest.raises(CalculationFailed, match=r"beyond the training data \(atoms O and O are 2"),
    ):
        run_md(atoms, MDSettings(timestep=1.0, steps=5), tmp_path / "md.csv")


@pytest.mark.parametrize("environment", [FLAT, PLACES], ids=["flat", "places"])
def test_molecules_on_a_surface_keep_the_momentum_of_their_centre(environment: dict) -> None:
    """As in the canonical ensemble: k T / 2 in each direction. In vacuum nothing drifts."""
    atoms, rng = on(model_of(environment), water(3.0)), np.random.default_rng(0)
    drawn = np.array([thermal_momenta(atoms, 300.0, rng).sum(0) for _ in range(2000)])
    expected = atoms.get_masses().sum() * units.kB * 300.0
    assert np.abs((drawn**2).mean(0) / expected - 1).max() < 0.15
    atoms.info["surface"] = "vacuum"
    assert np.abs(thermal_momenta(atoms, 300.0, rng).sum(0)).max() < LIMITS.invariance


@pytest.mark.parametrize("environment", [FLAT, SLIT, PLACES], ids=["flat", "slit", "places"])
def test_a_periodic_direction_through_the_surface_is_open(environment: dict) -> None:
    """With a short cell, whose images would be neighbours; the same in calculator and predict."""
    model = model_of(environment)
    expected = on(model, water(2.5, cell=[8, 8, 3], pbc=(True, True, False)))
    closed = water(2.5, cell=[8, 8, 3], pbc=True)
    with pytest.warns(UserWarning, match="it is treated as open"):
        (labelled,) = predict(model, [closed])
    on(model, closed)
    with pytest.warns(UserWarning, match="it is treated as open"):
        closed.get_forces()
    closed.rattle(0.0)
    closed.get_forces()  # no other warning
    for atoms in (closed, labelled):
        assert np.abs(atoms.get_forces() - expected.get_forces()).max() < LIMITS.invariance
    closed.info["surface"] = "vacuum"
    images = prediction(model, closed, surface="vacuum").energy
    assert closed.get_potential_energy() == pytest.approx(float(images))
    tilted = water(2.5, cell=[[8, 0, 1], [0, 8, 0], [0, 0, 9]], pbc=True)
    with pytest.raises(ValueError, match="expected all but one along it"):
        on(model, tilted).get_forces()


def test_stress_that_depends_on_the_origin_is_nan() -> None:
    for environment, known in ((FLAT, [0, 1, 5]), (PLACES, []), ({}, range(6))):
        model = model_of(environment)
        atoms = on(model, water(2.5, cell=[8, 8, 15], pbc=(True, True, False)))
        (labelled,) = predict(model, [atoms])
        assert ("stress" in labelled.calc.results) == bool(known)
        for stress in (atoms.get_stress(), labelled.calc.results.get("stress", np.full(6, np.nan))):
            assert np.flatnonzero(np.isfinite(stress)).tolist() == list(known)
        full = prediction(model, atoms, stress=True).stress[0].numpy()
        voigt = full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert np.allclose(stress[list(known)], voigt[list(known)], atol=LIMITS.invariance)
        atoms.info |= {"surface": "vacuum"} if environment else {}
        assert np.isfinite(atoms.get_stress()).all()
    tilted = force_field("C_inf_v", axis=(1.0, 0.0, 1.0), environment=FLAT)
    atoms = on(tilted, water(2.5, cell=[8, 8, 15], pbc=False))
    assert np.flatnonzero(np.isfinite(atoms.get_stress())).tolist() == [1]


def test_labels_may_have_a_stress_that_is_known_in_part(tmp_path: Path) -> None:
    """As predictions above a flat surface have."""
    model, path = model_of(FLAT), tmp_path / "labelled.xyz"
    frames = [water(2.5, seed, cell=[8, 8, 15], pbc=(True, True, False)) for seed in range(2)]
    ase.io.write(path, predict(model, frames))
    metrics = evaluate(model, read_structures(path)).metrics
    assert 0 <= metrics["stress_mae_mev_per_a3"] < 1e-3
    labelled = ase.io.read(path)
    labelled.calc.results["stress"][:] = np.nan
    with pytest.raises(ValueError, match="stress is NaN or infinite in structure"):
        evaluate(model, [labelled])


def test_cells_relax_along_flat_surfaces_and_not_above_crystal_surfaces() -> None:
    settings = RelaxationSettings(cell=True, steps=3, fmax=1e-9)
    atoms = on(model_of(FLAT), water(2.5, cell=[6, 6, 15], pbc=(True, True, False)))
    before = atoms.cell.array.copy()
    relax(atoms, settings)
    change = np.abs(atoms.cell.array - before)
    assert change[:2, :2].max() > 1e-6
    assert change[2].max() == change[:, 2].max() == 0.0
    assert np.isfinite(atoms.positions).all()
    atoms = on(model_of(PLACES), water(2.5, cell=[8, 8, 15], pbc=(True, True, False)))
    with pytest.raises(ValueError, match="a crystal surface, whose lattice no pressure moves"):
        relax(atoms, settings)
    with pytest.raises(PropertyNotImplementedError):
        on(model_of(PLACES), water(2.5)).get_stress()


def test_lowest_heights_are_those_of_each_element() -> None:
    model = model_of(FLAT, height_min=LOWEST)
    atoms = ase.Atoms("OHC", [[0, 0, 1.95], [0, 0.9, 1.2], [0, 3, 1.31]])
    (words,) = model.extrapolation_warnings(graph_of(model, atoms)).values()
    assert words.startswith("an H is 1.2 Å above the surface, lower than all of the training data")
    atoms.positions[:, 2] += 0.1  # carbon has no height of its own, and takes the lowest
    assert not model.extrapolation_warnings(graph_of(model, atoms))
    assert not model.is_continued(graph_of(model, atoms))
    with pytest.raises(ValueError, match=r"environment.height_min names Xx, which elements"):
        model_of(FLAT, height_min={"Xx": 1.0})
