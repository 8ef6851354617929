"""What stands outside: heights above a plane, and a uniform field."""

import ase
import numpy as np
import pytest
import torch

from force_fields import elements_of, ethanol, force_field, moved, predict, slope
from sikff import SymmetryGroup
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
AXIS = np.array([1.0, 2.0, 2.0]) / 3


def test_a_plane_breaks_translation_along_its_normal_only() -> None:
    model = force_field("C_inf_v", axis=tuple(AXIS), frame={"plane_origin": (0.0, 0.0, -2.0)})
    atoms = ethanol()
    reference = predict(model, atoms)
    sideways, upwards, far, farther = (atoms.copy() for _ in range(4))
    sideways.positions += np.cross(AXIS, [0.3, 4.0, -2.0])
    upwards.positions += 0.5 * AXIS
    far.positions += 30 * AXIS
    farther.positions += 55 * AXIS
    assert abs(float(predict(model, sideways).energy - reference.energy)) < LIMITS.invariance * 9
    assert abs(float(predict(model, upwards).energy - reference.energy)) > 1e-3
    assert float(predict(model, far).energy) == pytest.approx(
        float(predict(model, farther).energy), abs=1e-9
    )
    net = reference.forces.sum(0)
    across = net - (net @ torch.from_numpy(AXIS)) * torch.from_numpy(AXIS)
    assert net.norm() > 1e-3
    assert across.norm() < LIMITS.invariance * 9


def test_forces_include_the_slope_of_the_plane() -> None:
    model = force_field("SO(2)", frame={"plane_origin": (0.0, 0.0, -2.0)})
    atoms = ethanol()
    net = float(predict(model, atoms).forces[:, 2].sum())

    def along(x: float) -> float:
        shifted = atoms.copy()
        shifted.positions[:, 2] += x
        return float(predict(model, shifted).energy)

    assert abs(net + slope(along)) < LIMITS.forces_fd


def test_a_single_atom_feels_the_plane() -> None:
    model = force_field("C_inf_v", frame={"plane_origin": (0.0, 0.0, 0.0)})
    near = predict(model, ase.Atoms("O", positions=[[0, 0, 1.5]]))
    far = predict(model, ase.Atoms("O", positions=[[0, 0, 40.0]]))
    assert abs(float(near.energy - far.energy)) > 1e-3
    assert abs(float(near.forces[0, 2])) > 1e-3
    assert float(far.energy) == -2040.0


def test_an_axial_model_reads_the_field_along_its_axis() -> None:
    model = force_field("C_inf_v", axis=tuple(AXIS), frame={"field": True})
    atoms = ethanol()
    energies = [float(predict(model, atoms, field=f * AXIS).energy) for f in (0.0, 0.3, -0.3)]
    assert len({round(e, 6) for e in energies}) == 3
    for g in elements_of(model.group):
        result = predict(model, moved(atoms, g), field=0.3 * AXIS)
        assert abs(float(result.energy) - energies[1]) < LIMITS.invariance * 9
    model.check_field(0.5 * AXIS)
    with pytest.raises(ValueError, match="not along"):
        model.check_field(np.array([0.3, 0.0, 0.0]))


def test_an_o3_model_turns_with_the_field() -> None:
    model = force_field("O(3)", frame={"field": True})
    atoms, field = ethanol(), np.array([0.1, -0.2, 0.3])
    reference = predict(model, atoms, field=field)
    assert abs(float(reference.energy - predict(model, atoms).energy)) > 1e-3
    for g in elements_of(SymmetryGroup("O(3)")):
        together = predict(model, moved(atoms, g), field=g @ field)
        assert abs(float(together.energy - reference.energy)) < LIMITS.invariance * 9
    alone = predict(model, moved(atoms, g), field=field)
    assert abs(float(alone.energy - reference.energy)) > 1e-4
    model.check_field(field)


def test_a_model_without_field_refuses_one() -> None:
    with pytest.raises(ValueError, match="reads no field"):
        force_field("O(3)").check_field(np.array([0.0, 0.0, 0.1]))
    force_field("O(3)").check_field(np.zeros(3))


@pytest.mark.parametrize(
    "frame", [{"field": True}, {"plane_origin": (0.0, 0.0, -2.0)}], ids=["field", "plane"]
)
def test_with_a_vacuum_group_the_frame_alone_breaks_the_symmetry(frame: dict) -> None:
    model = force_field("C_inf_v", vacuum_group="O(3)", frame=frame)
    atoms = ethanol()

    def energy(g: np.ndarray, strength: float, height: float) -> float:
        turned = moved(atoms, g)
        turned.positions[:, 2] += height
        return float(predict(model, turned, field=[0.0, 0.0, strength]).energy)

    outside, inside = (0.0, 100.0), (0.3, 0.0)
    identity = np.eye(3)
    assert abs(energy(identity, *inside) - energy(identity, *outside)) > 1e-3
    for g in elements_of(SymmetryGroup("O(3)")):
        assert abs(energy(g, *outside) - energy(identity, *outside)) < LIMITS.invariance * 9
        assert abs(energy(g, *inside) - energy(identity, *inside)) > 1e-4
    for g in elements_of(SymmetryGroup("C_inf_v")):
        assert abs(energy(g, *inside) - energy(identity, *inside)) < LIMITS.invariance * 9
