"""The added surface data: what they hold, and that nothing of the test set is in them."""

import csv
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

DATA = Path(__file__).parents[1] / "examples" / "data"


def frames(name: str) -> list[Atoms]:
    return ase.io.read(DATA / name, index=":")


def invariant(atoms: Atoms) -> np.ndarray:
    """Distances in the molecule, heights above the plane, energy."""
    energy = atoms.info["REF_energy"]
    return np.array([*atoms.get_all_distances().ravel(), *atoms.positions[:, 2], energy])


def test_salt_has_a_thousand_training_frames_with_more_near_the_wall() -> None:
    first = [atoms for atoms in frames("water_nacl.xyz") if atoms.info["config_type"] == "train"]
    more = frames("water_nacl_more.xyz")
    assert len(first) + len(more) == 1000
    assert {atoms.info["config_type"] for atoms in more} == {"train"}
    assert {atoms.info["surface"] for atoms in more} == {"nacl"}
    kinds = [atoms.info["sample"] for atoms in more]
    assert (kinds.count("wall"), kinds.count("hop")) == (467, 200)
    assert set(kinds[:20]) == {"wall", "hop"}, "the order is shuffled"
    heights = [
        np.median([atoms.get_center_of_mass()[2] for atoms in each])
        for each in (more, [atoms for atoms in first if atoms.info["sample"] == "random"])
    ]
    assert heights[0] < heights[1] - 0.3


def test_frames_of_the_hop_lie_along_its_path() -> None:
    for atoms in frames("water_nacl_more.xyz"):
        if atoms.info["sample"] == "hop":
            x, y, z = atoms.get_center_of_mass()
            assert 0.2 < x < 2.7
            assert abs(y) < 0.8
            assert 1.3 < z < 3.1


def test_no_added_frame_is_a_test_frame() -> None:
    test = [a for a in frames("water_nacl.xyz") if a.info["config_type"] == "test"]
    known = np.array([invariant(a) for a in test + frames("water_nacl_copies.xyz")])
    for atoms in frames("water_nacl_more.xyz"):
        assert np.abs(known - invariant(atoms)).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("name", ["water_nacl_more.xyz", "co_copper.xyz"])
def test_molecules_above_the_surface_are_labelled(name: str) -> None:
    for atoms in frames(name):
        assert not atoms.pbc.any()
        assert atoms.positions[:, 2].min() > 0.9
        assert np.isfinite(atoms.info["REF_energy"])
        assert np.abs(atoms.arrays["REF_forces"]).max() < 30


def test_carbon_monoxide_is_free_far_above_copper() -> None:
    vacuum = [atoms for atoms in frames("co_copper.xyz") if atoms.info["surface"] == "vacuum"]
    assert len(vacuum) == 36
    for atoms in vacuum:
        assert np.abs(atoms.arrays["REF_forces"].sum(axis=0)).max() < 1e-3


def test_the_sites_of_copper_differ() -> None:
    with (DATA / "co_copper_sites.csv").open() as file:
        energies = {row["site"]: float(row["adsorption (meV)"]) for row in csv.DictReader(file)}
    assert set(energies) == {"top", "bridge", "fcc", "hcp"}
    assert max(energies.values()) - min(energies.values()) > 300
