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

from sikff import load
from sikff.training.learn import site_energies
from sikff.training.learn.config import LearnConfig, SurfaceConfig
from sikff.training.learn.label_log import Request
from sikff.training.learn.learn import learn
from sikff.training.learn.reference import InProcess
from sikff.training.learn.surface import SurfaceReference, SurfaceSystem

MODEL = {"layers": 1, "channels": 4, "max_frequency": 2, "correlation": 2, "cutoff": 4.0}


def slab(vacuum: float = 8.0, **changes: Any) -> ase.Atoms:
    atoms = fcc111("Cu", (2, 2, 2), a=3.6, vacuum=vacuum, **changes)
    atoms.info, atoms.pbc = {}, True
    return atoms


def system(folder: Path, atoms: ase.Atoms, *molecules: ase.Atoms, **keys: Any) -> SurfaceSystem:
    ase.io.write(folder / "slab.xyz", atoms)
    config = SurfaceConfig(slab=folder / "slab.xyz", **keys)
    return SurfaceSystem(config, list(molecules) or [molecule("CO")], {})


def turned(atoms: ase.Atoms) -> ase.Atoms:
    """The normal along x, which is the first cell vector."""
    found = atoms.copy()
    found.positions = atoms.positions[:, [2, 0, 1]]
    found.cell = atoms.cell.array[[2, 0, 1]][:, [2, 0, 1]]
    found.pbc = atoms.pbc[[2, 0, 1]]
    return found


def open_one(atoms: ase.Atoms) -> ase.Atoms:
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    "change", [lambda atoms: atoms, open_one, turned], ids=["periodic", "open", "along x"]
)
def test_molecules_are_above_the_slab(
    tmp_path: Path, change: Callable[[ase.Atoms], ase.Atoms]
) -> None:
    found = system(tmp_path, change(slab()))
    drawn = found.draw(40, 300.0, np.random.default_rng(0))
    assert len(drawn) > 30
    vacuum = [atoms for atoms in drawn if atoms.info.get("surface") == "vacuum"]
    placed = [atoms for atoms in drawn if atoms not in vacuum]
    assert vacuum and not any(atoms.pbc.any() for atoms in vacuum)
    assert all(found.problem(atoms) == "" for atoms in drawn)
    heights = [((atoms.positions - found.origin) @ found.normal).min() for atoms in placed]
    assert 0.5 < min(heights) < 2.0 and 3.0 < max(heights) <= found.reach
    assert all(atoms.pbc.sum() == 2 for atoms in placed)
    places = np.array([found.slab.cell.scaled_positions(a.positions)[0] % 1 for a in placed])
    lateral = np.delete(places, found.axis, axis=1)
    assert (np.histogram2d(*lateral.T, bins=2, range=[[0, 1], [0, 1]])[0] > 2).all()


def test_labels_are_those_of_both_minus_that_of_the_slab(tmp_path: Path) -> None:
    found = system(tmp_path, slab())
    reference = SurfaceReference(InProcess(EMT()), found)
    labels: dict[str, Any] = {}

    def ask(*requests: Request) -> list[Any]:
        reference.answer(requests, lambda request, answer: labels.update({request.id: answer}))
        return [labels[request.id] for request in requests]

    (zero,) = ask(*(Request(atoms, "slab", 0) for atoms in found.zero()))
    found.set_zero([zero.results["energy"]])
    near, far = found.draw(2, 1.0, np.random.default_rng(1), near=True)
    vacuum = found.draw(12, 1.0, np.random.default_rng(0))[-1]
    far.positions += (3.9 + far.positions[:, 2].max() * 0) * found.normal
    answers = ask(Request(near, "start", 0), Request(vacuum, "start", 0))
    both = slab() + ase.Atoms(near.numbers, positions=near.positions)
    both.calc = EMT()
    bare = slab()
    bare.calc = EMT()
    energy = both.get_potential_energy() - bare.get_potential_energy()
    assert answers[0].results["energy"] == pytest.approx(energy, abs=1e-8)
    assert answers[0].results["forces"] == pytest.approx(both.get_forces()[-2:], abs=1e-8)
    alone = ase.Atoms(vacuum.numbers, positions=vacuum.positions, calculator=EMT())
    assert answers[1].results["energy"] == pytest.approx(alone.get_potential_energy())


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
    with pytest.raises(ValueError, match="Add vacuum, or lower"):
        system(tmp_path, slab(), reach=20.0)


def test_places_of_a_molecule_are_learned(
    tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_energies, "ORIENTATIONS", 1)
    monkeypatch.setattr(site_energies, "STEPS", 8)
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
