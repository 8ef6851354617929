"""Molecules on slabs: where they are put, and what their labels are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT

from force_fields import SMALL
from sikff import ForceField, ForceFieldConfig, load
from sikff.training.evaluation.predict import predict
from sikff.training.learn import site_energies, site_scan
from sikff.training.learn.config import LearnConfig, SurfaceConfig
from sikff.training.learn.label_log import Answer, Request
from sikff.training.learn.learn import learn
from sikff.training.learn.placement import BEYOND
from sikff.training.learn.reference import InProcess
from sikff.training.learn.surface import LEFT, TOO_HIGH, SurfaceReference, SurfaceSystem

MODEL = {"layers": 1, "channels": 4, "max_frequency": 2, "correlation": 2, "cutoff": 4.0}


def slab(vacuum: float = 8.0, **changes: Any) -> ase.Atoms:
    atoms = fcc111("Cu", (2, 2, 2), a=3.6, vacuum=vacuum, **changes)
    atoms.info, atoms.pbc = {}, True
    return atoms


def system(folder: Path, atoms: ase.Atoms, *molecules: ase.Atoms, **keys: Any) -> SurfaceSystem:
    ase.io.write(folder / "slab.xyz", atoms)
    config = SurfaceConfig(slab=folder / "slab.xyz", **keys)
    return SurfaceSystem(config, list(molecules) or [molecule("CO")], {})


def cyclic(atoms: ase.Atoms) -> ase.Atoms:
    """The normal along x, which is the first cell vector."""
    found = atoms.copy()
    found.positions = atoms.positions[:, [2, 0, 1]]
    found.cell = atoms.cell.array[[2, 0, 1]][:, [2, 0, 1]]
    found.pbc = atoms.pbc[[2, 0, 1]]
    return found


def tilted(atoms: ase.Atoms) -> ase.Atoms:
    """The vector out of the slab has a part along it, that of a lattice vector and a half."""
    found = atoms.copy()
    found.cell = atoms.cell.array + np.outer([0, 0, 0.75], atoms.cell.array[0])
    return found


def turned_flat(atoms: ase.Atoms) -> ase.Atoms:
    """A molecule along z, along x."""
    found = atoms.copy()
    found.rotate(90, "y", center="com")
    return found


def ask(found: SurfaceSystem, requests: list[Request]) -> list[Answer]:
    """What EMT answers, in this order."""
    answers: dict[str, Answer] = {}
    reference = SurfaceReference(InProcess(EMT()), found)
    reference.answer(requests, lambda request, answer: answers.update({request.id: answer}))
    return [answers[request.id] for request in requests]


def turned(atoms: ase.Atoms) -> ase.Atoms:
    """The normal along no axis of the coordinates."""
    found = tilted(atoms)
    found.rotate(50, (1, 2, 3), rotate_cell=True)
    return found


def left_handed(atoms: ase.Atoms) -> ase.Atoms:
    found = atoms.copy()
    found.cell = atoms.cell.array[[1, 0, 2]]
    return found


def open_one(atoms: ase.Atoms) -> ase.Atoms:
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms,
        open_one,
        cyclic,
        lambda atoms: cyclic(cyclic(atoms)),
        tilted,
        turned,
        left_handed,
    ],
    ids=["periodic", "open", "along x", "along y", "tilted", "turned", "left-handed"],
)
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_molecules_are_above_the_slab(
    tmp_path: Path, change: Callable[[ase.Atoms], ase.Atoms], side: str
) -> None:
    found = system(tmp_path, change(slab()), side=side)
    placement = found.placement
    drawn = found.draw(40, 300.0, np.random.default_rng(0))
    assert len(drawn) > 30
    vacuum = [atoms for atoms in drawn if atoms.info.get("surface") == "vacuum"]
    placed = [atoms for atoms in drawn if atoms not in vacuum]
    assert vacuum and not any(atoms.pbc.any() for atoms in vacuum)
    assert all(found.problem(atoms) == "" for atoms in drawn)
    heights = [placement.heights(atoms).min() for atoms in placed]
    assert 0.5 < min(heights) < 2.0 and 3.0 < max(heights) <= placement.highest
    assert max(placement.heights(found.slab)) == pytest.approx(0.0, abs=1e-6)
    nearest = [_nearest_of_slab(found.whole(atoms), len(found.slab)) for atoms in placed]
    assert 1.5 < min(nearest) < 2.0 and max(nearest) > 3.5  # by ASE, with images
    assert all(atoms.pbc.sum() == 2 for atoms in placed)
    places = np.array([found.slab.cell.scaled_positions(a.positions)[0] % 1 for a in placed])
    lateral = np.delete(places, placement.axis, axis=1)
    assert (np.histogram2d(*lateral.T, bins=2, range=[[0, 1], [0, 1]])[0] > 2).all()


def _nearest_of_slab(whole: ase.Atoms, n_slab: int) -> float:
    distances = whole.get_all_distances(mic=True)
    return float(distances[n_slab:, :n_slab].min())


@pytest.mark.parametrize("change", [open_one, cyclic, tilted, turned, left_handed])
def test_cells_may_be_written_in_any_way(
    tmp_path: Path, change: Callable[[ase.Atoms], ase.Atoms]
) -> None:
    adsorbed = []
    for atoms in (slab(), change(slab())):
        found = system(tmp_path, atoms)
        placement = found.placement
        upright = placement.origin + np.outer([2.0, 3.13], placement.normal)
        above = placement.empty_cell() + ase.Atoms("CO", upright)
        of_slab, _, of_both = ask(found, [*found.zero(), Request(above, "start", 0)])
        adsorbed.append(of_both.results["energy"] - of_slab.results["energy"])
        keys: dict[str, Any] = {**SMALL, **found.model, "atomic_energies": {}}
        model = ForceField(ForceFieldConfig(**keys)).double().eval()
        moved = above.copy()
        moved.positions += np.array(found.findings.found.wallpaper.lattice).sum(0)
        same, other = predict(model, [above, moved])
        assert same.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-5)
    assert adsorbed[0] == pytest.approx(adsorbed[1], abs=1e-6)


def test_a_slab_that_is_periodic_in_one_direction_is_refused(tmp_path: Path) -> None:
    atoms = slab()
    atoms.pbc = (True, False, False)
    with pytest.raises(ValueError, match="periodic in the two directions of its surface"):
        system(tmp_path, atoms)


def test_heights_are_where_molecules_are_put(tmp_path: Path) -> None:
    found = system(tmp_path, slab(), heights=[2.5, 4.0])
    drawn = found.draw(30, 300.0, np.random.default_rng(0))
    placed = [atoms for atoms in drawn if "surface" not in atoms.info]
    heights = [found.placement.heights(atoms).min() for atoms in placed]
    assert len(heights) > 20 and 2.5 <= min(heights) < 2.7 and 3.8 < max(heights) <= 4.0
    assert found.model["environment"]["plane_range"] == 4.0 + BEYOND
    left = found.placement.at_height(placed[0], 4.0 + BEYOND + 0.1)
    assert found.problem(left) == LEFT and found.problem(placed[0]) == ""


@pytest.mark.parametrize("heights", ["far", [1.0], [2.0, 1.0], [-2.0, -1.0], [1.0, "x"], 5.0])
def test_heights_that_are_none_are_named(heights: Any) -> None:
    with pytest.raises(ValueError, match=r"expected auto, or \[low, high\] in Å"):
        SurfaceConfig(slab=Path("slab.xyz"), heights=heights)


@pytest.mark.parametrize("frozen", [False, None, "yes"])
def test_a_slab_that_moves_is_refused_with_what_to_do_instead(frozen: Any) -> None:
    with pytest.raises(ValueError, match="give slab and molecule together as structures"):
        SurfaceConfig(slab=Path("slab.xyz"), frozen=frozen)


def test_labels_are_those_of_both_minus_that_of_the_slab(tmp_path: Path) -> None:
    found = system(tmp_path, slab())
    zero = [answer.results["energy"] for answer in ask(found, found.zero())]
    found.set_zero(zero)
    near = found.starts[0]
    vacuum = found.draw(12, 1.0, np.random.default_rng(0))[-1]
    answers = ask(found, [Request(near, "start", 0), Request(vacuum, "start", 0)])
    both = slab() + ase.Atoms(near.numbers, positions=near.positions)
    both.calc = EMT()
    bare = slab()
    bare.calc = EMT()
    energy = both.get_potential_energy() - bare.get_potential_energy()
    assert answers[0].results["energy"] == pytest.approx(energy, abs=1e-8)
    assert answers[0].results["forces"] == pytest.approx(both.get_forces()[-2:], abs=1e-8)
    alone = ase.Atoms(vacuum.numbers, positions=vacuum.positions, calculator=EMT())
    assert answers[1].results["energy"] == pytest.approx(alone.get_potential_energy())
    free = molecule("CO")
    free.calc = EMT()
    assert zero[1] == pytest.approx(free.get_potential_energy())


@pytest.mark.parametrize(("wall", "refused"), [(0.5, 2), (2.0, 1), (20.0, 0)])
def test_labels_of_starts_above_the_wall_are_refused(
    tmp_path: Path, wall: float, refused: int
) -> None:
    free = molecule("CO")
    free.calc = EMT()
    config = {"wall": wall, "molecules": [1, 2]}
    found = system(tmp_path, slab() * (2, 2, 1), free, **config)
    found.set_zero([answer.results["energy"] for answer in ask(found, found.zero())])
    above = found.placement.above(found.molecules[0], found.slab.positions[-1])
    cell = found.placement.empty_cell()
    heights = (2.5, 1.5, 1.3)  # of a molecule that lies on an atom: -0.3, 1.5 and 5 eV
    lowered = [found.placement.at_height(turned_flat(above), height) for height in heights]
    requests = [Request(cell + atoms, "start", 0) for atoms in lowered]
    answers = ask(found, requests)
    assert [answer.status for answer in answers] == ["labelled"] * (3 - refused) + [
        "refused"
    ] * refused
    assert all(answer.reason == TOO_HIGH for answer in answers[3 - refused :])
    energies = [answer.results["energy"] - free.get_potential_energy() for answer in answers]
    assert [energy > wall for energy in energies] == [False] * (3 - refused) + [True] * refused
    later = ask(found, [Request(cell + atoms, "survey", 1) for atoms in lowered])
    assert [answer.status for answer in later] == ["labelled"] * 3  # the model has to learn it
    pair = cell + lowered[0] + lowered[0]
    two = found.most_energy(pair) - found.most_energy(requests[0].atoms)
    assert two == pytest.approx(free.get_potential_energy())


def test_several_molecules_are_apart(tmp_path: Path) -> None:
    found = system(tmp_path, slab() * (2, 2, 1), molecules=[2])
    drawn = found.draw(10, 300.0, np.random.default_rng(0))
    pairs = [atoms for atoms in drawn if len(atoms) == 4]
    assert len(pairs) > 4
    assert min(atoms.get_all_distances(mic=True)[:2, 2:].min() for atoms in pairs) > 1.5


def test_a_slab_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the slab has no vacuum"):
        system(tmp_path, slab(vacuum=1.0))
    with pytest.raises(ValueError, match=r"has 8 Å of vacuum; a molecule of .* Add vacuum"):
        system(tmp_path, slab(vacuum=4.0))
    with pytest.raises(ValueError, match=r"or give lower surface\.heights"):
        system(tmp_path, slab(), heights=[1.0, 20.0])


def test_places_of_a_molecule_are_learned(
    tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_energies, "ORIENTATIONS", 1)
    monkeypatch.setattr(site_energies, "STEPS", 8)
    monkeypatch.setattr(site_scan, "PLACES", 6)
    monkeypatch.setattr(site_scan, "LIFTS", (0.0,))
    monkeypatch.setattr(site_scan, "SHIFTS", 3)
    small = fcc111("Cu", (1, 1, 2), a=3.6, vacuum=8.0)
    small.info = {}
    ase.io.write(tmp_path / "slab.xyz", small)
    ase.io.write(tmp_path / "co.xyz", molecule("CO"))
    settings = {
        "structures": tmp_path / "co.xyz",
        "surface": {"slab": tmp_path / "slab.xyz"},
        "calculator": {"name": "ase.calculators.emt.EMT"},
        "temperatures": [300.0],
        "target": 500.0,
        "max_labels": 40,
        "model": MODEL,
        "output": tmp_path / "learned",
    }
    learned = learn(LearnConfig.model_validate(settings), report=lambda line: None)
    config = load(learned.model).config
    assert config.environment.wallpaper == "p3m1" and config.vacuum_group == "O(3)"
    assert "adsorption: top Cu (3m)" in (tmp_path / "learned/report.html").read_text()
    labels = ase.io.read(tmp_path / "learned/data.xyz", ":")
    records = (tmp_path / "learned/labels.jsonl").read_text().splitlines()
    uses = [each["use"] for each in map(json.loads, records) if each["status"] == "labelled"]
    assert "site" in uses and len(labels) == len(uses) - uses.count("slab")
    assert all(len(atoms) == 2 for atoms in labels)
    assert any(atoms.info.get("surface") == "vacuum" for atoms in labels)
