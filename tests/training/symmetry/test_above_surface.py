"""Surfaces below labelled structures: shipped data, and a potential in closed form."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk, surface

from sikff import SymmetryGroup
from sikff.forcefield import ForceFieldConfig
from sikff.training.data.find_plane import find_plane
from sikff.training.data.labels import USUAL_KEYS
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures, split_isolated
from sikff.training.symmetry.from_labels import find_symmetry_of_labels
from sikff.training.symmetry.settings import SearchSettings

DATA = Path(__file__).parents[3] / "examples" / "data"
NO_TRAINING = SearchSettings(minutes=0)
SIDE = 2.55  # Å
TURN = SymmetryGroup("SO(3)").sample(1, seed=4)[0].numpy()


def carbon_monoxide(
    corrugation: float, rotation: np.ndarray | None = None, top: float = 9.0, pbc: object = False
) -> Structures:
    """CO in random places above an fcc(111)-like potential with the waves of a hexagonal lattice,
    all of it rotated; z is the normal before that."""
    rng, found = np.random.default_rng(1), []
    g = 4 * np.pi / (np.sqrt(3) * SIDE)
    waves = g * np.array([[np.cos(a), np.sin(a)] for a in np.radians([30, 90, 150])])
    for rotated in SymmetryGroup("SO(3)").sample(150, seed=2).numpy():
        positions = np.array([[0, 0, 0.57], [0, 0, -0.57]]) @ rotated.T
        positions += [*rng.uniform(0, 5.1, 2), 2.0 + (top - 2.0) * rng.uniform() ** 2]
        phases, decay = positions[:, :2] @ waves.T, np.exp(-2 * positions[:, 2:])
        lateral = 300 * corrugation * decay * (np.sin(phases) @ waves)
        normal = 600 * decay * (1 + corrugation * np.cos(phases).sum(axis=1, keepdims=True))
        forces = np.hstack([lateral, normal])
        bond = (positions[0] - positions[1]) * rng.normal()
        forces += [bond, -bond]
        atoms = ase.Atoms("CO", positions, cell=[[5.1, 0, 0], [2.55, 4.4167, 0], [0, 0, 40]])
        atoms.pbc = pbc
        if rotation is not None:
            atoms.set_cell(atoms.cell.array @ rotation.T)
            atoms.positions, forces = atoms.positions @ rotation.T, forces @ rotation.T
        atoms.arrays["REF_forces"] = forces
        found.append(atoms)
    return Structures.of(found)


@pytest.mark.parametrize("name", ["graphene", "nacl"])
def test_the_line_for_shipped_data_is_that_of_the_examples(name: str) -> None:
    structures, _ = split_isolated(read_structures(DATA / f"water_{name}.xyz"))
    found = find_symmetry_of_labels(structures, NO_TRAINING)
    assert found.recommendation == (
        "model: {group: C_inf_v, vacuum_group: O(3), environment: {plane_origin: [0.0, 0.0, 0.0], "
        f"plane_range: 12.0, surfaces: [{name}]}}}}"
    )
    assert any("no flat model has a smaller" in note for note in found.notes)


@pytest.mark.parametrize("pbc", [False, (True, True, False), True])
@pytest.mark.parametrize("rotation", [None, TURN])
def test_a_corrugated_surface_is_a_plane_with_a_floor(
    rotation: np.ndarray | None, pbc: object
) -> None:
    structures = carbon_monoxide(0.3, rotation, pbc=pbc)
    found = find_symmetry_of_labels(structures, NO_TRAINING)
    assert (found.group, found.vacuum_group) == ("C_inf_v", "O(3)")
    normal = np.eye(3)[2] if rotation is None else rotation[:, 2]
    off = np.degrees(np.arccos(min(found.axis @ normal, 1.0)))
    assert off < (0.01 if pbc or rotation is None else 3)
    forces = np.array([atoms.arrays["REF_forces"] for atoms in structures.atoms])
    if off < 0.01:
        net = forces.sum(axis=1)
        lateral = net - np.outer(net @ normal, normal)
        floor = 1000 * abs(lateral).sum() / forces.size
        assert any(f"than {floor:.2g} meV/Å" in note for note in found.notes)
    ForceFieldConfig(elements=("C", "O"), **yaml.safe_load(found.recommendation)["model"])


def test_a_flat_surface_has_no_floor() -> None:
    found = find_symmetry_of_labels(carbon_monoxide(0.0), NO_TRAINING)
    assert found.group == "C_inf_v" and not any("corrugated" in note for note in found.notes)
    assert found.settings["environment"]["plane_range"] < 10


def test_the_normal_points_away_from_the_surface() -> None:
    structures = carbon_monoxide(0.1, np.diag([1.0, -1.0, -1.0]))
    found = find_symmetry_of_labels(structures, NO_TRAINING)
    assert found.settings["axis"] == [0.0, 0.0, -1.0]
    labelled = structures.with_labels(USUAL_KEYS, ["forces"])
    assert find_plane(labelled, axis=[0, 0, 1]) is None
    heights = find_plane(labelled).lowest
    assert 0.5 < heights.min() < 3.5


def test_a_plane_is_below_the_lowest_atom_wherever_that_is() -> None:
    structures = carbon_monoxide(0.1)
    for atoms in structures.atoms:
        atoms.positions += [0, 0, 20]
    origin = find_symmetry_of_labels(Structures.of(structures.atoms), NO_TRAINING).settings[
        "environment"
    ]["plane_origin"]
    lowest = min(atoms.positions[:, 2].min() for atoms in structures.atoms)
    assert origin[:2] == [0.0, 0.0] and 1.3 <= lowest - origin[2] < 1.41
    given = SearchSettings(minutes=0, plane_origin=(0.0, 0.0, 19.0))
    found = find_symmetry_of_labels(Structures.of(structures.atoms), given)
    assert found.settings["environment"]["plane_origin"] == [0.0, 0.0, 19.0]


def test_data_that_end_near_the_surface_have_a_range_that_is_a_guess() -> None:
    found = find_symmetry_of_labels(carbon_monoxide(0.1, top=4.0), NO_TRAINING)
    assert found.settings["environment"]["plane_range"] == 10.0
    assert any("plane_range of 10 Å is a guess" in note for note in found.notes)


def test_net_forces_that_do_not_decay_are_no_surface() -> None:
    structures = carbon_monoxide(0.0)
    for atoms in structures.atoms:
        atoms.arrays["REF_forces"] = np.tile([0.0, 0.0, 1.0], (2, 1))
    assert find_plane(Structures.of(structures.atoms).with_labels(USUAL_KEYS)) is None


def test_a_slab_gives_places_and_one_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    slab = surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (0, 0, 1), 2, vacuum=10)
    slab.positions[:, 2] -= slab.positions[:, 2].max()
    ase.io.write(tmp_path / "slab.xyz", slab)
    structures, _ = split_isolated(read_structures(DATA / "water_nacl.xyz"))
    search = SearchSettings(minutes=0, slab=tmp_path / "slab.xyz")
    found = find_symmetry_of_labels(structures, search)
    assert found.group == "C4v" and found.environment["wallpaper"] == "p4mm"
    assert found.environment["plane_range"] == 12.0
    verdicts = {each.group: each.verdict for each in found.candidates}
    assert (verdicts["O(3)"], verdicts["C_inf_v"], verdicts["C4v"]) == ("broken", "flat", "use")
    ForceFieldConfig(elements=("H", "O"), **yaml.safe_load(found.recommendation)["model"])
    for atoms in structures.atoms:
        atoms.arrays["REF_forces"] -= atoms.arrays["REF_forces"].mean(axis=0)
    with pytest.raises(ValueError, match=r"forces show no surface .*slab\.xyz"):
        find_symmetry_of_labels(Structures.of(structures.atoms), search)
    with pytest.raises(ValueError, match="got slab beside axis"):
        SearchSettings(slab=tmp_path / "slab.xyz", axis=(0, 0, 1))
