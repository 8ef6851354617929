"""The symmetry of force fields of known groups."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from force_fields import ethanol, force_field
from sikff import ForceField
from sikff.groups import SymmetryGroup
from sikff.training.data.structures import Structure, Structures
from sikff.training.symmetry.from_force_field import MeasuredModel, find_symmetry_of_model
from sikff.training.symmetry.lie import angle_between
from sikff.training.symmetry.settings import SearchSettings
from tolerances import TOLERANCES

STRUCTURES = Structures.of([ethanol(0), ethanol(1)])
AXIS = (1.0, 2.0, 2.0)
UNIT = np.array(AXIS) / 3


@pytest.mark.parametrize("group", ["O(3)", "C_inf_v", "C3v"])
def test_the_group_of_a_model_is_found(group: str) -> None:
    model = force_field(group, axis=AXIS)
    search = SearchSettings(groups=("O(3)", "SO(3)", "C_inf_v", "SO(2)", "C6v", "C3v", "C3"))
    found = find_symmetry_of_model(model, STRUCTURES, search)
    assert found.group == group
    if group != "O(3)":
        assert angle_between(np.array(found.axis), UNIT) < 1e-3
    defects = {each.group: each.defect for each in found.candidates}
    assert defects[group] < TOLERANCES[model.dtype].equivariance
    broken = [each.group for each in found.candidates if each.verdict == "broken"]
    assert ("SO(3)" in broken) == (group != "O(3)")


def test_derivatives_in_angles_are_torques() -> None:
    """L_w E = -w . sum_i r_i x F_i."""
    measured = MeasuredModel(force_field("C1"), STRUCTURES)
    graph, forces = measured.graph, measured.forces.numpy()
    torques, size = [], 0.0
    for structure in range(graph.n_graphs):
        own = (graph.batch == structure).numpy()
        arms = graph.positions.numpy()[own]
        arms = arms - arms.mean(axis=0)
        torques.append(np.cross(arms, forces[own]).sum(axis=0))
        size += (arms**2).sum(axis=1) @ (forces[own] ** 2).sum(axis=1)
    expected = np.transpose(torques) @ np.array(torques) / size
    found, gradient = measured.lie_matrix(1e-3).matrix, TOLERANCES[torch.float64].gradient
    assert abs(found - expected).max() < gradient * abs(expected).max()
    assert measured.lie_matrix(1e-3).n_symmetries == 0


def test_plane_and_field_are_not_rotated() -> None:
    plane = force_field("C_inf_v", environment={"plane_origin": (0.0, 0.0, -3.0)})
    found = find_symmetry_of_model(
        plane, STRUCTURES, SearchSettings(groups=("O(3)", "C_inf_v", "SO(2)"))
    )
    assert found.group == "C_inf_v"
    assert found.settings["environment"] == {"plane_origin": [0.0, 0.0, -3.0]}
    atoms = ethanol(0)
    atoms.info["electric_field"] = (2.0 * UNIT).tolist()
    structures = Structures.of([atoms])
    vector = force_field("O(3)", environment={"field": True})
    found = find_symmetry_of_model(
        vector, structures, SearchSettings(groups=("O(3)", "C_inf_v", "SO(2)"))
    )
    assert found.group == "C_inf_v" and angle_between(np.array(found.axis), UNIT) < 0.01


@pytest.mark.parametrize("sign", [1, -1])
def test_structures_in_a_slit_are_rotated_about_its_middle(sign: int) -> None:
    slit = {"plane_origin": (0.0, 0.0, -sign * 4.0), "slit_width": 8.0}
    model = force_field("D_inf_h", axis=(0, 0, sign), environment=slit)
    measured = MeasuredModel(model, STRUCTURES)
    assert measured.defect(model.group, 1e-3).size < TOLERANCES[model.dtype].equivariance
    assert measured.defect(SymmetryGroup("SO(3)"), 1e-3).is_broken


def test_crystals_are_rotated_with_their_cells() -> None:
    crystal = bulk("Al", cubic=True)
    crystal.rattle(0.1, seed=0)
    structures = Structures.of([crystal])
    search = SearchSettings(groups=("O(3)", "SO(2)"))
    assert find_symmetry_of_model(force_field("O(3)"), structures, search).group == "O(3)"
    assert find_symmetry_of_model(force_field("SO(2)"), structures, search).group == "SO(2)"


def test_a_model_needs_structures_of_its_elements() -> None:
    structures = Structures("gold", [Structure.of(bulk("Au"), 7)])
    with pytest.raises(ValueError, match=r"gold, structure 7: .*Au"):
        find_symmetry_of_model(force_field(), structures, SearchSettings())


def test_a_model_on_another_device_is_measured_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are made on the CPU, whatever the device of the model."""
    moved = []
    cpu = ForceField.cpu
    monkeypatch.setattr(ForceField, "cpu", lambda self: moved.append(self) or cpu(self))
    model = force_field()
    find_symmetry_of_model(model, Structures.of([ethanol()], "ethanol"), SearchSettings())
    assert len(moved) == 1
    assert moved[0] is not model, "a copy is moved"


def test_a_threshold_of_zero_leaves_the_trivial_group() -> None:
    """Forces of rotated atoms differ by rounding at least, even under the identity."""
    search = SearchSettings(threshold=0, axis=AXIS)
    assert find_symmetry_of_model(force_field(), STRUCTURES, search).group == "C1"


def test_structures_without_forces_raise() -> None:
    """A single atom has no neighbours, so its energy has no gradient."""
    structures = Structures.of([ethanol(0)[:1]])
    with pytest.raises(ValueError, match="not all zero"):
        find_symmetry_of_model(force_field(), structures, SearchSettings())
