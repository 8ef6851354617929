"""The log of labels: nothing that was written is lost, nothing is written twice."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from sikff.training.learn.label_log import Answer, LabelLog, Request, structure_id


def requests() -> list[Request]:
    crystal = bulk("Cu") * (2, 1, 1)
    crystal.set_constraint(FixAtoms([0]))
    charged = molecule("CH3OH")
    charged.info |= {"charge": 1, "electric_field": np.array([0.0, 0.0, 0.1]), "name": "mine"}
    return [Request(crystal, "start", 0), Request(charged, "picked", 2, 300.0, 0.123456789012345)]


def answer(atoms: ase.Atoms) -> Answer:
    rng = np.random.default_rng(len(atoms))
    return Answer("labelled", {"energy": 1 / 3, "forces": rng.normal(size=(len(atoms), 3))})


def test_labels_come_back_exactly(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "labels.jsonl")
    for request in requests():
        log.append(request, answer(request.atoms))
    log.close()
    again = LabelLog(tmp_path / "labels.jsonl")
    for label, request in zip(again, requests(), strict=True):
        assert label.request.id == request.id
        assert np.array_equal(label.request.atoms.positions, request.atoms.positions)
        assert np.array_equal(label.forces, answer(request.atoms).results["forces"])
        assert label.atoms.get_potential_energy() == 1 / 3
        assert label.request.deviation == request.deviation
    crystal, charged = (label.request.atoms for label in again)
    assert crystal.pbc.all() and crystal.constraints[0].index.tolist() == [0]
    assert charged.info == {"charge": 1, "electric_field": [0.0, 0.0, 0.1]}
    again.close()


@pytest.mark.parametrize("left", [1, 40, 500])
def test_half_a_record_is_removed_and_asked_for_again(tmp_path: Path, left: int) -> None:
    path = tmp_path / "labels.jsonl"
    first, second = requests()
    log = LabelLog(path)
    log.append(first, answer(first.atoms))
    size = path.stat().st_size
    log.append(second, answer(second.atoms))
    log.close()
    with path.open("r+b") as file:
        file.truncate(size + left)
    again = LabelLog(path)
    assert len(again) == 1 and again.find(second) is None
    again.append(second, answer(second.atoms))
    again.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == 2 * ["labelled"]


def test_a_structure_has_one_record(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "labels.jsonl")
    (request, _) = requests()
    first = log.append(request, answer(request.atoms))
    assert log.append(request, Answer("failed", reason="later")) is first
    assert len(log) == len(log.labelled) == 1 and not log.failed
    log.close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"id": 3}\n')
    with pytest.raises(ValueError, match="line 1: not a record of a label"):
        LabelLog(path)


def test_structures_differ_in_what_the_reference_sees() -> None:
    atoms = molecule("H2O")
    same = atoms.copy()
    same.info["name"] = "another"
    same.set_momenta(np.ones((3, 3)))
    assert structure_id(same) == structure_id(atoms)
    moved, charged, boxed = atoms.copy(), atoms.copy(), atoms.copy()
    moved.positions[0, 0] += 1e-5
    charged.info["charge"] = 1
    boxed.set_cell([9, 9, 9])
    assert len({structure_id(each) for each in (atoms, moved, charged, boxed)}) == 4
