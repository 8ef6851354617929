"""Surveys of a surface, what places do, and bonds that a surface has broken."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.build import fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from sikff import ForceField, ForceFieldConfig
from sikff.training.evaluation.place_grid import PlaceGrid
from sikff.training.learn import site_scan, surface
from sikff.training.learn.bonds import count_broken, describe_broken, stretched
from sikff.training.learn.config import SurfaceConfig
from sikff.training.learn.explore import Frame
from sikff.training.learn.geometry import FURTHEST
from sikff.training.learn.label_log import Answer, Label, Request
from sikff.training.learn.members import Trainer
from sikff.training.learn.pick import pick
from sikff.training.learn.site_energies import Site, largest_error
from sikff.training.learn.surface import SurfaceSystem
from sikff.training.learn.surface_report import warn_of_places

SMALL = {"layers": 1, "channels": 2, "max_frequency": 2, "cutoff": 4.0}


@pytest.fixture
def system(tmp_path: Path) -> SurfaceSystem:
    slab = fcc111("Cu", (2, 2, 2), a=3.6, vacuum=8.0, periodic=True)
    slab.info = {}
    ase.io.write(tmp_path / "slab.xyz", slab)
    config = SurfaceConfig(slab=tmp_path / "slab.xyz")
    found = SurfaceSystem(config, [molecule("CO")], {}, hottest=600.0)
    found.set_zero([0.0, 5.0])
    return found


@pytest.fixture
def model(system: SurfaceSystem) -> ForceField:
    return ForceField(ForceFieldConfig(**SMALL, **system.model)).double().eval()


def above(system: SurfaceSystem, height: float) -> ase.Atoms:
    placement = system.placement
    upright = placement.origin + np.outer([height, height + 1.13], placement.normal)
    return placement.empty_cell() + ase.Atoms("CO", upright)


def height_of(system: SurfaceSystem, atoms: ase.Atoms) -> float:
    return float(system.placement.heights(atoms).min())


def answer_by_height(system: SurfaceSystem, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """A model whose energy is 10 / h^2 eV above the molecule's in vacuum."""

    def predict(_: Any, structures: Sequence[ase.Atoms], *args: Any) -> list[ase.Atoms]:
        found = []
        for atoms in structures:
            atoms = atoms.copy()
            vacuum = atoms.info.get("surface") == "vacuum"
            energy = 5.0 + (0.0 if vacuum else 10 / height_of(system, atoms) ** 2)
            forces = np.zeros((len(atoms), 3))
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            found.append(atoms)
        return found

    monkeypatch.setattr(module, "predict", predict)


def test_a_survey_is_of_all_heights_below_the_wall_and_of_vacuum(
    system: SurfaceSystem, model: ForceField, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_by_height(system, monkeypatch, surface)
    monkeypatch.setattr(
        surface, "deviations", lambda _, several: [np.linspace(0.1, 0.2, len(a)) for a in several]
    )
    rng = np.random.default_rng(0)
    known = [above(system, 2.0)]
    found = system.survey([model, model], known, 12, 0.15, rng)
    vacuum = [f.atoms for f in found if f.atoms.info.get("surface") == "vacuum"]
    heights = [height_of(system, f.atoms) for f in found if f.atoms.info.get("surface") is None]
    assert len(vacuum) == 3 and len(heights) == 9
    wall = np.sqrt(10 / (2.0 + 3 * 8.617e-5 * 600.0))  # Å, where it is 2 eV and the thermal energy
    assert wall <= min(heights) < wall + 0.3 and max(heights) > 3.0
    monkeypatch.setattr(
        surface, "deviations", lambda _, several: [np.full(len(a), 0.1) for a in several]
    )
    calm = system.survey([model, model], known, 12, 0.15, rng)  # certain everywhere
    assert all(frame.atoms.info.get("surface") == "vacuum" for frame in calm)


def test_picks_of_a_survey_differ_in_height_and_not_in_shape_alone(
    system: SurfaceSystem,
) -> None:
    frames = [Frame(above(system, height), 0.0, 0.2) for height in (2.0, 2.01, 3.0)]
    chosen = pick(frames, [above(system, 2.02)], 1, system.whole)
    assert height_of(system, chosen[0].atoms) == pytest.approx(3.0)


def test_a_map_has_the_lowest_energy_of_all_heights_and_the_symmetry_of_the_surface(
    system: SurfaceSystem, model: ForceField, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_scan, "PLACES", 6)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.cos(torch.arange(parameter.numel())).view_as(parameter)
    vacuum = molecule("CO")
    vacuum.info["surface"] = "vacuum"
    sites = [Site("vacuum", vacuum, 1.0, 0.0), Site("top", above(system, 2.0), 0.0, 0.0)]
    found = site_scan.scan_sites(system, model, [model, model], sites)
    energies = np.array(found["energies"])
    grid = PlaceGrid(system.findings.found.wallpaper, 6)
    assert energies.shape == (6, 6) and np.ptp(energies) > 1e-6
    assert (energies.ravel() == energies.ravel()[grid.first]).all()
    assert np.array(found["deviations"]) == pytest.approx(0.0, abs=1e-6)
    higher = [Site(s.name, s.atoms.copy(), s.energy, 0.0) for s in sites]
    higher[1].atoms.positions += 0.4 * system.placement.normal
    both = site_scan.scan_sites(system, model, [model, model], [*sites, higher[1]])
    assert (np.array(both["energies"]) <= energies + 1e-6).all()


def test_the_floor_is_the_weighted_spread_of_forces_over_places(
    system: SurfaceSystem, model: ForceField, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of E = A cos(2 pi s), s the first lattice coordinate of the first atom."""
    amplitude, kelvin = 0.05, 300.0
    dual = system.findings.found.wallpaper.dual[0]

    def predict(_: Any, structures: Sequence[ase.Atoms], *args: Any) -> list[ase.Atoms]:
        found = []
        for atoms in structures:
            atoms = atoms.copy()
            phase = 2 * np.pi * ((atoms.positions[0] - system.placement.origin) @ dual)
            forces = np.zeros((len(atoms), 3))
            forces[0] = 2 * np.pi * amplitude * np.sin(phase) * dual
            energy = amplitude * np.cos(phase)
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            found.append(atoms)
        return found

    monkeypatch.setattr(site_scan, "predict", predict)
    monkeypatch.setattr(site_scan, "SHIFTS", 60)
    answer = Answer("labelled", {"energy": 0.0, "forces": np.zeros((2, 3))})
    vacuum = molecule("CO")
    vacuum.info["surface"] = "vacuum"
    labels = [Label(Request(a, "final", 1, kelvin), answer) for a in (above(system, 2.0), vacuum)]
    s = np.linspace(0, 1, 20001)[:-1]
    weights = np.exp(-amplitude * np.cos(2 * np.pi * s) / (8.617333e-5 * kelvin))
    force = 2 * np.pi * amplitude * np.abs(np.sin(2 * np.pi * s)) * np.abs(dual).sum() / 6
    expected = 1000 * (weights * force).sum() / weights.sum()
    assert site_scan.flat_floor(system, model, labels) == pytest.approx(expected, rel=0.01)
    assert site_scan.flat_floor(system, model, labels[1:]) is None


def test_a_survey_has_long_bonds_until_atoms_have_left_each_other(
    system: SurfaceSystem, model: ForceField, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_by_height(system, monkeypatch, surface)
    monkeypatch.setattr(surface, "deviations", lambda _, several: [np.ones(2) for _ in several])
    found = system.survey([model] * 2, [above(system, 2.0)], 60, 0.1, np.random.default_rng(0))
    placed = [frame.atoms for frame in found if frame.atoms.info.get("surface") is None]
    lengths = np.array([atoms.get_distance(0, 1) for atoms in placed])
    assert 0.15 < (lengths > 1.4).mean() < 0.5 and 2.0 < lengths.max() < FURTHEST * 1.42
    drawn = system.draw(60, 300.0, np.random.default_rng(0))  # starts have none
    assert max(atoms.get_distance(0, 1) for atoms in drawn) < 1.4


def test_one_bond_is_stretched_and_rings_stay() -> None:
    rng = np.random.default_rng(0)
    methanol, changed = molecule("CH3OH"), set()
    for _ in range(30):
        moved = stretched(methanol, rng)
        ratio = moved.get_all_distances() / np.maximum(methanol.get_all_distances(), 1e-9)
        bonds = methanol.get_all_distances() < 1.5
        longer = np.argwhere(np.triu(bonds & (ratio > 1 + 1e-9)))
        assert len(longer) == 1
        changed |= set(map(tuple, longer.tolist()))
    assert len(changed) == 5
    ozone_like = molecule("C3H6_D3h")
    ring = ozone_like[[atom.index for atom in ozone_like if atom.symbol == "C"]]
    assert (stretched(ring, rng).positions == ring.positions).all()


def test_broken_bonds_are_counted() -> None:
    whole, wide = molecule("CO"), molecule("CO")
    wide.set_distance(0, 1, 1.6)
    pair = whole + wide
    pair.positions[2:, 0] += 4.0
    assert describe_broken(whole, whole) == "" and describe_broken(wide, wide) == ""
    assert describe_broken(wide, whole) == "broken: O-C 1.60 Å, was 1.15"
    assert "1.60" in describe_broken(pair, whole)
    assert count_broken([whole, wide, pair, molecule("H2O")], [whole]) == (2, 3)
    assert count_broken([wide], [whole, wide]) == (0, 1)  # another start is like that
    (warning,) = warn_of_places({"broken": (2, 3)})
    assert "in 2 of 3 labelled structures" in warning
    assert warn_of_places({"broken": (0, 3)}) == [] == warn_of_places({})


def test_adsorption_energies_that_are_off_are_a_warning() -> None:
    sites = [Site("vacuum", molecule("CO"), 5.0, 0.0), Site("top", molecule("CO"), 4.5, 0.0)]
    sites.append(Site("hollow", molecule("CO"), 4.2, 0.0))
    assert largest_error(sites, [5.1, 4.61, 4.275]) == pytest.approx(0.025)
    assert largest_error(sites, [5.1, None, 4.31]) == pytest.approx(0.01)
    assert largest_error(sites, [None, 4.6, 4.3]) is None
    (warning,) = warn_of_places({"site_error": 0.025})
    assert "up to 25 meV off the reference" in warning
    assert warn_of_places({"site_error": 0.009}) == [] == warn_of_places({"site_error": None})


def test_a_training_that_predicts_no_forces_in_vacuum_is_repeated(
    system: SurfaceSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it predicts on the surface."""
    structures = []
    for number in range(8):
        atoms = above(system, 2.0 + 0.1 * number) if number else molecule("CO")
        atoms.info |= {} if number else {"surface": "vacuum"}
        forces = np.random.default_rng(number).standard_normal((2, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=0.1 * number, forces=forces)
        structures.append(atoms)

    def predict(_: Any, several: Sequence[ase.Atoms]) -> list[ase.Atoms]:
        found = [atoms.copy() for atoms in several]
        for atoms, label in zip(found, several, strict=True):
            dead = atoms.info.get("surface") == "vacuum" and len(lines) < 1
            forces = 0.0 if dead else label.get_forces()
            forces = forces + np.zeros((2, 3))
            atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
        return found

    lines: list[str] = []
    monkeypatch.setattr("sikff.training.learn.members.predict", predict)
    trainer = Trainer({**SMALL, **system.model}, 0, stress=False, report=lines.append)
    trainer.train(structures, 1)
    assert lines == [
        "training ended with larger errors than forces are; it is repeated with a lower rate"
    ]
