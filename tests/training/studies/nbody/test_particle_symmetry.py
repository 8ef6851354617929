"""The symmetry of moving particles is found, with an axis that nobody told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sikff.training.studies.nbody.particle_graphs import ParticleGraphs, displacements, graphs_of
from sikff.training.studies.nbody.particle_symmetry import FittedMotion, find_symmetry_of_motion
from sikff.training.studies.nbody.particle_systems import Charged, Springs, simulate
from sikff.training.symmetry.lie import angle_between
from sikff.training.symmetry.settings import SearchSettings

AXIS = np.array([1.0, 2.0, 2.0]) / 3
NO_TRAINING = SearchSettings(epochs=0)


def particles(
    system: Springs | Charged, n: int = 400, axis: np.ndarray = AXIS
) -> tuple[ParticleGraphs, torch.Tensor]:
    """Without their axis."""
    trajectories = simulate(system, n, n_particles=3, axis=axis, frames=(5, 15), dt=0.01)
    graphs = graphs_of(trajectories, hidden=True)
    return replace(graphs, axis=torch.eye(3).double()[0]), displacements(trajectories)


@pytest.mark.parametrize("system", [Springs(1.0), Springs(100.0), Charged(2.0)])
def test_a_tilted_axis_is_found(system: Springs | Charged) -> None:
    found = find_symmetry_of_motion(*particles(system), NO_TRAINING)
    assert found.group == "C_inf_v"
    assert angle_between(np.array(found.axis), AXIS) < 2.0
    verdicts = {each.group: each.verdict for each in found.candidates}
    assert verdicts["O(3)"] == verdicts["SO(3)"] == "broken"
    assert verdicts["SO(2)"] == "part of it"


def test_another_axis_is_found_as_well() -> None:
    axis = np.array([-0.51, -0.84, 0.16])
    found = find_symmetry_of_motion(*particles(Springs(10.0), axis=axis), NO_TRAINING)
    assert angle_between(np.array(found.axis), axis / np.linalg.norm(axis)) < 1.0


def test_without_an_axis_none_is_found() -> None:
    found = find_symmetry_of_motion(*particles(Springs(0.0)), NO_TRAINING)
    assert found.group == "O(3)"
    assert found.recommendation == "model: {group: O(3)}"


def test_a_handed_motion_has_no_mirrors() -> None:
    """A magnetic field turns velocities about the axis: SO(2), and not C_inf_v."""
    graphs, moves = particles(Springs(10.0))
    turned = torch.linalg.cross(torch.from_numpy(AXIS).expand_as(moves), graphs.velocities)
    found = find_symmetry_of_motion(graphs, moves + 0.3 * turned, NO_TRAINING)
    assert found.group == "SO(2)"
    assert angle_between(np.array(found.axis), AXIS) < 1.0


def test_trained_models_agree() -> None:
    graphs, moves = particles(Springs(10.0), n=240)
    search = SearchSettings(epochs=2, groups=("O(3)", "C_inf_v", "C1"))
    lines: list[str] = []
    found = find_symmetry_of_motion(graphs, moves, search, lines.append)
    assert found.group == "C_inf_v"
    errors = {each.group: each.error for each in found.candidates}
    assert errors["O(3)"] is None and errors["C_inf_v"] and errors["C1"]
    assert lines == ["training a model of C_inf_v", "training a model of C1"]


def test_a_group_that_cannot_be_trained_raises() -> None:
    search = SearchSettings(groups=("C_inf_v", "C6v"), epochs=1)
    with pytest.raises(ValueError, match="models of C6v are those of C_inf_v here"):
        find_symmetry_of_motion(*particles(Springs(10.0)), search)


def test_a_wrong_given_axis_is_rejected() -> None:
    found = find_symmetry_of_motion(
        *particles(Springs(10.0)), SearchSettings(epochs=0, axis=(1.0, 0.0, 0.0))
    )
    assert found.group == "C1"
    assert "are symmetries, 70.5" in found.notes[0]


def test_too_few_systems_raise() -> None:
    with pytest.raises(ValueError, match="20 systems of particles at least; got 5"):
        FittedMotion(*particles(Springs(1.0), n=5))
