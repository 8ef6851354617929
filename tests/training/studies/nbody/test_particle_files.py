"""Trajectories come back from a file as they were, and files that are none are refused."""

from pathlib import Path

import ase.io
import pytest
import torch

from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures
from sikff.training.studies.nbody.particle_files import holds_particles, particles, write_particles
from sikff.training.studies.nbody.particle_graphs import displacements, graphs_of
from sikff.training.studies.nbody.particle_systems import Charged, Springs, Trajectories, simulate

TOLD = ("positions", "velocities", "scalars", "springs", "axis")
WRITTEN = 1e-8  # decimals of the file


@pytest.fixture
def trajectories() -> Trajectories:
    return simulate(Springs(10.0), 3, n_particles=4, axis=(1, 2, 2), frames=(1, 2))


def read(path: Path) -> Structures:
    return read_structures(path)


@pytest.mark.parametrize("hidden", [True, False])
def test_trajectories_survive_a_round_trip(
    tmp_path: Path, trajectories: Trajectories, hidden: bool
) -> None:
    path = tmp_path / "particles.xyz"
    write_particles(path, trajectories, hidden=hidden)
    graphs, labels = particles(read(path), trajectories.axis)
    expected = graphs_of(trajectories, hidden=hidden)
    for name in TOLD:
        torch.testing.assert_close(
            getattr(graphs, name), getattr(expected, name), rtol=0, atol=WRITTEN
        )
    torch.testing.assert_close(labels, displacements(trajectories), rtol=0, atol=WRITTEN)
    assert labels.abs().max() > 0


def test_charges_survive_a_round_trip(tmp_path: Path) -> None:
    charged = simulate(Charged(1.0), 2, n_particles=3, frames=(0, 1))
    write_particles(tmp_path / "particles.xyz", charged)
    graphs, _ = particles(read(tmp_path / "particles.xyz"))
    assert graphs.scalars[..., 1].abs().eq(1).all()
    assert graphs.scalars[..., 1].tolist() == charged.attributes.charges.tolist()


def test_hidden_springs_are_not_in_the_file(tmp_path: Path, trajectories: Trajectories) -> None:
    path = tmp_path / "particles.xyz"
    write_particles(path, trajectories)
    text = path.read_text()
    assert "springs" not in text and "axis" not in text and "stiffness" not in text
    assert holds_particles(read(path))
    ase.io.write(tmp_path / "atoms.xyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 1]]))
    assert not holds_particles(read(tmp_path / "atoms.xyz"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda atoms: atoms.arrays.pop("lengths"), "no column lengths in structure 1"),
        (lambda atoms: atoms.pop(), "not 4 particles, as in the first, in structure 1"),
        (lambda atoms: atoms.arrays["velocities"].fill(float("nan")), "velocities is not"),
    ],
)
def test_damaged_files_raise(
    tmp_path: Path, trajectories: Trajectories, spoil: object, message: str
) -> None:
    path = tmp_path / "particles.xyz"
    write_particles(path, trajectories)
    frames = read(path)
    assert callable(spoil)
    spoil(frames.atoms[1])
    with pytest.raises(ValueError, match=message):
        particles(frames)
