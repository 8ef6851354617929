"""Parameters computed from the data: E0s, energy scale, number of neighbours."""

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.neighborlist import neighbor_list

from sikff.forcefield import ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.training.data.data_statistics import (
    atomic_energies,
    complete_model,
    compositions,
    energy_scale,
)
from sikff.training.data.labels import LabelKeys
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from sikff.training.data.survey import Survey, average_neighbours
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
MODEL = ForceFieldConfig(elements=("Ni", "Cu"), cutoff=4.0)


def with_labels(atoms: list[ase.Atoms]) -> Structures:
    return Structures.of(atoms).with_labels(LabelKeys())


def test_atomic_energies_are_recovered_by_least_squares(frames: list[ase.Atoms]) -> None:
    true = {"Ni": -3.0, "Cu": 5.0}
    for atoms in frames:
        atoms.calc.results["energy"] = sum(true[symbol] for symbol in atoms.symbols)
    structures = with_labels(frames)
    energies = structures.values("energy")
    counts = compositions(structures, MODEL.elements)
    assert counts.sum(1).tolist() == [len(atoms) for atoms in frames]
    for known in ({}, {"Ni": -3.0}, true):
        found, unique = atomic_energies(counts, energies, MODEL.elements, known)
        assert unique
        assert found == pytest.approx(true, abs=LIMITS.gradient)
    same = [place for place, count in enumerate(counts.tolist()) if count == [0, 4]]
    some = [energies[place] for place in same]
    assert not atomic_energies(counts[same], some, MODEL.elements, {})[1]


def test_the_scale_is_that_of_the_forces_or_else_of_the_energies(frames: list[ase.Atoms]) -> None:
    structures = with_labels(frames)
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    scale = energy_scale(structures, np.zeros(len(frames)))
    assert scale == pytest.approx(np.sqrt((forces**2).mean()), rel=LIMITS.parity)
    alone = with_labels([ase.Atoms("Cu", info={"energy": 0.0})] * 2)
    assert energy_scale(alone, np.zeros(2)) == 1.0
    left = np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames])
    for atoms in frames:
        atoms.calc.results["forces"] *= 1e-15
    scale = energy_scale(with_labels(frames), np.zeros(len(frames)))
    assert scale == pytest.approx(np.sqrt((left**2).mean()), rel=LIMITS.parity)


def test_neighbours_near_the_cutoff_count_less(frames: list[ase.Atoms]) -> None:
    x = np.concatenate([neighbor_list("d", atoms, 4.0) for atoms in frames]) / 4
    u = 1 - 84 * x**6 + 216 * x**7 - 189 * x**8 + 56 * x**9
    mean = np.sum(u**2) / sum(map(len, frames))
    assert 1 < mean < 0.7 * len(x) / sum(map(len, frames))
    graphs = [sample.graph for sample in make_samples(with_labels(frames), MODEL)]
    assert average_neighbours(graphs, 4.0) == pytest.approx(mean, rel=LIMITS.parity)
    far = ase.Atoms("Cu2", [[0, 0, 0], [3.9, 0, 0]])
    assert average_neighbours([AtomicGraph.from_atoms(far, 4.0, ("Cu",))], 4.0) == 1.0


def test_distances_in_the_data_are_stored_by_pair_of_elements(frames: list[ase.Atoms]) -> None:
    """Against ASE's neighbours. A model to fine-tune has those of both; unknown ones stay so."""
    structures = with_labels(frames)
    samples = make_samples(structures, MODEL)

    def ranges(settings: dict) -> dict | None:
        all_of = {**MODEL.model_dump(), **settings}
        model, _ = complete_model(all_of, structures, Survey.of(all_of, samples), {})
        return model.distances_seen

    pairs = {"Cu-Cu": [], "Cu-Ni": [], "Ni-Ni": []}
    for atoms in frames:
        for i, j, d in zip(*neighbor_list("ijd", atoms, MODEL.cutoff), strict=True):
            pairs["-".join(sorted((atoms.symbols[i], atoms.symbols[j])))].append(d)
    found = ranges({"distances_seen": {}})
    for pair, distances in pairs.items():
        within = [any(low <= d <= high for low, high in found[pair]) for d in distances]
        assert all(within)
        assert not distances or found[pair][0][0] == pytest.approx(min(distances), abs=0.01)
    both = ranges({"distances_seen": {"Ni-Cu": ((1.5, 1.6),)}})
    assert both["Cu-Ni"][0][0] == 1.5
    assert both["Cu-Cu"] == found["Cu-Cu"]
    assert ranges({"distances_seen": None}) is None


def test_pairs_that_the_data_never_show_are_reported() -> None:
    water = molecule("H2O")
    water.info["REF_energy"] = -1.0
    structures = with_labels([water])
    model = ForceFieldConfig(elements=("H", "O"))
    samples = make_samples(structures, model)
    settings = {"elements": ("H", "O")}
    _, notes = complete_model(settings, structures, Survey.of(settings, samples), {})
    assert "training data: no O-O within the cutoff" in notes


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, {"Ni": 2.0, "Cu": 3.0}),
        ({"Ni": 1.0, "H": 0.5, "Cu": 4.0}, {"Ni": 1.0, "H": 0.5, "Cu": 3.0}),
        (2.5, 2.0),
        (1.5, 1.5),
    ],
)
def test_heights_of_a_model_to_fine_tune_are_lowered(known: object, expected: object) -> None:
    """So that the wall is below the data of both runs, and older models stay without one."""
    atoms = ase.Atoms("NiCu", [[0, 0, 2], [0, 0, 3]], info={"energy": 0.0})
    plane = {"plane_origin": (0.0, 0.0, 0.0), "height_min": known}
    settings = {"elements": ("Ni", "Cu", "H"), "group": "C_inf_v", "environment": plane}
    structures = with_labels([atoms])
    samples = make_samples(structures, ForceFieldConfig(**settings))
    model, _ = complete_model(settings, structures, Survey.of(settings, samples), {})
    assert model.environment.height_min == expected
